"""Scores of several seeds on several tasks in one number. Source: Agarwal et al. 2021 (rliable).

`scores` is (seeds, tasks). With one task and three seeds the interquartile mean is the mean.
"""

import math

import numpy as np
from scipy import stats

from analysis.stats.intervals import LEVEL, MIN_SEEDS_INTERVAL, Estimate, FloatArray

TRIMMED = 0.25  # at each end
RESAMPLES = 10_000  # bounds move by less than a hundredth of the interval's width


def iqm(scores: FloatArray) -> float:
    """Mean of the middle half of all scores."""
    return float(stats.trim_mean(scores, TRIMMED, axis=None))


def iqm_interval(
    scores: FloatArray, rng: np.random.Generator, level: float = LEVEL, resamples: int = RESAMPLES
) -> Estimate:
    """The interquartile mean with its stratified percentile bootstrap interval.

    Seeds are drawn anew within each task on its own, so that every task keeps its weight. Below
    some ten seeds a percentile interval is too narrow (one task, n = 3: it covers .72, n = 5 .86):
    shown for the aggregate over tasks, it decides nothing.

    Args:
        scores: (seeds, tasks).
        rng: of the resamples.
        level: of the interval.
        resamples: how many.

    Returns:
        NaN bounds below 2 seeds; `n` counts seeds.

    Source: Agarwal et al. 2021, section 4.1.
    """
    seeds, tasks = scores.shape
    if seeds < MIN_SEEDS_INTERVAL:
        return Estimate(iqm(scores), math.nan, math.nan, seeds)
    drawn = rng.integers(seeds, size=(resamples, seeds, tasks))
    again = np.take_along_axis(scores[None], drawn, axis=1).reshape(resamples, -1)
    found = stats.trim_mean(again, TRIMMED, axis=1)
    low, high = np.quantile(found, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(iqm(scores), float(low), float(high), seeds)


def optimality_gap(scores: FloatArray, target: float) -> float:
    """How far the scores fall short of a target on average; what exceeds it does not count."""
    return target - float(np.mean(np.minimum(scores, target)))


def performance_profile(scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Share of all scores above each threshold; shape (thresholds,)."""
    return np.asarray(np.mean(scores[..., None] > thresholds, axis=(0, 1)))


def probability_of_improvement(x: FloatArray, y: FloatArray) -> float:
    """Chance that a seed of x scores higher than one of y on a task, ties half; mean over tasks.

    Args:
        x, y: (seeds, tasks); the number of seeds may differ.
    """
    statistic = stats.mannwhitneyu(x, y, axis=0, method="asymptotic").statistic
    return float(np.mean(statistic)) / (len(x) * len(y))
