"""AdamW and its learning rate over the budget."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from harness import checks
from harness.distributed.sharding import Device


class Decay(Enum):
    """What the learning rate does after its warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Kind(Enum):
    """Which AdamW."""

    ADAMW = "adamw"
    ADAMW_8BIT = "adamw_8bit"


@dataclass(frozen=True)
class Optimizer:
    """AdamW and the learning rate's schedule: a linear warm-up, then constant or falling to 0.

    Attributes:
        kind: `adamw_8bit` keeps the moments in 8 bits (torchao).
        learning_rate: after the warm-up.
        beta1: decay of the gradient's mean, in 0..1.
        beta2: decay of the mean of its square, in 0..1.
        epsilon: added to the root of the second moment.
        weight_decay: share of the weights that a step takes away, times the learning rate.
        warmup: share of the budget over which the rate rises.
        decay: constant, linear or cosine; the last two reach 0 at the end of the budget.
        clip: largest norm of the gradient.
    """

    kind: Kind = Kind.ADAMW
    learning_rate: float = 3e-4
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warmup: float = 0.1
    decay: Decay = Decay.CONSTANT
    clip: float = 1.0

    def __post_init__(self) -> None:
        checks.above("trainer.optimizer.learning_rate", self.learning_rate, 0)
        checks.finite("trainer.optimizer.learning_rate", self.learning_rate)
        checks.above("trainer.optimizer.clip", self.clip, 0)
        checks.decay("trainer.optimizer.beta1", self.beta1)
        checks.decay("trainer.optimizer.beta2", self.beta2)
        checks.above("trainer.optimizer.epsilon", self.epsilon, 0)
        checks.at_least("trainer.optimizer.weight_decay", self.weight_decay, 0)
        checks.part("trainer.optimizer.warmup", self.warmup)

    def rate(self, progress: float) -> float:
        """Learning rate when the share `progress` of the budget is used; it starts at a tenth."""
        if progress < self.warmup:
            return self.learning_rate * (0.1 + 0.9 * progress / self.warmup)
        if self.decay is Decay.CONSTANT or self.warmup == 1:
            return self.learning_rate
        left = (1 - progress) / (1 - self.warmup)
        if self.decay is Decay.LINEAR:
            return self.learning_rate * left
        return self.learning_rate * (1 + math.cos(math.pi * (1 - left))) / 2


def adamw(settings: Optimizer, parameters: list[Tensor], device: Device) -> Any:
    """The optimizer of torch or torchao, over these parameters."""
    common: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": (settings.beta1, settings.beta2),
        "eps": settings.epsilon,
        "weight_decay": settings.weight_decay,
    }
    if settings.kind is Kind.ADAMW_8BIT:
        from torchao.optim import AdamW8bit

        return AdamW8bit(parameters, **common)
    return torch.optim.AdamW(parameters, fused=device is Device.CUDA or None, **common)
