"""Notebook 3: the clipped objective, the critic's clipped loss, and entropy."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.commands.parity_ops.common import MODES, mask, tensor
from harness.exercises.kinds import (
    Data,
    Exercise,
    Inputs,
    Learned,
    Mistake,
    Outputs,
    Property,
    UnfitError,
    gradient,
    shaped,
)
from harness.maths import returns
from harness.maths import tensor_ops as ops
from harness.maths.returns import ValueLoss
from harness.maths.tensor_ops import Clipped, Counts


def _clipped(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    """The reference's loss: dual clip and reduction are put around the learner's function."""
    logprobs_BT, mask_BT = tensor(inputs, "logprobs").requires_grad_(), mask(inputs)
    advantages_BT = tensor(inputs, "advantages")
    clips = (params["clip_low"], params["clip_high"])
    found = learned(logprobs_BT, tensor(inputs, "old_logprobs"), advantages_BT, *clips)
    if not isinstance(found, Clipped):
        raise UnfitError(f"it must return Clipped(loss_BT, clipped_BT, kl_BT), not {_kind(found)}")
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


def _kind(found: object) -> str:
    return "None: is the `return` missing?" if found is None else type(found).__name__


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


def _above_only(r: Tensor, a: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    plain, clipped = -a * r, -a * r.clamp(max=1 + high)
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
            _rule(_above_only),
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


def _value(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    values_BT, old_BT = tensor(inputs, "values"), tensor(inputs, "old_values")
    found = learned(values_BT, old_BT, tensor(inputs, "returns"), params["clip"])
    if not isinstance(found, ValueLoss):
        raise UnfitError(f"it must return ValueLoss(loss_BT, clipped_BT), not {_kind(found)}")
    loss_BT = shaped(found.loss_BT, values_BT.shape, "B, T", "loss_BT")
    clipped_BT = shaped(found.clipped_BT, values_BT.shape, "B, T", "clipped_BT")
    return {
        "loss": ops.masked_mean(loss_BT, mask(inputs)),
        "clip_fraction": ops.masked_mean(clipped_BT.to(loss_BT.dtype), mask(inputs)),
    }


def _free(learned: Learned) -> bool:
    """clip None: half the squared error."""
    v_BT, r_BT = torch.tensor([[1.0, 0.3]]), torch.tensor([[1.2, 0.0]])
    found = learned(v_BT, v_BT + 1, r_BT, None)
    return torch.allclose(found.loss_BT, (v_BT - r_BT) ** 2 / 2) and not found.clipped_BT.any()


def _near(v: Tensor, old: Tensor, target: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    near = torch.maximum(torch.minimum(v, old + clip), old - clip)
    return (v - target) ** 2, (near - target) ** 2


def _smaller(v: Tensor, old: Tensor, target: Tensor, clip: float) -> ValueLoss:
    plain, clipped = _near(v, old, target, clip)
    return ValueLoss(torch.minimum(plain, clipped) / 2, (clipped > plain).to(v.dtype))


def _between(v: Tensor, target: Tensor, near: Tensor) -> ValueLoss:
    plain, clipped = (v - target) ** 2, (near - target) ** 2
    return ValueLoss(torch.maximum(plain, clipped) / 2, (clipped > plain).to(v.dtype))


def _only_near(v: Tensor, old: Tensor, target: Tensor, clip: float) -> ValueLoss:
    plain, clipped = _near(v, old, target, clip)
    return ValueLoss(clipped / 2, (clipped > plain).to(v.dtype))


def _double(v: Tensor, old: Tensor, target: Tensor, clip: float) -> ValueLoss:
    found = returns.value_loss(v, old, target, clip)
    return ValueLoss(found.loss_BT * 2, found.clipped_BT)


def _moved(v: Tensor, old: Tensor, target: Tensor, clip: float) -> ValueLoss:
    found = returns.value_loss(v, old, target, clip)
    return ValueLoss(found.loss_BT, ((v - old).abs() > clip).to(v.dtype))


VALUE = Exercise(
    name="value_loss",
    data=(Data(_value, op="value_loss"),),
    properties=(Property("clip=None switches the clip off: half the squared error", _free),),
    mistakes=(
        Mistake("the factor 1/2 is missing", _double),
        Mistake(
            "it takes the smaller of the two errors: the clipped loss is pessimistic, so the "
            "larger one (torch.maximum)",
            _smaller,
        ),
        Mistake("only the clipped term: the maximum with the plain error is missing", _only_near),
        Mistake(
            "it clips to ±clip around 0: the new value is held near the old value",
            lambda v, old, r, clip: returns.value_loss(v, old * 0, r, clip),
        ),
        Mistake(
            "only the clipped change stands for the value: V_old is missing in front of "
            "clip(V - V_old, ±clip)",
            lambda v, old, r, clip: _between(v, r, (v - old).clamp(-clip, clip)),
        ),
        Mistake(
            "it clips the new value itself: clip its change, V_old + clip(V - V_old, ±clip)",
            lambda v, old, r, clip: _between(v, r, old + v.clamp(-clip, clip)),
        ),
        Mistake(
            "the clip is missing, or is around the returns, where it does nothing: the new value "
            "is held near the old value",
            lambda v, old, r, clip: returns.value_loss(v, old, r, None),
        ),
        Mistake(
            "clipped_BT says where the value moved further than the clip; it must say where the "
            "clipped error is the larger one",
            _moved,
        ),
    ),
)


def _entropy(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    logits = tensor(inputs, "logits")
    return {"entropy": shaped(learned(logits.clone()), logits.shape[:-1], "...")}


def _finite(learned: Learned) -> bool:
    return bool(torch.isfinite(learned(torch.tensor([[1000.0, 0.0, -1000.0]]))).all())


def _over(logits: Tensor, axis: int) -> Tensor:
    log_p = torch.log_softmax(logits, dim=axis)
    return -(log_p.exp() * log_p).sum(-1)


ENTROPY = Exercise(
    name="entropy",
    data=(Data(_entropy, op="entropy"),),
    properties=(
        Property(
            "it is not a number for large logits: exp overflows, or 0 log 0; take log_softmax, "
            "and its exp for the probabilities",
            _finite,
        ),
    ),
    mistakes=(
        Mistake(
            "the sign is wrong: entropy is minus Σ p log p, never negative",
            lambda x: -ops.entropy(x),
        ),
        Mistake(
            "the wrong axis: the softmax runs over the positions; it runs over the vocabulary, "
            "the last axis",
            lambda x: _over(x, 0),
        ),
        Mistake(
            "a mean over the vocabulary in place of the sum: p already is the weight",
            lambda x: ops.entropy(x) / x.shape[-1],
        ),
        Mistake(
            "the weights p are missing: it sums log p over the vocabulary",
            lambda x: -torch.log_softmax(x, dim=-1).sum(-1),
        ),
        Mistake(
            "it is in bits: the harness counts in nats, with the natural logarithm",
            lambda x: ops.entropy(x) / torch.log(torch.tensor(2.0, dtype=x.dtype)),
        ),
    ),
)

EXERCISES = (CLIPPED, VALUE, ENTROPY)
