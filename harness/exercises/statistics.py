"""Notebooks 6 and 8: an exact paired test, and Holm's correction for several."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.commands.parity_ops import Inputs, Outputs
from harness.exercises.kinds import (
    Data,
    Exercise,
    Learned,
    Mistake,
    Property,
    UnfitError,
)

FloatArray = NDArray[np.float64]
# Sums that differ by rounding alone are equal: the same as scipy's.
TIE = 1e-12


def _pvalue(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    found = learned(np.array(inputs["x"]), np.array(inputs["y"]))
    try:
        return {"pvalue": float(found)}
    except (TypeError, ValueError) as error:
        raise UnfitError(f"it must return one number, received {type(found).__name__}") from error


def _sums(variant: FloatArray, baseline: FloatArray) -> tuple[FloatArray, float]:
    """The sum of differences under all 2^n signs, and the one that was seen."""
    d = variant - baseline
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=len(d))))
    return signs @ d, float(d.sum())


Share = Callable[[FloatArray, float], float]


def _signs(share: Share) -> Learned:
    return lambda variant, baseline: share(*_sums(variant, baseline))


def _unpaired(variant: FloatArray, baseline: FloatArray) -> float:
    both, n = np.concatenate([variant, baseline]), len(variant)
    tops = itertools.combinations(range(2 * n), n)
    sums = np.array([both[list(top)].sum() for top in tops]) - both.sum() / 2
    seen = abs(variant.sum() - both.sum() / 2)
    return float(np.mean(np.abs(sums) >= seen - TIE))


SIGN_FLIP_P = Exercise(
    name="sign_flip_p",
    data=(Data(_pvalue, op="paired_sign_flip_exact"),),
    mistakes=(
        Mistake(
            "it is one-sided: a difference as large in the other direction is as surprising; "
            "compare absolute values",
            _signs(lambda sums, seen: float(np.mean(sums >= seen - TIE))),
        ),
        Mistake(
            "it counts only sums that are larger than the one that was seen: as large counts too "
            "(>=), or the p of the most extreme data is 0",
            _signs(lambda sums, seen: float(np.mean(np.abs(sums) > abs(seen) + TIE))),
        ),
        Mistake(
            "off by one: the signs as they were seen are one of the 2^n and are counted too",
            _signs(lambda s, seen: float((np.sum(np.abs(s) >= abs(seen) - TIE) - 1) / len(s))),
        ),
        Mistake(
            "off by one: it divides by 2^n - 1; there are 2^n ways to set the signs",
            _signs(lambda s, seen: float(np.sum(np.abs(s) >= abs(seen) - TIE) / (len(s) - 1))),
        ),
        Mistake(
            "it is 1 - p: the share of signs that give less than what was seen",
            _signs(lambda s, seen: float(np.mean(np.abs(s) < abs(seen) - TIE))),
        ),
        Mistake(
            "the pairs are broken: only the signs of the differences are flipped, variant and "
            "baseline of one seed stay together",
            _unpaired,
        ),
    ),
)


def _adjusted(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    p = np.array(inputs["pvalues"], dtype=np.float64)
    try:
        found = np.asarray(learned(p.copy()), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UnfitError("it must return an array of numbers, one per p-value") from error
    if found.shape != p.shape:
        raise UnfitError(
            f"it must return one number per p-value, {p.shape}, received {found.shape}"
        )
    return {"adjusted": found.tolist()}


def _scaled(p: FloatArray, factors: FloatArray, monotone: bool = True) -> FloatArray:
    order = np.argsort(p, kind="stable")
    scaled = np.minimum(p[order] * factors, 1.0)
    found = np.empty_like(p)
    found[order] = np.maximum.accumulate(scaled) if monotone else scaled
    return found


def _holm(p: FloatArray) -> FloatArray:
    return _scaled(p, np.arange(len(p), 0, -1.0))


def _uncapped(p: FloatArray) -> FloatArray:
    order = np.argsort(p, kind="stable")
    found = np.empty_like(p)
    found[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1.0))
    return found


def _hochberg(p: FloatArray) -> FloatArray:
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1.0, len(p) + 1)
    found = np.empty_like(p)
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


def _from_the_largest(p: FloatArray) -> FloatArray:
    order = np.argsort(-p, kind="stable")
    found = np.empty_like(p)
    found[order] = np.maximum.accumulate(np.minimum(p[order] * np.arange(len(p), 0, -1.0), 1.0))
    return found


FALSE_DISCOVERIES = (
    "that is Benjamini and Hochberg's: it bounds the share of false discoveries; Holm's bounds the "
    "chance of a single one"
)


def _larger_family(learned: Learned) -> bool:
    """A test more in the family never makes another p smaller."""
    few, more = np.array([0.01, 0.04]), np.array([0.01, 0.04, 0.03])
    return all(np.asarray(learned(more))[:2] >= np.asarray(learned(few)) - TIE)


HOLM = Exercise(
    name="holm",
    data=(Data(_adjusted, op="holm"),),
    properties=(
        Property("one more test in the family must not make another p smaller", _larger_family),
    ),
    mistakes=(
        Mistake(
            "every p is multiplied by m: that is Bonferroni; in Holm's, the k-th smallest of m is "
            "multiplied by m - k + 1",
            lambda p: np.minimum(p * len(p), 1.0),
        ),
        Mistake(
            "the running maximum is missing: a larger p must not get a smaller adjusted one",
            lambda p: _scaled(p, np.arange(len(p), 0, -1.0), monotone=False),
        ),
        Mistake("it is not capped at 1: a probability is never more", _uncapped),
        Mistake(
            "off by one: the smallest of m is multiplied by m, the next by m - 1, the largest by 1",
            lambda p: _scaled(p, np.maximum(np.arange(len(p) - 1, -1, -1.0), 0)),
        ),
        Mistake(
            "off by one: the smallest of m is multiplied by m, not by m + 1",
            lambda p: _scaled(p, np.arange(len(p) + 1, 1, -1.0)),
        ),
        Mistake(
            "it is in ascending order: the adjusted p-values belong in the order of the given ones",
            lambda p: np.sort(_holm(p)),
        ),
        Mistake(
            "the ranks are upside down: the smallest p is multiplied by m, the largest by 1",
            lambda p: _scaled(p, np.arange(1.0, len(p) + 1)),
        ),
        Mistake(
            "it begins with the largest p: the order is from the smallest to the largest",
            _from_the_largest,
        ),
        Mistake(FALSE_DISCOVERIES, _hochberg),
        Mistake(FALSE_DISCOVERIES, lambda p: _scaled(p, len(p) / np.arange(1.0, len(p) + 1))),
        Mistake("nothing is adjusted", lambda p: p),
    ),
)

EXERCISES = (SIGN_FLIP_P, HOLM)
