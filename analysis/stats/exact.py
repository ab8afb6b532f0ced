"""Exact tests: every assignment is enumerated, so they assume exchangeability and no normality.

Where there are more than MOST of them, some are drawn, with what was seen as one more: the p-value
is then a little larger on average, and the level holds as exactly (Phipson and Smyth 2010).

With three seeds in each arm the smallest attainable p is .100 (unpaired) and .250 (paired), so
they decide nothing where the report's default does; from five seeds on they are a cross-check.
"""

import math
from typing import Any, Literal

import numpy as np
from scipy import stats

from analysis.stats.intervals import FloatArray

# Assignments that are enumerated, in a second or two: those of 10 and 10 seeds, or of 17 pairs.
MOST = 200_000
DRAWS = 99_999  # of more; a p-value of .05 is then known to .0007, and none is below .00002
SEED = 20_262  # of those draws: a report is the same whenever it is built


def permutation_p(variant: FloatArray, baseline: FloatArray) -> float:
    """Two-sided p of the difference of means over the assignments of the values to the arms.

    min(1, 2 * smaller tail), ties included. Source: `scipy.stats.permutation_test`.

    Args:
        variant: shape (n,).
        baseline: shape (m,).
    """
    there = math.comb(len(variant) + len(baseline), len(variant))
    return _tested(variant, baseline, "independent", there)


def sign_flip_p(variant: FloatArray, baseline: FloatArray) -> float:
    """The same over the 2^n exchanges within pairs; both arms (n,) at the same seeds."""
    return _tested(variant, baseline, "samples", 2 ** len(variant))


def _tested(
    variant: FloatArray,
    baseline: FloatArray,
    kind: Literal["independent", "samples"],
    there: int,
) -> float:
    """The p-value over all of `there` assignments, or over DRAWS of them."""
    found = stats.permutation_test(
        (variant, baseline),
        _apart,
        permutation_type=kind,
        # No fewer than there are makes scipy enumerate them.
        n_resamples=there if there <= MOST else DRAWS,
        vectorized=True,
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)


def _apart(x: FloatArray, y: FloatArray, axis: int) -> Any:
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)
