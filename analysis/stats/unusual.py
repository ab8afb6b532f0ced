"""Signs that the values over seeds are not what a t test takes them for.

Three rules, each with a p-value that is exact for independent normal values of one spread, at any
n from 3 on; Holm's procedure over the three keeps the chance of any false alarm at ALPHA. Arms are
pooled, since an arm of three seeds by itself shows next to nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
from scipy import special

from analysis.stats.families import ALPHA, holm
from analysis.stats.intervals import FloatArray, no_spread, variance

MIN_SEEDS = 3  # two values have no shape
DRAWS = 9_999  # of the skewness of normal values; its p is then a multiple of 1e-4
SEED = 20_260  # of those draws: a report is the same whenever it is built


class Rule(Enum):
    """What was found."""

    OUTLIER = "outlier"
    SPREAD = "unequal spread"
    SKEW = "skew"


@dataclass(frozen=True)
class Sign:
    """One rule that speaks.

    Attributes:
        arm: index of the arm it is about; of SKEW, that of the arm that is skewed most.
        seed: index of the value it is about; None unless one value stands out.
        size: OUTLIER: distance from the arm's other seeds in standard errors, signed. SPREAD: the
            arm's standard deviation over the baseline's. SKEW: mean cubed distance from the mean
            in standard deviations.
        p: Holm's adjusted p-value over the three rules.
    """

    rule: Rule
    arm: int
    seed: int | None
    size: float
    p: float


def unusual(arms: Sequence[FloatArray]) -> list[Sign]:
    """Every rule that speaks about one metric, in the order of Rule.

    Args:
        arms: values over seeds, (n,) each, the baseline first. Arms of fewer than 3 seeds or
            without a spread are left out of every rule.
    """
    known = [i for i, x in enumerate(arms) if len(x) >= MIN_SEEDS and not no_spread(x)]
    if not known:
        return []
    kept = [arms[i] for i in known]
    found = [_outlier(kept), _spread(kept) if known[0] == 0 else _NOTHING, _skew(kept)]
    adjusted = holm(np.array([sign.p for sign in found]))
    return [
        Sign(sign.rule, known[sign.arm], sign.seed, sign.size, float(p))
        for sign, p in zip(found, adjusted, strict=True)
        if p < ALPHA
    ]


_NOTHING = Sign(Rule.SPREAD, 0, None, math.nan, 1.0)


def _outlier(arms: list[FloatArray]) -> Sign:
    """The value farthest from the other seeds of its arm, by the spread of all the others.

    The externally studentised residual of a one-way layout is t distributed with N - k - 1 degrees
    of freedom; Bonferroni over the N values. Source: Cook and Weisberg 1982, section 2.2.2.
    """
    within = sum(float(variance(x)) * (len(x) - 1) for x in arms)
    df = sum(len(x) - 1 for x in arms) - 1
    best = Sign(Rule.OUTLIER, 0, None, 0.0, 1.0)
    for arm, x in enumerate(arms):
        n = len(x)
        for seed, value in enumerate(x):
            residual = float(value - np.mean(x))
            rest = max(within - residual**2 * n / (n - 1), 0.0)
            scale = math.sqrt(rest / df * (n - 1) / n)
            size = residual / scale if scale else math.copysign(math.inf, residual)
            if abs(size) > abs(best.size):
                p = 2 * float(special.stdtr(df, -abs(size))) * sum(map(len, arms))
                best = Sign(Rule.OUTLIER, arm, seed, size, min(p, 1.0))
    return best


def _spread(arms: list[FloatArray]) -> Sign:
    """The arm whose variance is least like the first arm's: two-sided F tests, Bonferroni."""
    base, others = arms[0], arms[1:]
    best = _NOTHING
    for arm, x in enumerate(others, start=1):
        ratio = float(variance(x) / variance(base))
        dfs = (len(x) - 1, len(base) - 1)
        tail = min(special.fdtr(*dfs, ratio), special.fdtrc(*dfs, ratio))
        p = min(2 * float(tail) * len(others), 1.0)
        if p < best.p:
            best = Sign(Rule.SPREAD, arm, None, math.sqrt(ratio), p)
    return best


def _skew(arms: list[FloatArray]) -> Sign:
    """Third standardised moment over all arms, beside what normal values give by simulation."""
    each = [float(_cubes(x)) for x in arms]
    total = sum(each)
    beyond = int(np.sum(_null(tuple(map(len, arms))) >= abs(total)))
    worst = max(range(len(arms)), key=lambda i: each[i] * math.copysign(1, total) / len(arms[i]))
    size = total / sum(map(len, arms))
    return Sign(Rule.SKEW, worst, None, size, (beyond + 1) / (DRAWS + 1))


def _cubes(x: FloatArray) -> FloatArray:
    """Sum of cubed distances from the mean in standard deviations, over the last axis."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    sd = np.sqrt(np.mean(centred**2, axis=-1, keepdims=True))
    return np.asarray(np.sum((centred / sd) ** 3, axis=-1))


@cache
def _null(sizes: tuple[int, ...]) -> FloatArray:
    """|Sum of `_cubes`| over normal arms of these sizes, shape (DRAWS,)."""
    rng = np.random.default_rng(SEED)
    return np.abs(sum(_cubes(rng.normal(size=(DRAWS, n))) for n in sizes))
