"""Several differences with intervals that all hold at once; exploratory, beside the verdicts.

Where a prediction decides, `verdicts.decide` does. These answer "which of all these differ", where
nothing was predicted: against one baseline (Dunnett) or between all pairs (Games and Howell).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.stats.intervals import LEVEL, MIN_SEEDS_INTERVAL, FloatArray, no_spread, variance
from analysis.stats.many_to_one import critical, reached

FEWEST_ARMS = 2  # to compare


@dataclass(frozen=True)
class Simultaneous:
    """One of several differences.

    Attributes:
        value: difference of the means, in the metric's unit.
        low, high: with the other intervals of the set, all hold with the set's level. NaN below 2
            seeds and where no seed differs from another.
        p: adjusted over the set; NaN likewise.
    """

    value: float
    low: float
    high: float
    p: float


def dunnett(
    variants: Sequence[FloatArray], baseline: FloatArray, level: float = LEVEL
) -> list[Simultaneous]:
    """Each variant minus the baseline; arms of equal variance are assumed.

    Args:
        variants: shape (n,) each.
        baseline: shape (m,).
        level: chance that all intervals hold.

    Source: Dunnett 1955; equal to `scipy.stats.dunnett`.
    """
    unknown = [Simultaneous(_apart(x, baseline), *[math.nan] * 3) for x in variants]
    known = [i for i, x in enumerate(variants) if len(x) >= MIN_SEEDS_INTERVAL]
    arms = [variants[i] for i in known]
    if not arms or len(baseline) < MIN_SEEDS_INTERVAL:
        return unknown
    if all(no_spread(x) for x in (*arms, baseline)):
        return unknown
    every, sizes, m = [baseline, *arms], [len(x) for x in arms], len(baseline)
    df = sum(len(x) - 1 for x in every)
    pooled = sum((len(x) - 1) * float(variance(x)) for x in every) / df
    most = critical(level, sizes, m, df)
    for i in known:
        error = math.sqrt(pooled * (1 / len(variants[i]) + 1 / m))
        value = unknown[i].value
        p = reached(abs(value) / error, sizes, m, df)
        unknown[i] = Simultaneous(value, value - most * error, value + most * error, p)
    return unknown


def games_howell(
    arms: Sequence[FloatArray], level: float = LEVEL
) -> dict[tuple[int, int], Simultaneous]:
    """Every pair of arms, the later minus the earlier; variances and sizes may differ.

    Args:
        arms: shape (n,) each.
        level: chance that all intervals hold.

    Returns:
        (earlier, later) -> the difference.

    Source: Games and Howell 1976, by `scipy.stats.tukey_hsd(equal_var=False)`.
    """
    pairs = [(i, j) for j in range(len(arms)) for i in range(j)]
    nothing = [math.nan] * 3
    found = {(i, j): Simultaneous(_apart(arms[j], arms[i]), *nothing) for i, j in pairs}
    known = [i for i, x in enumerate(arms) if len(x) >= MIN_SEEDS_INTERVAL]
    if len(known) < FEWEST_ARMS:
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        result = stats.tukey_hsd(*(arms[i] for i in known), equal_var=False)
        interval = result.confidence_interval(level)
    for b, j in enumerate(known):
        for a, i in enumerate(known[:b]):
            if no_spread(arms[i]) and no_spread(arms[j]):
                continue
            low, high, p = (float(np.asarray(x)[b, a]) for x in (*interval, result.pvalue))
            found[i, j] = Simultaneous(found[i, j].value, low, high, p)
    return found


def _apart(x: FloatArray, y: FloatArray) -> float:
    return float(np.mean(x) - np.mean(y)) if len(x) and len(y) else math.nan
