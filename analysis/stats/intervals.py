"""A mean over seeds and its interval."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]

LEVEL = 0.95
MIN_SEEDS_INTERVAL = 2  # a spread needs two values
# Values this close, as a share of the largest, differ by the rounding of a sum and by nothing else.
ROUNDING = 1e-12
LEAST = 1e-150  # values closer than this have a variance of 0 in double precision


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval, in the metric's unit; NaN where it does not exist."""

    mean: float
    low: float
    high: float
    n: int


def no_spread(x: FloatArray) -> NDArray[np.bool_]:
    """Whether the values of each row of x (..., n) are all the same, but for rounding."""
    nothing = np.maximum(ROUNDING * np.max(np.abs(x), axis=-1), LEAST)
    spread: NDArray[np.bool_] = np.ptp(x, axis=-1) <= nothing
    return spread


def variance(x: FloatArray) -> FloatArray:
    """Sample variance over the last axis of (..., n), n >= 2; exactly 0 without a spread."""
    return np.where(no_spread(x), 0.0, np.var(x, axis=-1, ddof=1))


def quantile(df: FloatArray | float, level: float) -> FloatArray:
    """Half width of a two-sided t interval in standard errors."""
    return np.asarray(special.stdtrit(df, 0.5 + level / 2))


def mean_interval(x: FloatArray, level: float = LEVEL, share: bool = False) -> Estimate:
    """Mean of x (n,) with its t interval, mean ± t(n-1) s / sqrt(n).

    Args:
        x: shape (n,).
        level: of the interval.
        share: whether the values lie in [0, 1]. The interval is then taken on the logit of the
            mean, by the delta method, and stays inside: logit(mean) ± t(n-1) s / (sqrt(n) mean
            (1 - mean)). The mean itself is the same.

    Returns:
        NaN bounds for n < 2; bounds at the mean where no seed differs from another.
    """
    n = len(x)
    if n < MIN_SEEDS_INTERVAL:
        return Estimate(float(x[0]) if n else math.nan, math.nan, math.nan, n)
    mean = float(np.mean(x))
    half = float(quantile(n - 1, level)) * math.sqrt(float(variance(x)) / n)
    if half == 0:
        return Estimate(mean, mean, mean, n)
    if share and 0 < mean < 1:
        centre, reach = special.logit(mean), half / (mean * (1 - mean))
        bounds = (special.expit(centre - reach), special.expit(centre + reach))
        return Estimate(mean, float(bounds[0]), float(bounds[1]), n)
    return Estimate(mean, mean - half, mean + half, n)
