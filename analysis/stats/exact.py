"""Exact tests: every assignment is enumerated, so they assume exchangeability and no normality.

With three seeds in each arm the smallest attainable p is .100 (unpaired) and .250 (paired), so
they decide nothing where the report's default does; from five seeds on they are a cross-check.
"""

import sys
from typing import Any, Literal

import numpy as np
from scipy import stats

from analysis.stats.intervals import FloatArray

ALL = sys.maxsize  # resamples; no fewer than there are makes scipy enumerate them


def permutation_p(variant: FloatArray, baseline: FloatArray) -> float:
    """Two-sided p of the difference of means over all assignments of the values to the arms.

    min(1, 2 * smaller tail), ties included. Source: `scipy.stats.permutation_test`.

    Args:
        variant: shape (n,).
        baseline: shape (m,).
    """
    return _enumerated(variant, baseline, "independent")


def sign_flip_p(variant: FloatArray, baseline: FloatArray) -> float:
    """The same over all 2^n exchanges within pairs; both arms (n,) at the same seeds."""
    return _enumerated(variant, baseline, "samples")


def _enumerated(
    variant: FloatArray, baseline: FloatArray, kind: Literal["independent", "samples"]
) -> float:
    found = stats.permutation_test(
        (variant, baseline), _apart, permutation_type=kind, n_resamples=ALL, vectorized=True
    )
    return float(found.pvalue)


def _apart(x: FloatArray, y: FloatArray, axis: int) -> Any:
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)
