"""The one place where a verdict is taken: claims of one family in, verdicts out.

Claims about times to a threshold are claims about their ratio. Where every trial of both arms
reached it, the test is that of all other claims, on the logarithms of the times: a ratio is a
difference there, and times that differ by factors have like spreads. Where one did not, its
logarithm is unknown, and any number put in its place would be an assumption; the test is then the
exact log-rank test (`survival.slower`), which asks of such a trial only that it took longer. It has
no interval here, and with 3 seeds in each arm its p cannot fall below .1 (equal: .05), which
decides nothing.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.ablation import Relation
from analysis.stats.differences import Difference, Terms, paired, welch
from analysis.stats.families import ALPHA, holm, local_alphas
from analysis.stats.intervals import FloatArray, no_spread
from analysis.stats.power import Resolution, attainable, detectable
from analysis.stats.spending import At
from analysis.stats.survival import Times, ratio, slower
from analysis.until import FEWEST

MIN_SEEDS_VERDICT = FEWEST


class Outcome(Enum):
    """What the data say about a claim; WITHHELD where they cannot be asked."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    WITHHELD = "withheld"


DECIDED = (Outcome.SUPPORTED, Outcome.REFUTED)


@dataclass(frozen=True)
class Claim:
    """A claim about d = variant - baseline, with the data to test it.

    Attributes:
        relation, margin: greater: d > margin; less: d < -margin; equal: |d| < margin.
        variant, baseline: shapes (n,) and (m,); the same seeds in the same order where `paired`.
        paired: whether seeds are compared one by one; declared before the run.
        limit: largest |d| that can be, 1 for shares.
        times: of variant and baseline, where the claim is about a ratio of times. `variant` and
            `baseline` are then their logarithms (`timed`), and so is `margin` that of a ratio.
        barred: why no verdict may be given on it; "" if one may.
    """

    relation: Relation
    margin: float
    variant: FloatArray
    baseline: FloatArray
    paired: bool = False
    limit: float = math.inf
    times: tuple[Times, Times] | None = None
    barred: str = ""

    @property
    def censored(self) -> bool:
        """Whether some trial did not reach its threshold."""
        return self.times is not None and not all(arm.complete for arm in self.times)


def timed(
    relation: Relation, margin: float, variant: Times, baseline: Times, paired: bool = False
) -> Claim:
    """A claim about the ratio of two arms' times to a threshold.

    Args:
        relation: greater: the variant takes longer.
        margin: logarithm of the ratio, at least 0.
        variant, baseline: at the same seeds in the same order where `paired`.
        paired: see Claim.
    """
    with np.errstate(divide="ignore"):  # a base model that is there already; withheld
        logs = np.log(variant.time), np.log(baseline.time)
    return Claim(relation, margin, *logs, paired, times=(variant, baseline))


@dataclass(frozen=True)
class Verdict:
    """A claim that was tested together with the others of its family.

    Attributes:
        reason: why it is withheld, else "".
        difference: with the interval of the level at which it was decided: it excludes the margin
            (greater, less, refuted equal) or lies inside it (supported equal) exactly where there
            is a verdict. Without an interval where times are censored.
        p: Holm's adjusted p-value of the direction decided, or of the nearer one where none is;
            below ALPHA exactly where there is a verdict. None where withheld.
        alone: the same p-value before the adjustment.
        resolution: what the same test, at that level and this spread, shows with 80 % power: a
            true difference that far beyond the margin, or for equal the margin itself at d = 0.
            NaN where times are censored.
        look: number from 1 of the look that it was taken at, the claim's last one where it is
            undecided; 0 where the number of seeds was fixed.
    """

    outcome: Outcome
    reason: str
    difference: Difference
    p: float | None
    alone: float | None
    resolution: Resolution
    look: int = 0


def directed_p(
    relation: Relation, margin: float, terms: Terms
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """p-value of the direction in which each estimate lies, and whether it is the claim's.

    Against d <= margin or d >= margin for greater and less: twice the one-sided p, since both
    directions are tested. For equal, inside: the larger p of two one-sided tests (Schuirmann 1987),
    each at the whole level since both must hold. Outside: twice the one-sided p beyond the nearer
    margin.

    Args:
        relation, margin: of one claim.
        terms: its differences, shape (...) each.
    """
    distance = {
        Relation.GREATER: terms.value - margin,
        Relation.LESS: -margin - terms.value,
        Relation.EQUAL: margin - np.abs(terms.value),
    }[relation]
    agrees = distance > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = special.stdtr(terms.df, -np.abs(distance) / terms.error)
    one_sided = agrees & (relation is Relation.EQUAL)
    return np.where(one_sided, tail, 2 * tail), agrees


def decide(claims: Sequence[Claim], at: Sequence[At | None] = ()) -> list[Verdict]:
    """A verdict on every claim of one family, in the given order.

    Holm's procedure over all claims holds the chance of any false verdict at ALPHA. A claim that
    is withheld counts in the family like one with p = 1: that its data went missing makes the
    others no more certain.

    Args:
        claims: the family, as it was planned.
        at: the look of each claim that has several (`decide_in_looks`). Its p-value is then the
            level that would have decided, and its interval the look's repeated confidence interval.
    """
    if not claims:
        return []
    places = list(at) or [None] * len(claims)
    found = [_difference(c) for c in claims]
    reasons = ["; ".join(filter(None, [c.barred, _lacking(c)])) for c in claims]
    sides = [
        (1.0, False) if reason else tested(c, place)
        for c, reason, place in zip(claims, reasons, places, strict=True)
    ]
    alone = np.array([p for p, _ in sides])
    adjusted, alphas = holm(alone), local_alphas(alone)
    return [
        _verdict(claim, found[i], reasons[i], sides[i], float(adjusted[i]), float(alphas[i]), place)
        for i, (claim, place) in enumerate(zip(claims, places, strict=True))
    ]


def _difference(claim: Claim) -> Difference:
    """What is estimated, by the test that decides."""
    test = paired if claim.paired else welch
    if claim.times is None:
        return test(claim.variant, claim.baseline, limit=claim.limit)
    if claim.censored:
        x, y = claim.times
        nan, n = math.nan, (len(x.time), len(y.time))
        value = math.log(ratio(x, y)) if min(n) else nan
        return Difference(value, nan, nan, nan, nan, nan, n, paired=claim.paired, of_logs=True)
    with np.errstate(invalid="ignore"):
        return dataclasses.replace(test(claim.variant, claim.baseline), of_logs=True)


def tested(claim: Claim, at: At | None) -> tuple[float, bool]:
    """p-value of one claim over its looks, and whether the estimate lies on its side.

    Before any adjustment for other claims.
    """
    if claim.censored:
        p, agrees = _by_logrank(claim)
    else:
        d = _difference(claim)
        terms = Terms(np.asarray(d.value), np.asarray(d.error), np.asarray(d.df))
        found = directed_p(claim.relation, claim.margin, terms)
        p, agrees = float(found[0]), bool(found[1])
    if at is not None:
        p = at.level(p, one_sided=agrees and claim.relation is Relation.EQUAL)
    return p, agrees


def _by_logrank(claim: Claim) -> tuple[float, bool]:
    """`directed_p` of one claim about censored times, by the exact log-rank test."""
    assert claim.times is not None
    factor = math.exp(claim.margin)
    above, tail = slower(*claim.times, factor, claim.paired)
    if claim.relation is Relation.GREATER:
        return 2 * tail, above
    over, other = slower(*claim.times, 1 / factor, claim.paired)
    if claim.relation is Relation.LESS:
        return 2 * other, not over
    if over and not above:  # inside: both one-sided tests must hold
        return max(tail, other), True
    return 2 * (tail if above else other), False


def _lacking(claim: Claim) -> str:
    """What the data of a claim lack for a verdict, "" for nothing."""
    n, m = len(claim.variant), len(claim.baseline)
    if min(n, m) < MIN_SEEDS_VERDICT:
        return f"n = {n} and {m}, a verdict needs {MIN_SEEDS_VERDICT} seeds"
    if claim.times is not None:
        if min(np.min(arm.time) for arm in claim.times) <= 0:
            return "a trial is at the threshold before it is trained"
        if not any(arm.reached.any() for arm in claim.times):
            return "no trial reached the threshold"
    if claim.censored:
        return ""
    for arm, x in (("variant", claim.variant), ("baseline", claim.baseline)):
        if no_spread(x):
            return f"all seeds of the {arm} give the same value"
    if claim.paired and no_spread(claim.variant - claim.baseline):
        return "the difference is the same at every seed"
    return ""


def _verdict(
    claim: Claim,
    d: Difference,
    reason: str,
    side: tuple[float, bool],
    p: float,
    alpha: float,
    at: At | None,
) -> Verdict:
    """One claim at the level at which its family decides it."""
    alone, agrees = side
    equal = claim.relation is Relation.EQUAL
    inside = equal and abs(d.value) < claim.margin
    look = 0 if at is None else at.number + 1
    if at is not None:
        alpha = at.nominal(alpha, one_sided=inside)
    shown = d.at(1 - 2 * alpha if inside else 1 - alpha)
    resolution = _resolution(claim, alpha)
    if reason:
        return Verdict(Outcome.WITHHELD, reason, shown, None, None, resolution, look)
    outcome = Outcome.UNDECIDED
    if p < ALPHA:
        outcome = Outcome.SUPPORTED if agrees else Outcome.REFUTED
    return Verdict(outcome, "", shown, p, alone, resolution, look)


def _resolution(claim: Claim, alpha: float) -> Resolution:
    both = np.concatenate([claim.variant, claim.baseline])
    if claim.censored or not np.isfinite(both).all():
        return Resolution(math.nan, math.nan, math.nan)
    size = attainable if claim.relation is Relation.EQUAL else detectable
    found = size(claim.variant, claim.baseline, alpha, claim.paired)
    return dataclasses.replace(found, of_logs=claim.times is not None)
