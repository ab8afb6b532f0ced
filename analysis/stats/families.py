"""Several tests at once: adjusted p-values, and the level at which each test was decided."""

import numpy as np
from scipy import stats

from analysis.stats.intervals import LEVEL, FloatArray

ALPHA = round(1 - LEVEL, 6)  # 1 - .95 is .050000000000000044


def holm(p: FloatArray) -> FloatArray:
    """Holm's adjusted p-values over the last axis of (..., m), in the given order, capped at 1.

    One family per row: statsmodels' `multipletests` takes one family at a time, and a calibration
    has 20,000. Source: Holm 1979.
    """
    order = np.argsort(p, axis=-1, kind="stable")
    scaled = np.take_along_axis(p, order, -1) * _among(p)
    adjusted = np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0)
    back = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(np.take_along_axis(adjusted, back, -1), dtype=np.float64)


def local_alphas(p: FloatArray) -> FloatArray:
    """The level at which Holm's procedure decides each of p (..., m): ALPHA / (tests left then).

    The k-th smallest is tested at ALPHA / (m - k + 1) if all before it were decided; where one is
    not, all that follow are left at its level. So p < level exactly where the adjusted p < ALPHA,
    and an interval of this level agrees with the verdict.
    """
    order = np.argsort(p, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    decided = np.sum(holm(p) < ALPHA, axis=-1, keepdims=True)
    return np.asarray(ALPHA / (p.shape[-1] - np.minimum(rank, decided)), dtype=np.float64)


def _among(p: FloatArray) -> FloatArray:
    """How many tests are left at each step: m, m - 1, ... 1."""
    return np.arange(p.shape[-1], 0, -1, dtype=np.float64)


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Adjusted p-values (m,) that bound the share of false findings, in the given order.

    Source: Benjamini and Hochberg 1995.
    """
    return np.asarray(stats.false_discovery_control(p, method="bh"))
