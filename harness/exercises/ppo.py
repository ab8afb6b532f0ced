"""Notebook 3: the clipped objective of PPO."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.commands.parity_ops import Inputs, Outputs
from harness.commands.parity_ops.common import MODES, mask, tensor
from harness.exercises.kinds import (
    Data,
    Exercise,
    Learned,
    Mistake,
    UnfitError,
    gradient,
    kind,
    shaped,
)
from harness.maths import tensor_ops as ops
from harness.maths.tensor_ops import Clipped, Counts


def _clipped(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    """The reference's loss: dual clip and reduction are put around the learner's function."""
    logprobs_BT, mask_BT = tensor(inputs, "logprobs").requires_grad_(), mask(inputs)
    advantages_BT = tensor(inputs, "advantages")
    clips = (params["clip_low"], params["clip_high"])
    found = learned(logprobs_BT, tensor(inputs, "old_logprobs"), advantages_BT, *clips)
    if not isinstance(found, Clipped):
        raise UnfitError(f"it must return Clipped(loss_BT, clipped_BT, kl_BT), not {kind(found)}")
    shape = logprobs_BT.shape
    loss_BT = shaped(found.loss_BT, shape, "B, T", "loss_BT")
    if params["dual_clip"] is not None:
        bounded_BT = torch.minimum(loss_BT, -advantages_BT * params["dual_clip"])
        loss_BT = torch.where(advantages_BT < 0, bounded_BT, loss_BT)
    counts = Counts.of(mask_BT, budget=params["horizon"] or mask_BT.shape[1])
    loss = ops.reduced(loss_BT, mask_BT, MODES[params["mode"]], counts)
    clipped_BT = shaped(found.clipped_BT, shape, "B, T", "clipped_BT").to(loss.dtype)
    kl_BT = shaped(found.kl_BT, shape, "B, T", "kl_BT")
    return {
        "loss": loss,
        "clip_fraction": ops.masked_mean(clipped_BT, mask_BT),
        "approx_kl": ops.masked_mean(kl_BT, mask_BT),
        "grad_logprobs": gradient(loss, logprobs_BT),
    }


Rule = Callable[[Tensor, Tensor, float, float], tuple[Tensor, Tensor]]


def _rule(rule: Rule, kl_sign: float = -1.0) -> Learned:
    """A policy loss of (ratio, A, low, high) -> (loss, clipped), else as the harness's."""

    def made(new: Tensor, old: Tensor, a: Tensor, low: float, high: float) -> Clipped:
        log_r = ops.log_ratio(new, old)
        loss, clipped = rule(log_r.exp(), a, low, high)
        return Clipped(loss, clipped.to(loss.dtype), kl_sign * log_r)

    return made


def _two(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    return -a * r, -a * r.clamp(1 - low, 1 + high)


def _right(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain, clipped = _two(r, a, low, high)
    return torch.maximum(plain, clipped), clipped > plain


def _least(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain, clipped = _two(r, a, low, high)
    return torch.minimum(plain, clipped), clipped > plain


def _climbs(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain, clipped = _two(r, a, low, high)
    return -torch.maximum(plain, clipped), clipped > plain


def _pessimist_of_gains(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """max(A r, A clip(r)): the signs of the terms forgotten."""
    plain, clipped = _two(r, -a, low, high)
    return torch.maximum(plain, clipped), clipped > plain


def _only_clipped(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain, clipped = _two(r, a, low, high)
    return clipped, clipped > plain


def _unclipped(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain, clipped = _two(r, a, low, high)
    return plain, clipped > plain


def _bounded(bounds: Callable[[float, float], tuple[float, float]]) -> Rule:
    """The right rule, whose ratio is held between other bounds."""

    def made(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
        plain, clipped = -a * r, -a * r.clamp(*bounds(low, high))
        return torch.maximum(plain, clipped), clipped > plain

    return made


def _product(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain = -a * r
    clipped = plain.clamp(1 - low, 1 + high)
    return torch.maximum(plain, clipped), clipped > plain


def _outside(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    return _right(r, a, low, high)[0], (r < 1 - low) | (r > 1 + high)


def _inverse(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    return _right(1 / r, a, low, high)


def _unexponentiated(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    return _right(r.log(), a, low, high)


CLIPPED = Exercise(
    name="clipped_policy_loss",
    data=(Data(_clipped, op="policy_loss"),),
    mistakes=(
        Mistake(
            "the sign is wrong: the objective is maximized, so its loss is minus", _rule(_climbs)
        ),
        Mistake(
            "the sign is wrong: max(A r, A clip(r)) forgets that a loss is minus the objective",
            _rule(_pessimist_of_gains),
        ),
        Mistake(
            "it takes the smaller of the two losses: the paper's min is of the objectives; of the "
            "losses, their negatives, it is the larger one (torch.maximum)",
            _rule(_least),
        ),
        Mistake(
            "only the clipped term: without the maximum of both, a token that moved the wrong way "
            "has no gradient and can never come back",
            _rule(_only_clipped),
        ),
        Mistake("the clip is missing in the loss", _rule(_unclipped)),
        Mistake(
            "it clips the ratio from above only: the lower bound 1 - clip_low is missing",
            _rule(_bounded(lambda low, high: (0.0, 1 + high))),  # a ratio is above 0
        ),
        Mistake(
            "clip_low and clip_high are swapped: the ratio is held between 1 - clip_low and "
            "1 + clip_high",
            _rule(_bounded(lambda low, high: (1 - high, 1 + low))),
        ),
        Mistake(
            "the bounds are clip_low and clip_high themselves: the ratio is held between "
            "1 - clip_low and 1 + clip_high",
            _rule(_bounded(lambda low, high: (low, high))),
        ),
        Mistake(
            "it clips the product of ratio and advantage: clip the ratio alone, then multiply",
            _rule(_product),
        ),
        Mistake(
            "clipped_BT says where the ratio is outside the range; it must say where the clipped "
            "term is the larger loss: for A > 0 above, for A < 0 below",
            _rule(_outside),
        ),
        Mistake("the ratio is upside down: it is new over old, exp(new - old)", _rule(_inverse)),
        Mistake(
            "exp is missing: a difference of log-probs is the log of the ratio",
            _rule(_unexponentiated),
        ),
        Mistake(
            "kl_BT has the wrong sign: it is log(old / new), old minus new", _rule(_right, 1.0)
        ),
    ),
)

EXERCISES = (CLIPPED,)
