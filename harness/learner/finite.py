"""Numbers that are none, and whose fault that is: the algorithm's, or that of the weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.blame import named
from harness.distributed.ranks import Ranks
from harness.errors import ContractError, DivergedError
from harness.protocols import Algorithm
from harness.types import Minibatch


def check_logprobs(mini: Minibatch) -> None:
    """Raise DivergedError when the policy gives no log-probs: no algorithm can help it."""
    if not bool(torch.isfinite(mini.logprobs_BT.detach()[mini.mask_BT.bool()]).all()):
        raise DivergedError(
            f"the policy's log-probs are no longer finite at {mini.progress:.0%} of the budget: "
            f"its weights have left the range of numbers; lower trainer.optimizer.learning_rate"
        )


@dataclass
class Gradients:
    """Whether the loss has finite derivatives: what tells an algorithm's fault from a model's."""

    finite: list[Tensor] = field(default_factory=list)

    def watch(self, current: Mapping[str, Tensor]) -> None:
        """Look at the derivative by each column when it is computed."""
        for column_BT in current.values():
            if column_BT.requires_grad:
                column_BT.register_hook(self._look)  # type: ignore[no-untyped-call]

    def _look(self, gradient_BT: Tensor) -> None:
        self.finite.append(torch.isfinite(gradient_BT).all())

    def check(self, norm: float, algorithm: Algorithm, progress: float, ranks: Ranks) -> None:
        """Raise the error of whose fault it is that a gradient is not finite."""
        if math.isfinite(norm):
            return
        when = f"at {progress:.0%} of the budget"
        if ranks.most(sum(not bool(one) for one in self.finite)):
            raise ContractError(
                f"algorithm {named(algorithm)}: loss is finite but its derivative is not {when}, "
                f"such as that of sqrt or log at 0"
            )
        raise DivergedError(
            f"the gradient's norm is {norm:g} {when}, though the loss and its derivative are "
            f"finite: the weights have left the range of numbers; lower "
            f"trainer.optimizer.learning_rate"
        )
