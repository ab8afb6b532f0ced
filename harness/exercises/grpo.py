"""Notebook 5: group-relative advantages, and how per-token losses become one number."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.commands.parity_ops import Inputs, Outputs
from harness.commands.parity_ops.common import MODES, mask, tensor
from harness.exercises.kinds import (
    JUNK,
    Data,
    Exercise,
    Learned,
    Mistake,
    Property,
    shaped,
)
from harness.exercises.reinforce import MASKED, alone
from harness.maths import tensor_ops as ops
from harness.maths.tensor_ops import Counts, Reduction

EPSILON = 1e-6


def _advantages(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    scores_B, group_B = tensor(inputs, "scores"), torch.tensor(inputs["group"])
    found = learned(scores_B.clone(), group_B, EPSILON)
    return {"advantages": shaped(found, scores_B.shape, "B")}


def _biased(x_B: Tensor, group_B: Tensor, epsilon: float) -> Tensor:
    sizes_B = (group_B[:, None] == group_B[None, :]).sum(-1).to(x_B.dtype)
    shrunk_B = torch.where(sizes_B == 1, 1.0, ((sizes_B - 1) / sizes_B).sqrt())
    return ops.group_center(x_B, group_B) / (ops.group_std(x_B, group_B) * shrunk_B + epsilon)


def _lost(x_B: Tensor, group_B: Tensor, epsilon: float) -> Tensor:
    return ops.group_normalize(x_B, group_B, epsilon).masked_fill(alone(group_B), 0.0)


def _equal_rewards(learned: Learned) -> bool:
    x_B, group_B = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.long)
    return bool((learned(x_B, group_B, EPSILON) == 0).all())


def _epsilon_is_added(learned: Learned) -> bool:
    """Rewards 3 and 1: ±1 over sqrt(2) + .5."""
    x_B, group_B = torch.tensor([3.0, 1.0], dtype=torch.float64), torch.zeros(2, dtype=torch.long)
    return bool((learned(x_B, group_B, 0.5)[0] - 1 / (2**0.5 + 0.5)).abs() < 1e-9)


def _absolute(x_B: Tensor, group_B: Tensor, epsilon: float) -> Tensor:
    """Over the mean absolute deviation."""
    same_BB = (group_B[:, None] == group_B[None, :]).to(x_B.dtype)
    centred_B = ops.group_center(x_B, group_B)
    deviation_B = same_BB @ centred_B.abs() / same_BB.sum(-1)
    return centred_B / (torch.where(alone(group_B), 1.0, deviation_B) + epsilon)


GROUP_NORMALIZE = Exercise(
    name="group_normalize",
    data=(
        Data(
            _advantages, op="group_advantage", chosen=lambda params: params["estimator"] == "grpo"
        ),
    ),
    properties=(
        Property(
            "equal rewards must give 0: epsilon is added to the standard deviation so that 0 / 0 "
            "does not happen",
            _equal_rewards,
        ),
        Property(
            "epsilon is added to the standard deviation: it is an argument, neither a bound nor a "
            "number of your own",
            _epsilon_is_added,
        ),
    ),
    mistakes=(
        Mistake(
            "the standard deviation is biased: the squares are divided by n - 1 (Bessel, as in the "
            "reference), not by n",
            _biased,
        ),
        Mistake(
            "the standard deviation is missing: x - mean is Dr. GRPO's advantage",
            lambda x, g, e: ops.group_center(x, g),
        ),
        Mistake(
            "the mean absolute deviation stands in place of the standard deviation",
            _absolute,
        ),
        Mistake(
            "it divides by the variance, not by its square root",
            lambda x, g, e: ops.group_center(x, g) / (ops.group_std(x, g) ** 2 + e),
        ),
        Mistake(
            "the mean is not subtracted",
            lambda x, g, e: x / (ops.group_std(x, g) + e),
        ),
        Mistake(
            "the wrong axis: mean and standard deviation are the whole batch's, not the group's",
            lambda x, g, e: ops.group_normalize(x, torch.zeros_like(g), e),
        ),
        Mistake(
            "the standard deviation is the whole batch's, not the group's",
            lambda x, g, e: ops.group_center(x, g) / (x.std() + e),
        ),
        Mistake(
            "a group of one becomes 0: as in the reference, its mean counts as 0 and its standard "
            "deviation as 1",
            _lost,
        ),
    ),
)


def _total(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    values_BT, mask_BT = tensor(inputs, "losses"), mask(inputs)
    counts = Counts.of(mask_BT, budget=params["horizon"] or mask_BT.shape[1])
    found = learned(values_BT.clone(), mask_BT, MODES[params["mode"]], counts)
    return {"loss": shaped(found, torch.Size(), "")}


def _padding(learned: Learned) -> bool:
    mask_BT = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    values_BT = torch.tensor([[1.0, 2, 6, 0], [4, 8, 0, 0]], dtype=torch.float64)
    counts = Counts.of(mask_BT, budget=7)
    return all(
        torch.equal(
            learned(values_BT.clone(), mask_BT, mode, counts),
            learned(values_BT.masked_fill(~mask_BT, JUNK), mask_BT, mode, counts),
        )
        for mode in MODES.values()
    )


def _parts_add_up(learned: Learned) -> bool:
    """Two micro-batches of three and two responses, one of them empty, counted together."""
    lengths_B = torch.tensor([3, 1, 2, 0, 3])
    mask_BT = torch.arange(3) < lengths_B[:, None]
    values_BT = torch.arange(15, dtype=torch.float64).reshape(5, 3)
    counts = Counts.of(mask_BT, budget=7)
    return all(
        torch.allclose(
            sum(learned(values_BT[i], mask_BT[i], mode, counts) for i in (slice(3), slice(3, 5))),
            ops.reduced(values_BT, mask_BT, mode, counts),
        )
        for mode in MODES.values()
    )


Total = Callable[[Tensor, Tensor, Counts], Tensor]


def _but(kind: Reduction, other: Total) -> Learned:
    """`reduced`, right for all kinds but one."""

    def made(values_BT: Tensor, mask_BT: Tensor, reduction: Reduction, counts: Counts) -> Tensor:
        if reduction is kind:
            return other(values_BT.masked_fill(~mask_BT, 0.0), mask_BT, counts)
        return ops.reduced(values_BT, mask_BT, reduction, counts)

    return made


def _rows(values_BT: Tensor, mask_BT: Tensor, reduction: Reduction, counts: Counts) -> Tensor:
    """Every row counts as a sequence, empty ones too."""
    rows = Counts(counts.tokens, len(mask_BT), counts.budget)
    return ops.reduced(values_BT, mask_BT, reduction, rows)


def _width(values_BT: Tensor, mask_BT: Tensor, reduction: Reduction, counts: Counts) -> Tensor:
    wide = Counts(counts.tokens, counts.sequences, mask_BT.shape[1])
    return ops.reduced(values_BT, mask_BT, reduction, wide)


def _unmasked(values_BT: Tensor, mask_BT: Tensor, reduction: Reduction, counts: Counts) -> Tensor:
    return ops.reduced(values_BT, torch.ones_like(mask_BT), reduction, counts)


REDUCED = Exercise(
    name="reduced",
    data=(Data(_total, op="aggregate"),),
    properties=(
        Property(MASKED, _padding),
        Property(
            "it counts what it was given: a batch may come in parts, whose shares have to add up; "
            "divide by `counts`, which is of the whole batch",
            _parts_add_up,
        ),
    ),
    mistakes=(
        Mistake(MASKED, _unmasked),
        Mistake(
            "TOKEN_MEAN takes a mean per response first: it is one mean over all tokens",
            _but(Reduction.TOKEN_MEAN, lambda x, m, c: ops.sequence_mean(x, m).sum() / c.sequences),
        ),
        Mistake(
            "TOKEN_MEAN divides by all positions, padding included",
            _but(Reduction.TOKEN_MEAN, lambda x, m, c: x.mean()),
        ),
        Mistake(
            "SEQUENCE_MEAN_TOKEN_MEAN takes one mean over all tokens: it divides each response by "
            "its own length first (GRPO's 1/|o|)",
            _but(Reduction.SEQUENCE_MEAN_TOKEN_MEAN, lambda x, m, c: x.sum() / c.tokens),
        ),
        Mistake(
            "the wrong axis: SEQUENCE_MEAN_TOKEN_MEAN takes the mean over the padded width, not "
            "over each response's own tokens",
            _but(
                Reduction.SEQUENCE_MEAN_TOKEN_MEAN,
                lambda x, m, c: x.mean(-1).sum() / c.sequences,
            ),
        ),
        Mistake(
            "empty responses are counted as sequences: divide by counts.sequences",
            _rows,
        ),
        Mistake(
            "CONSTANT_BUDGET divides by the padded width: the constant is counts.budget, the same "
            "for every batch",
            _width,
        ),
        Mistake(
            "CONSTANT_BUDGET divides by each response's own length: that is GRPO's mean again",
            _but(
                Reduction.CONSTANT_BUDGET,
                lambda x, m, c: ops.sequence_mean(x, m).sum() / c.sequences,
            ),
        ),
        Mistake(
            "CONSTANT_BUDGET is not divided by the number of sequences",
            _but(Reduction.CONSTANT_BUDGET, lambda x, m, c: x.sum() / c.budget),
        ),
        Mistake(
            "SEQUENCE_MEAN_TOKEN_SUM is not divided by the number of sequences",
            _but(Reduction.SEQUENCE_MEAN_TOKEN_SUM, lambda x, m, c: x.sum()),
        ),
    ),
)

EXERCISES = (GROUP_NORMALIZE, REDUCED)
