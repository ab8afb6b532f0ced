"""The verdicts of many simulated studies at once: what a calibration and a self-test count."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.ablation import Relation
from analysis.stats.differences import paired_terms, welch_terms
from analysis.stats.families import ALPHA, holm
from analysis.stats.intervals import FloatArray, no_spread
from analysis.stats.spending import At, Looks
from analysis.stats.verdicts import MIN_SEEDS_VERDICT, Claim, directed_p

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int_]


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


def decided_in_looks(
    looks: Looks, stages: Sequence[Sequence[Claim]]
) -> tuple[BoolArray, BoolArray, IntArray]:
    """What `decide_in_looks` says of one family in each of many studies.

    Args:
        stages: the family at each look, paired or not as a whole; arms are (..., n) and (..., m),
            the leading axes studies.

    Returns:
        As `decided`, and the number from 0 of the look that decided, or how many there were.
    """
    count = len(stages[0])
    columns = [[_tested(claim) for claim in family] for family in stages]
    shape = (*columns[0][0][0].shape, count)
    when: IntArray = np.full(shape, len(stages))
    side = np.zeros(shape, dtype=bool)
    for number, family in enumerate(stages):
        p, agrees = (np.stack(part, axis=-1) for part in zip(*columns[number], strict=True))
        equal = np.array([claim.relation is Relation.EQUAL for claim in family])
        crossed = _crossed(At(looks.on(family[0].paired), number), p, agrees & equal)
        for _ in range(count):  # Holm's steps: whoever falls leaves the others more of the level
            undecided = when == len(stages)
            left = undecided.sum(axis=-1)[None, ..., None]
            hit = np.take_along_axis(crossed, np.maximum(left, 1) - 1, axis=0)[0] & undecided
            when, side = np.where(hit, number, when), np.where(hit, agrees, side)
    shown = when < len(stages)
    return shown & side, shown & ~side, when


def _crossed(at: At, p: FloatArray, one_sided: BoolArray) -> BoolArray:
    """Whether p (..., claims) decides at a look with 1, 2 ... claims left; on a new first axis."""
    levels = [ALPHA / left for left in range(1, p.shape[-1] + 1)]
    nominal = [[at.nominal(level, sided) for sided in (False, True)] for level in levels]
    return np.stack([p < np.where(one_sided, one, two) for two, one in nominal])


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
