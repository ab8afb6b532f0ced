"""What the adapters share: inputs as tensors, and what the core makes of a plug-in's loss."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.maths import tensor_ops as ops
from harness.types import Loss

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]

# The references' names of the reductions.
MODES = {
    "token-mean": ops.Reduction.TOKEN_MEAN,
    "seq-mean-token-mean": ops.Reduction.SEQUENCE_MEAN_TOKEN_MEAN,
    "seq-mean-token-sum": ops.Reduction.SEQUENCE_MEAN_TOKEN_SUM,
    "seq-mean-token-sum-norm": ops.Reduction.CONSTANT_BUDGET,
}


def tensor(inputs: Inputs, name: str) -> Tensor:
    return torch.tensor(inputs[name], dtype=torch.float64)


def mask(inputs: Inputs) -> Tensor:
    return torch.tensor(inputs["mask"], dtype=torch.bool)


def total(loss: Loss, mask_BT: Tensor, horizon: int | None) -> Tensor:
    """The loss of a whole batch: what the core makes of a plug-in's terms."""
    counts = ops.Counts.of(mask_BT, budget=horizon or mask_BT.shape[1])
    shares = [
        term.weight * ops.reduced(term.values, mask_BT, term.reduction, counts)
        for term in loss.terms
    ]
    return torch.stack(shares).sum()
