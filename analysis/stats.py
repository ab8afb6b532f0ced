"""Statistics on arrays that hold one value per seed.

The seed is the replicate: every `n` counts seeds, never prompts or tokens. All arrays are
shape (n,), finite, in the metric's unit. Nothing here raises on few or equal values: what cannot
be computed is NaN, and NaN never decides a prediction.

Two degenerate cases, the same everywhere:

- Fewer than 2 seeds in an arm: no spread, so no interval and no p-value (NaN).
- No spread in any arm (all values equal): the interval has zero width at the difference itself
  and p is 0 or 1. The rules below then compare one number with the margin. The report warns,
  since seeds that change nothing usually mean that the seed is not used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from analysis.ablation import Prediction, Relation

FloatArray = NDArray[np.float64]

LEVEL = 0.95
ALPHA = 1 - LEVEL
TOST_LEVEL = 0.90  # two one-sided tests at .05 each are one two-sided interval at 1 - 2 * .05
POWER = 0.80
MIN_SEEDS_INTERVAL = 2  # a spread needs two values
MIN_SEEDS_P = 3  # at n = 2 Welch has about one degree of freedom: a p-value says nothing
MIN_SEEDS_CONFIRM = 5  # below this a study is a screening: at n = 3 only d > 3 sd is detectable
# 80 % power needs a noncentrality of 1.31 (n = 2) to 1.43 (n large) critical values; scipy's
# noncentral t is NaN from about 7.7, so the root search must end soon after that.
WIDEST_SHIFT = 1.5


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval, in the metric's unit; NaN where it does not exist."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """Variant minus baseline with its Welch interval.

    Attributes:
        value: difference of the means, in the metric's unit.
        low, high: bounds of the two-sided interval.
        error: standard error of `value`.
        df: Welch-Satterthwaite degrees of freedom.
        p: two-sided p-value of "no difference".
        n: seeds of variant and of baseline.
    """

    value: float
    low: float
    high: float
    error: float
    df: float
    p: float
    n: tuple[int, int]


class Outcome(Enum):
    """What the data say about a prediction."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """A tested prediction.

    Attributes:
        difference: with the 95 % interval.
        narrow: the same with the 90 % interval, which decides `equal`.
        p: of the prediction's own null hypothesis (see `verdict`); None under 3 seeds per arm.
    """

    outcome: Outcome
    difference: Difference
    narrow: Difference
    p: float | None


def _variance(x: FloatArray) -> float:
    """Sample variance; exactly 0 for equal values, where rounding would leave about 1e-34."""
    return 0.0 if np.ptp(x) == 0 else float(np.var(x, ddof=1))


def _t_quantile(df: float, level: float) -> float:
    """Half width of a two-sided t interval in standard errors."""
    return float(special.stdtrit(df, 0.5 + level / 2))


def _unknown(value: float, n: int, m: int) -> Difference:
    """A difference without a spread."""
    nan = math.nan
    return Difference(value, nan, nan, nan, nan, nan, (n, m))


def _two_sided(t: float, df: float) -> float:
    return float(2 * special.stdtr(df, -abs(t)))


def mean_interval(x: FloatArray, level: float = LEVEL) -> Estimate:
    """Mean of x (n,) with the t interval mean ± t(n-1) s / sqrt(n); NaN bounds for n < 2."""
    n = len(x)
    if n < MIN_SEEDS_INTERVAL:
        return Estimate(float(x[0]) if n else math.nan, math.nan, math.nan, n)
    mean = float(np.mean(x))
    half = _t_quantile(n - 1, level) * math.sqrt(_variance(x) / n)
    return Estimate(mean, mean - half, mean + half, n)


def welch(variant: FloatArray, baseline: FloatArray, level: float = LEVEL) -> Difference:
    """Welch's t interval of mean(variant) - mean(baseline); unequal variances and sizes allowed.

    Args:
        variant: shape (n,).
        baseline: shape (m,).

    Source: Welch 1947; equal to `scipy.stats.ttest_ind(equal_var=False)`.
    """
    n, m = len(variant), len(baseline)
    if not n or not m:
        return _unknown(math.nan, n, m)
    value = float(np.mean(variant) - np.mean(baseline))
    if min(n, m) < MIN_SEEDS_INTERVAL:
        return _unknown(value, n, m)
    a, b = _variance(variant) / n, _variance(baseline) / m
    error = math.sqrt(a + b)
    if error == 0:
        p = 1.0 if value == 0 else 0.0
        return Difference(value, value, value, 0.0, float(n + m - 2), p, (n, m))
    share = a / (a + b)  # shares instead of squares: no underflow for tiny variances
    df = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
    half = _t_quantile(df, level) * error
    p = _two_sided(value / error, df)
    return Difference(value, value - half, value + half, error, df, p, (n, m))


def pooled_sd(x: FloatArray, y: FloatArray) -> float:
    """Standard deviation within the arms, pooled by degrees of freedom; NaN for n < 2."""
    n, m = len(x), len(y)
    if min(n, m) < MIN_SEEDS_INTERVAL:
        return math.nan
    return math.sqrt(((n - 1) * _variance(x) + (m - 1) * _variance(y)) / (n + m - 2))


def hedges_g(variant: FloatArray, baseline: FloatArray) -> float:
    """Difference in pooled standard deviations, with the correction J = 1 - 3 / (4 (n + m) - 9).

    NaN for fewer than 2 seeds in an arm and where no arm has any spread. Source: Hedges 1981.
    """
    sd = pooled_sd(variant, baseline)
    if math.isnan(sd) or sd == 0:
        return math.nan
    correction = 1 - 3 / (4 * (len(variant) + len(baseline)) - 9)
    return correction * float(np.mean(variant) - np.mean(baseline)) / sd


def minimum_detectable(n: int, m: int, sd: float) -> float:
    """Smallest true difference that a two-sided .05 t test finds with 80 % power.

    Args:
        n, m: seeds of the two arms.
        sd: pooled standard deviation over seeds, in the metric's unit.

    Returns:
        A difference in the unit of `sd`; NaN for fewer than 2 seeds in an arm, or when `sd` is 0
        or NaN, since a spread that was not seen says nothing about what could be detected.

    Source: power of the noncentral t; equal to statsmodels' `TTestIndPower.solve_power`.
    """
    if min(n, m) < MIN_SEEDS_INTERVAL or not sd > 0:
        return math.nan
    df = n + m - 2
    critical = _t_quantile(df, LEVEL)

    def excess(shift: float) -> float:
        """Power at this noncentrality, minus the power asked for."""
        tails = 1 - special.nctdtr(df, shift, critical) + special.nctdtr(df, shift, -critical)
        return float(tails - POWER)

    shift = optimize.brentq(excess, 0.0, WIDEST_SHIFT * critical)
    return sd * float(shift) / math.sqrt(n * m / (n + m))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the given order, capped at 1. Source: Holm 1979."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def verdict(prediction: Prediction, variant: FloatArray, baseline: FloatArray) -> Verdict:
    """Test one prediction about d = variant - baseline against its margin.

    - greater: supported iff the 95 % interval of d lies above margin, refuted iff below it.
    - less: supported iff the 95 % interval lies below -margin, refuted iff above it.
    - equal: supported iff the 90 % interval lies inside ±margin (two one-sided tests at .05),
      refuted iff the 95 % interval lies wholly outside ±margin.

    Touching the margin decides nothing; neither does an arm with fewer than 2 seeds. `p` belongs
    to the same rule: two-sided against d = margin (d = -margin for less), and the larger of the
    two one-sided p-values for equal.

    Args:
        variant: shape (n,), the metric's unit.
        baseline: shape (m,).
    """
    wide, narrow = welch(variant, baseline), welch(variant, baseline, TOST_LEVEL)
    margin = prediction.margin
    match prediction.relation:
        case Relation.GREATER:
            supported, refuted = wide.low > margin, wide.high < margin
        case Relation.LESS:
            supported, refuted = wide.high < -margin, wide.low > -margin
        case Relation.EQUAL:
            supported = -margin < narrow.low and narrow.high < margin
            refuted = wide.low > margin or wide.high < -margin
    outcome = Outcome.UNDECIDED
    if supported or refuted:
        outcome = Outcome.SUPPORTED if supported else Outcome.REFUTED
    p = _prediction_p(prediction, wide) if min(wide.n) >= MIN_SEEDS_P else None
    return Verdict(outcome, wide, narrow, p)


def _prediction_p(prediction: Prediction, d: Difference) -> float:
    """p-value of the prediction's null hypothesis (see `verdict`)."""
    margin = prediction.margin
    if prediction.relation is Relation.EQUAL:
        return max(_one_sided(d.value + margin, d), _one_sided(margin - d.value, d))
    distance = d.value - margin if prediction.relation is Relation.GREATER else d.value + margin
    if d.error == 0:
        return 1.0 if distance == 0 else 0.0
    return _two_sided(distance / d.error, d.df)


def _one_sided(distance: float, d: Difference) -> float:
    """p-value of "distance <= 0"."""
    if d.error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(d.df, -distance / d.error))
