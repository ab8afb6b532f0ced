"""Notebook 3: the critic's clipped loss, and entropy."""

import torch
from torch import Tensor

from harness.commands.parity_ops import Inputs, Outputs
from harness.commands.parity_ops.common import mask, tensor
from harness.exercises.kinds import (
    Data,
    Exercise,
    Learned,
    Mistake,
    Property,
    UnfitError,
    kind,
    shaped,
)
from harness.maths import returns
from harness.maths import tensor_ops as ops
from harness.maths.returns import ValueLoss


def _value(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    values_BT, old_BT = tensor(inputs, "values"), tensor(inputs, "old_values")
    found = learned(values_BT, old_BT, tensor(inputs, "returns"), params["clip"])
    if not isinstance(found, ValueLoss):
        raise UnfitError(f"it must return ValueLoss(loss_BT, clipped_BT), not {kind(found)}")
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


def _crossed(v: Tensor, old: Tensor, target: Tensor, clip: float) -> ValueLoss:
    plain = (v - target) ** 2
    clipped = (target + (v - old).clamp(-clip, clip) - old) ** 2
    return ValueLoss(torch.maximum(plain, clipped) / 2, (clipped > plain).to(v.dtype))


def _unsquared(v: Tensor, old: Tensor, target: Tensor, clip: float) -> ValueLoss:
    plain, clipped = _near(v, old, target, clip)
    clipped = clipped.sqrt()
    return ValueLoss(torch.maximum(plain, clipped) / 2, (clipped > plain).to(v.dtype))


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
            "it clips how far the value is from the return: what is held is its change since the "
            "rollout, V - V_old",
            lambda v, old, r, clip: _between(v, r, old + (v - r).clamp(-clip, clip)),
        ),
        Mistake(
            "V_old and the return are swapped in the clipped error: it is "
            "V_old + clip(V - V_old, ±clip) - R",
            _crossed,
        ),
        Mistake("the clipped error is not squared", _unsquared),
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

EXERCISES = (VALUE, ENTROPY)
