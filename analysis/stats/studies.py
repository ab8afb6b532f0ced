"""The verdicts of many simulated studies at once: what a calibration and a self-test count."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.stats.differences import paired_terms, welch_terms
from analysis.stats.families import ALPHA, holm
from analysis.stats.intervals import FloatArray, no_spread
from analysis.stats.verdicts import MIN_SEEDS_VERDICT, Claim, directed_p

BoolArray = NDArray[np.bool_]


def decided(claims: Sequence[Claim]) -> tuple[BoolArray, BoolArray]:
    """What `decide` says of one family in each of many studies.

    Args:
        claims: the family; arms are (..., n) and (..., m), the leading axes are studies.

    Returns:
        Whether each claim is supported, and whether it is refuted; (..., claims) each. Neither
        where it is undecided or withheld.
    """
    columns = [_tested(claim) for claim in claims]
    p, agrees = (np.stack(part, axis=-1) for part in zip(*columns, strict=True))
    shown = holm(p) < ALPHA
    return shown & agrees, shown & ~agrees


def _tested(claim: Claim) -> tuple[FloatArray, BoolArray]:
    """p-value and direction of one claim; p = 1 where `decide` withholds it."""
    x, y = claim.variant, claim.baseline
    if min(x.shape[-1], y.shape[-1]) < MIN_SEEDS_VERDICT:
        studies = np.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        return np.ones(studies), np.zeros(studies, dtype=bool)
    terms = (paired_terms if claim.paired else welch_terms)(x, y)
    p, agrees = directed_p(claim.relation, claim.margin, terms)
    lacking = no_spread(x) | no_spread(y)
    if claim.paired:
        lacking |= no_spread(x - y)
    return np.where(lacking, 1.0, p), agrees & ~lacking
