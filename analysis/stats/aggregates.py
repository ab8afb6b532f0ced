"""Scores of several seeds on several tasks in one number. Source: Agarwal et al. 2021 (rliable).

`scores` is (seeds, tasks). With one task and three seeds the interquartile mean is the mean.
"""

import numpy as np
from scipy import stats

from analysis.stats.intervals import FloatArray

TRIMMED = 0.25  # at each end


def iqm(scores: FloatArray) -> float:
    """Mean of the middle half of all scores."""
    return float(stats.trim_mean(scores, TRIMMED, axis=None))


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
