"""Numbers that are none, and whose fault that is: the algorithm's, the engine's or the weights'."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.blame import named
from harness.distributed.ranks import Ranks
from harness.distributed.sharding import local
from harness.errors import ContractError, DivergedError, EngineError
from harness.protocols import Algorithm
from harness.types import Rollout
from harness.wording import few

# What a column of a model's is called in messages.
WORDS = {"logprobs_BT": "log-probs", "entropy_BT": "entropies", "values_BT": "values"}


def check_scored(column: str, x_BT: Tensor, mask_BT: Tensor, trained: bool) -> None:
    """Raise DivergedError for what a model says of a rollout and is no number.

    Args:
        column: name of it, (B,T).
        trained: whether the model has an optimizer; the base and a checkpoint have none.
    """
    if not (bad := _rows(x_BT, mask_BT)):
        return
    what = f"{WORDS[column]} are no numbers for {bad} of {len(x_BT)} responses"
    if trained:
        owner = "critic" if column == "values_BT" else "policy"
        raise DivergedError(
            f"the {owner}'s {what}: its weights have left the range of numbers; lower "
            f"trainer.optimizer.learning_rate"
        )
    raise DivergedError(
        f"the base model's {what}: its weights are damaged, or too large for its numeric type; "
        f"choose another model or type (model.*)"
    )


def unsound(rollout: Rollout) -> int:
    """Responses with log-probs of the sampler's that are no numbers."""
    return _rows(rollout.logprobs_BT, rollout.mask_BT)


def check_sampled(rollout: Rollout) -> None:
    """Raise EngineError for log-probs of the sampler's that are no numbers."""
    if bad := unsound(rollout):
        raise EngineError(
            f"the rollout engine's log-probs are no numbers for {bad} of {len(rollout.texts)} "
            f"responses, the policy's own are: its computation overflows; try another engine "
            f"(rollout=transformers) or numeric type"
        )


def check_current(current: Mapping[str, Tensor], mask_bt: Tensor, progress: float) -> None:
    """Raise DivergedError when a model gives no numbers for a pass: no algorithm can help it.

    Args:
        current: what moves with the policy, (b,t) each; its log-probs are looked at first.
    """
    for column, x_bt in sorted(current.items(), key=lambda item: item[0] != "logprobs_BT"):
        if _rows(x_bt.detach(), mask_bt):
            owner = "critic" if column == "values_BT" else "policy"
            raise DivergedError(
                f"the {owner}'s {WORDS.get(column, column)} are no longer finite at {progress:.0%} "
                f"of the budget: its weights have left the range of numbers; lower "
                f"trainer.optimizer.learning_rate"
            )


def check_loss(total: Tensor, names: Sequence[str], algorithm: Algorithm, progress: float) -> None:
    """Raise ContractError for terms that are finite and whose weighted sum is not."""
    if not bool(torch.isfinite(total.detach())):
        raise ContractError(
            f"algorithm {named(algorithm)}: the loss ({', '.join(names)}) adds up to "
            f"{total.item():g} at {progress:.0%} of the budget; its terms or their weights are too "
            f"large"
        )


def _rows(x_BT: Tensor, mask_BT: Tensor) -> int:
    """Responses with a value under the mask that is not finite."""
    return int((~torch.isfinite(x_BT) & mask_BT.bool()).any(-1).sum())


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

    def check(
        self,
        norm: float,
        module: torch.nn.Module,
        algorithm: Algorithm,
        progress: float,
        ranks: Ranks,
    ) -> None:
        """Raise the error of whose fault it is that a gradient is not finite.

        All ranks call it, before any weight is moved.

        Args:
            norm: of the gradients of the module.
        """
        if math.isfinite(norm):
            return
        when = f"at {progress:.0%} of the budget"
        if ranks.most(sum(not bool(one) for one in self.finite)):
            raise ContractError(
                f"algorithm {named(algorithm)}: loss is finite but its derivative is not {when}, "
                f"such as that of sqrt or log at 0"
            )
        raise DivergedError(
            f"the gradient's norm is {norm:g} {when}{_where(module, ranks)}, though the loss and "
            f"its derivative are finite: the weights have left the range of numbers; lower "
            f"trainer.optimizer.learning_rate"
        )


def _where(module: torch.nn.Module, ranks: Ranks) -> str:
    """The parameters whose gradient is not finite, those of every rank's shards."""
    own = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(local(parameter.grad)).all())
    ]
    found = list(dict.fromkeys(name for names in ranks.gathered(own) for name in names))
    if not found:
        return " (that of each parameter is finite)"
    return f" (that of {few(found)})"
