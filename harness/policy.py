"""The policy: a causal language model that scores responses and takes optimizer steps."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness import checks
from harness.batching import Packed, micro_batches, packed, row_lengths
from harness.errors import ConfigError
from harness.tensor_ops import entropy
from harness.types import Rollout


@dataclass(frozen=True)
class Optimizer:
    """AdamW and the learning rate's schedule: a linear warm-up, then constant.

    Attributes:
        learning_rate: after the warm-up.
        warmup: share of the budget over which the rate rises.
        clip: largest norm of the gradient.
    """

    learning_rate: float = 3e-4
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warmup: float = 0.1
    clip: float = 1.0

    def __post_init__(self) -> None:
        checks.above("trainer.optimizer.learning_rate", self.learning_rate, 0)
        checks.above("trainer.optimizer.clip", self.clip, 0)
        if not 0 <= self.warmup <= 1:
            raise ConfigError(
                f"trainer.optimizer.warmup is a share and must be in [0, 1], received {self.warmup}"
            )

    def rate(self, progress: float) -> float:
        """Learning rate when the share `progress` of the budget is used; it starts at a tenth."""
        if self.warmup == 0:
            return self.learning_rate
        return self.learning_rate * min(1.0, 0.1 + 0.9 * progress / self.warmup)


class Learner:
    """Parameters with their optimizer; without settings they only score (the reference)."""

    def __init__(self, parameters: Iterable[Tensor], settings: Optimizer | None) -> None:
        self.parameters = list(parameters)
        self.settings = settings
        self.optimizer: torch.optim.AdamW | None = None
        if settings is None:
            for parameter in self.parameters:
                parameter.requires_grad_(False)
        else:
            self.optimizer = torch.optim.AdamW(
                self.parameters,
                lr=settings.learning_rate,
                betas=(settings.beta1, settings.beta2),
                eps=settings.epsilon,
                weight_decay=settings.weight_decay,
            )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, progress: float) -> tuple[float, float]:
        """One step on the gradients that are there; the norm before clipping, and the rate."""
        assert self.optimizer is not None
        assert self.settings is not None
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        rate = self.settings.rate(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return float(norm), rate


class Policy(Learner):
    """A model that scores the responses it is shown, and learns if it has an optimizer."""

    def __init__(
        self, model: Any, temperature: float, token_budget: int, optimizer: Optimizer | None = None
    ) -> None:
        super().__init__(model.parameters(), optimizer)
        self.model = model
        self.temperature = temperature
        self.token_budget = token_budget

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names and full tensors, for the rollout engine."""
        for name, parameter in self.model.named_parameters():
            yield name, parameter.detach()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer."""
        assert self.optimizer is not None
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict."""
        assert self.optimizer is not None
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def score(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Log-probs of the sampled tokens and entropies, both float32 (B,T), 0 off the mask."""
        logprobs_BT = torch.zeros(rollout.mask_BT.shape)
        entropy_BT = torch.zeros(rollout.mask_BT.shape)
        rows_B = torch.arange(len(rollout.prompts))
        for rows_b in micro_batches(rows_B, row_lengths(rollout), self.token_budget):
            inputs = packed(rollout, rows_b)
            logits_bsV = self.logits(inputs)
            logprobs_bt, entropy_bt = (
                chosen(logits_bsV, inputs),
                inputs.aligned(entropy(logits_bsV)),
            )
            mask_bt = rollout.mask_BT[rows_b, : logprobs_bt.shape[1]]
            logprobs_BT[rows_b, : logprobs_bt.shape[1]] = logprobs_bt.masked_fill(~mask_bt, 0.0)
            entropy_BT[rows_b, : entropy_bt.shape[1]] = entropy_bt.masked_fill(~mask_bt, 0.0)
        return logprobs_BT, entropy_BT

    def logits(self, inputs: Packed) -> Tensor:
        """float32 (b,s,V) over the temperature, from the position before the first response."""
        kept = inputs.tokens_bS.shape[1] - inputs.first
        logits_bsV: Tensor = self.model(
            input_ids=inputs.tokens_bS, use_cache=False, logits_to_keep=kept
        ).logits[:, :-1]
        return logits_bsV.float() / self.temperature


def chosen(logits_bsV: Tensor, inputs: Packed) -> Tensor:
    """(b,t) log-probs of the response tokens."""
    targets_bs1 = inputs.tokens_bS[:, inputs.first + 1 :, None]
    return inputs.aligned(logits_bsV.log_softmax(-1).gather(-1, targets_bs1)[..., 0])
