"""KL in the reward: how much it weighs, and the controller that may move that.

    r_t <- r_t - β kl(old, ref)_t
    β   <- β (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon)      (adaptive)

with KL the mean over responses of their token means, and n the responses of the batch (Ziegler et
al., arXiv 1909.08593, section 2.2). The β of a step is the one before its own update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness import checks
from harness.errors import ConfigError
from harness.maths.tensor_ops import KL, Counts, Reduction, kl_estimate, reduced
from harness.schema import Metric
from harness.types import Batch, Outcome

# Largest relative error that a step of the adaptive controller sees.
MAX_ERROR = 0.2


@dataclass(frozen=True)
class KlInReward:
    """Settings.

    Attributes:
        coefficient: β, at first; 0 switches the KL in the reward off.
        estimator: per-token estimator.
        target: KL per token that an adaptive β aims at; null keeps β fixed.
        horizon: responses over which an adaptive β moves.
    """

    coefficient: float = 0.0
    estimator: KL = KL.K1
    target: float | None = None
    horizon: int = 10_000

    def __post_init__(self) -> None:
        checks.at_least("algorithm.kl.coefficient", self.coefficient, 0)
        checks.at_least("algorithm.kl.horizon", self.horizon, 1)
        if self.target is None:
            return
        checks.above("algorithm.kl.target", self.target, 0)
        if self.coefficient == 0:
            raise ConfigError(
                f"algorithm.kl.target={self.target} adapts a KL that is switched off: a "
                f"coefficient of 0 stays 0; set algorithm.kl.coefficient=0.001"
            )


class KlController:
    """β, moved by what a step's KL was."""

    METRICS: ClassVar[Mapping[str, Metric]] = {
        "critic/kl": Metric("nats", "KL(old policy || base) in the reward, mean over responses"),
        "critic/kl_coeff": Metric("1", "coefficient of the KL in this step's reward"),
    }

    def __init__(self, settings: KlInReward) -> None:
        self.settings = settings
        self.coefficient = settings.coefficient
        self.seen: dict[str, float] = {}

    def observe(self, outcome: Outcome) -> None:
        if not self.settings.coefficient:
            return
        old_BT, ref_BT = outcome.columns["old_logprobs_BT"], outcome.columns["ref_logprobs_BT"]
        kl_BT = kl_estimate(old_BT, ref_BT, self.settings.estimator)
        mask_BT = torch.arange(kl_BT.shape[1]) < outcome.lengths_B[:, None]
        counts = Counts.of(mask_BT, budget=1)
        kl = reduced(kl_BT, mask_BT, Reduction.SEQUENCE_MEAN_TOKEN_MEAN, counts).item()
        self.seen = {"critic/kl": kl, "critic/kl_coeff": self.coefficient}
        self.coefficient = adapted(self.coefficient, kl, counts.sequences, self.settings)

    def metrics(self) -> dict[str, float]:
        return dict(self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.coefficient = state["coefficient"]


def adapted(coefficient: float, kl: float, responses: int, settings: KlInReward) -> float:
    """The next β."""
    if settings.target is None:
        return coefficient
    error = min(max(kl / settings.target - 1, -MAX_ERROR), MAX_ERROR)
    return coefficient * (1 + error * responses / settings.horizon)


def penalized(batch: Batch, settings: KlInReward) -> Tensor:
    """Token-level rewards less β kl(old, ref); (B,T). β is the controller's of this step."""
    if not settings.coefficient:
        return batch.rewards_BT
    old_BT, ref_BT = batch["old_logprobs_BT"], batch["ref_logprobs_BT"]
    kl_BT = kl_estimate(old_BT, ref_BT, settings.estimator).masked_fill(~batch.mask_BT, 0.0)
    return batch.rewards_BT - batch.kl_coefficient * kl_BT
