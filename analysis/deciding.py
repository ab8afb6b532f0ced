"""How a family of claims is decided: at once, or look by look where seeds are added until then."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

from analysis import claims, stats
from analysis.ablation import Ablation
from analysis.stats import ALPHA, At, Claim, Looks, Verdict
from analysis.study import Study
from analysis.until import Look

# Digits of a level in a manifest: more would differ between versions of a library.
DIGITS = 6

Family = Callable[[Collection[int] | None], list[Claim]]
"""The claims of a family on some seeds, or on all there are; always as many, in one order."""


def decide(
    study: Study, pairs: Sequence[tuple[str, str]], family: Family, taken: int = 0
) -> list[Verdict]:
    """A verdict on every claim of a family.

    A claim counts at a look if both its variants had that many seeds called for: data that did not
    grow is not tested again. A variant of which nothing was predicted has the seeds of the first
    look, whatever comes, and is compared by these alone, as if they were fixed.

    Args:
        pairs: variant and baseline of each claim.
        taken: looks to decide by; 0: those that the manifest says were taken, the first at least.
    """
    ablation = study.manifest.ablation
    if ablation.until is None:
        return stats.decide(family(None))
    seeds = sorted(ablation.seeds)
    called = {label: len(study.manifest.called(label)) for label in ablation.labels}
    stages = [
        [
            claim if min(called[variant], called[baseline]) >= n else None
            for claim, (variant, baseline) in zip(family(seeds[:n]), pairs, strict=True)
        ]
        for n in ablation.until.at[: max(taken or study.manifest.taken, 1)]
    ]
    spoken = {label for p in ablation.predictions for label in (p.variant, p.baseline)}
    once = [i for i, pair in enumerate(pairs) if not spoken.issuperset(pair)]
    return stats.decide_in_looks(Looks.of(ablation.until), stages, once)


def verdicts(study: Study, taken: int) -> list[Verdict]:
    """The verdicts on the predictions after some looks, by the numbers alone.

    No trust gate is asked: what it stops is for the reader, and more seeds would not mend it.
    """
    pairs = [(p.variant, p.baseline) for p in study.manifest.ablation.predictions]
    return decide(study, pairs, predicted(study), taken)


def predicted(study: Study) -> Family:
    """The family of the predictions, as it was planned."""
    planned = study.manifest.ablation.predictions
    rows = [claims.read(study, p.metric, p.reads) for p in planned]
    return partial(claims.family, planned, rows, study.paired)


def design(ablation: Ablation) -> list[Look]:
    """The looks of a plan before the first is taken; none where the number of seeds is fixed."""
    until = ablation.until
    if until is None:
        return []
    count, planned = len(ablation.predictions), Looks.of(until).on(ablation.paired)
    return [
        Look(
            n,
            fraction,
            _rounded(2 * stats.spent(ALPHA / 2 * planned.share, fraction, until.spending)),
            [
                _rounded(At(planned, number).nominal(ALPHA / left, one_sided=False))
                for left in range(1, count + 1)
            ],
        )
        for number, (n, fraction) in enumerate(zip(until.at, until.fractions, strict=True))
    ]


def _rounded(level: float) -> float:
    return float(f"{level:.{DIGITS}g}")


def told(taken: Sequence[Look], planned: Sequence[Look]) -> str:
    """`look 2 of 4 at 6 seeds: 2 of 3 predictions decided, goes on`; never in which direction."""
    if not taken:
        return f"look 1 of {len(planned)} comes at {planned[0].seeds} seeds"
    last = taken[-1]
    count = len(last.levels)
    return (
        f"look {len(taken)} of {len(planned)} at {last.seeds} seeds: {len(last.decided)} of "
        f"{count} predictions decided, {'ends' if last.ends else 'goes on'}"
    )
