"""The verdicts of a family whose seeds are added until it is decided."""

from collections.abc import Collection, Sequence

from analysis.stats.spending import At, Looks
from analysis.stats.verdicts import DECIDED, Claim, Verdict, decide


def decide_in_looks(
    looks: Looks, stages: Sequence[Sequence[Claim | None]], once: Collection[int] = ()
) -> list[Verdict]:
    """The verdicts of one family that is looked at several times, each taken once and for good.

    At each look Holm's procedure runs over the claims that are still undecided. It holds the chance
    of any false verdict at ALPHA: the first true hypothesis to fall is tested while all true ones,
    say m, are undecided, so at a level of at most ALPHA / m; boundaries rise with the level, so it
    has crossed that of ALPHA / m, which happens at any look with no more than that chance; and
    there are m such hypotheses. No claim needs to be independent of another, and stopping early for
    any reason only lowers it. Source: Maurer and Bretz 2013; Ye, Li, Liu and Yao 2013.

    Args:
        stages: the family at each look so far, with the data up to it; None for a claim whose arms
            the look has no more data of, which keeps the verdict of its last look.
        once: places of claims whose seeds are those of the first look by plan: their number is
            fixed, so they are tested there at the whole level, and never again.
    """
    verdicts: dict[int, Verdict] = {}
    undecided = list(range(len(stages[0])))
    for number, family in enumerate(stages):
        asked = [(i, claim) for i in undecided if (claim := family[i]) is not None]
        at = [None if i in once else At(looks.on(c.paired), number) for i, c in asked]
        taken = decide([claim for _, claim in asked], at)
        verdicts |= {i: verdict for (i, _), verdict in zip(asked, taken, strict=True)}
        undecided = [i for i in undecided if verdicts[i].outcome not in DECIDED]
    return [verdicts[i] for i in range(len(stages[0]))]
