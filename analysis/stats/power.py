"""What a test could have shown: chance of a verdict, and what that chance is 80 % for.

The standard error of a Welch test is itself random, and so are its degrees of freedom. Given the
two sample variances the difference is normal, so the chance is an integral over those variances;
their chi-squared distributions are cut into NODES points of equal weight in probability (Gauss
and Legendre), which gives four digits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special

from analysis.stats.differences import paired_terms, welch_error, welch_terms
from analysis.stats.intervals import LEVEL, FloatArray, quantile

POWER = 0.80
NODES = 32
Chance = Callable[[float], float]
MIN_SEEDS = 3  # below, no verdict is given, so nothing could have been shown


@dataclass(frozen=True)
class Resolution:
    """A size in the metric's unit, with the 95 % interval that the spread's own error gives it.

    NaN where the spread is unknown or nothing could be shown.

    Attributes:
        of_logs: whether the three are natural logarithms of a ratio of times.
    """

    value: float
    low: float
    high: float
    of_logs: bool = False


@dataclass(frozen=True)
class Design:
    """A test before its data: what standard error it may find, with which chance.

    Attributes:
        error, df, weight: shape (k,); the weights sum to 1.
        true: standard error of the difference of the means.
    """

    error: FloatArray
    df: FloatArray
    weight: FloatArray
    true: float

    def shows_difference(self, alpha: float) -> Chance:
        """Of a true shift >= 0: that the two-sided test at alpha excludes 0 on its side."""
        reach = quantile(self.df, 1 - alpha) * self.error
        return lambda shift: float(self.weight @ special.ndtr((shift - reach) / self.true))

    def shows_equal(self, alpha: float) -> Chance:
        """Of a margin: that two one-sided tests at alpha show |d| < margin where d is 0."""
        reach = quantile(self.df, 1 - 2 * alpha) * self.error

        def chance(margin: float) -> float:
            inside = 2 * special.ndtr((margin - reach) / self.true) - 1
            return float(self.weight @ np.maximum(inside, 0.0))

        return chance


def welch_design(sds: tuple[float, float], n: tuple[int, int]) -> Design:
    """Welch's test of arms with these standard deviations and numbers of seeds."""
    squares = [sd**2 / size for sd, size in zip(sds, n, strict=True)]
    (a, weight_a), (b, weight_b) = (_variances(size) for size in n)
    grid = np.broadcast_arrays(squares[0] * a[:, None], squares[1] * b[None, :])
    error, df = welch_error(grid[0].ravel(), grid[1].ravel(), *n)
    weight = np.outer(weight_a, weight_b).ravel()
    return Design(error, df, weight, math.sqrt(sum(squares)))


def paired_design(sd: float, n: int) -> Design:
    """The paired test of n differences with this standard deviation."""
    square = sd**2 / n
    ratios, weight = _variances(n)
    df = np.full(len(ratios), float(n - 1))
    return Design(np.sqrt(square * ratios), df, weight, math.sqrt(square))


@cache
def _variances(n: int) -> tuple[FloatArray, FloatArray]:
    """Sample variances of n values over the true one, and the chance of each."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    ratios = 2 * special.gammaincinv((n - 1) / 2, (nodes + 1) / 2) / (n - 1)
    return ratios, weights / 2


def detectable(
    variant: FloatArray, baseline: FloatArray, alpha: float, paired: bool = False
) -> Resolution:
    """Smallest true difference beyond a margin that a two-sided test finds with 80 % power.

    It takes the spread over seeds that was seen for the true one.

    Args:
        variant, baseline: (n,) and (m,); at the same seeds where `paired`.
        alpha: level of the test.
        paired: whether the test is the paired one.
    """
    return _smallest(variant, baseline, paired, lambda d: d.shows_difference(alpha))


def attainable(
    variant: FloatArray, baseline: FloatArray, alpha: float, paired: bool = False
) -> Resolution:
    """Smallest margin of `equal` that two one-sided tests at alpha show with 80 % power, at d = 0.

    Arguments as for `detectable`.
    """
    return _smallest(variant, baseline, paired, lambda d: d.shows_equal(alpha))


def _smallest(
    variant: FloatArray,
    baseline: FloatArray,
    paired: bool,
    shows: Callable[[Design], Chance],
) -> Resolution:
    """The size at which the chance is POWER."""
    if min(len(variant), len(baseline)) < MIN_SEEDS:
        return Resolution(math.nan, math.nan, math.nan)
    found = paired_terms(variant, baseline) if paired else welch_terms(variant, baseline)
    if not 0 < found.error < math.inf:
        return Resolution(math.nan, math.nan, math.nan)
    if paired:
        design = paired_design(float(np.std(variant - baseline, ddof=1)), len(variant))
    else:
        sds = (float(np.std(variant, ddof=1)), float(np.std(baseline, ddof=1)))
        design = welch_design(sds, (len(variant), len(baseline)))
    return _uncertain(_reached(shows(design), design.true), float(found.df))


def expected_detectable(sds: tuple[float, float], n: int, alpha: float) -> float:
    """Smallest true difference that Welch's test will find with 80 % power: for planning.

    Args:
        sds: standard deviations over seeds that are expected of the two arms.
        n: planned seeds of each.
        alpha: level of the two-sided test.

    Returns:
        In the unit of `sds`; NaN where nothing could be shown (n < 3) or no spread is known.
    """
    if n < MIN_SEEDS or not max(sds) > 0:
        return math.nan
    design = welch_design(sds, (n, n))
    return _reached(design.shows_difference(alpha), design.true)


def expected_attainable(sds: tuple[float, float], n: int, alpha: float) -> float:
    """Smallest margin that *equal* will show with 80 % power at no difference: for planning.

    Arguments, unit and NaN as for `expected_detectable`.
    """
    if n < MIN_SEEDS or not max(sds) > 0:
        return math.nan
    design = welch_design(sds, (n, n))
    return _reached(design.shows_equal(alpha), design.true)


def _reached(chance: Chance, start: float) -> float:
    """The size, at least 0, at which a growing chance is POWER."""
    upper = start
    while chance(upper) < POWER:
        upper *= 2
    return float(optimize.brentq(lambda x: chance(x) - POWER, 0.0, upper))


def _uncertain(size: float, df: float) -> Resolution:
    """A size that is proportional to a standard error, which has a chi-squared error of its own."""
    tail = (1 - LEVEL) / 2
    low, high = (2 * float(special.gammaincinv(df / 2, p)) for p in (tail, 1 - tail))
    return Resolution(size, size * math.sqrt(df / high), size * math.sqrt(df / low))
