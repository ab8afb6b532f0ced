"""Logits in chunks, the gradient of the layer that makes them added up in float32.

Autograd adds what each chunk says of the output layer's weights in their own type. In bfloat16 a
sum of dozens of chunks loses more than the chunks themselves: .98 % of the gradient for 64 chunks,
.33 % in one piece. Here each chunk's part is added to a float32 buffer, which is rounded once: .37.
"""

from typing import Any

import torch
from torch import Tensor

# What loses nothing to speak of when chunks are added up.
WIDE = (torch.float32, torch.float64)


class HeadGradient:
    """An output layer whose gradient by its weights is summed over chunks before it is rounded.

    Args:
        head: a linear layer; what it makes and the gradient of its input are its own.
    """

    def __init__(self, head: torch.nn.Linear) -> None:
        self.head = head
        self.total_VD: Tensor | None = None
        self._whole: Tensor = _Whole.apply(head.weight, self)  # type: ignore[no-untyped-call]

    def __call__(self, hidden_nD: Tensor) -> Tensor:
        """(n,V) logits of a chunk."""
        weight_VD, bias_V = self.head.weight, self.head.bias
        logits_nV: Tensor = _Part.apply(  # type: ignore[no-untyped-call]
            hidden_nD, weight_VD, self._whole, self
        )
        return logits_nV if bias_V is None else logits_nV + bias_V

    def add(self, part_VD: Tensor) -> None:
        """A chunk's part of the gradient."""
        if self.total_VD is None:
            self.total_VD = torch.zeros_like(part_VD, dtype=torch.float32)
        self.total_VD += part_VD


def rounds(head: torch.nn.Module) -> bool:
    """Whether a sum over chunks in the type of the layer's weights loses precision."""
    return isinstance(head, torch.nn.Linear) and head.weight.dtype not in WIDE


class _Whole(torch.autograd.Function):
    """Stands for the weights in the graph: its gradient comes once, when all chunks have theirs."""

    @staticmethod
    def forward(ctx: Any, weight_VD: Tensor, sums: HeadGradient) -> Tensor:
        ctx.sums, ctx.dtype = sums, weight_VD.dtype
        return torch.zeros((), device=weight_VD.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        total_VD, ctx.sums.total_VD = ctx.sums.total_VD, None
        return (None if total_VD is None else total_VD.to(ctx.dtype)), None


class _Part(torch.autograd.Function):
    """The product of a chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden_nD: Tensor, weight_VD: Tensor, whole: Tensor, sums: HeadGradient
    ) -> Tensor:
        ctx.save_for_backward(hidden_nD, weight_VD)
        ctx.sums = sums
        return torch.nn.functional.linear(hidden_nD, weight_VD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        (gradient_nV,), (hidden_nD, weight_VD) = gradients, ctx.saved_tensors
        whole = None
        if ctx.needs_input_grad[2]:
            part_VD = gradient_nV.T @ hidden_nD
            ctx.sums.add(part_VD)
            whole = torch.zeros((), device=gradient_nV.device)
        return gradient_nV @ weight_VD, None, whole, None
