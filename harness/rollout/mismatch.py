"""How far the sampler's log-probs are from the trainer's, of the very tokens that were sampled.

With d = log π_trainer - log π_sampler and w = exp(d) of each response token (Yao et al. 2025, "Your
efficient RL framework secretly brings you off-policy RL training"):

    k3  = mean(w - 1 - d), an estimate of KL(sampler || trainer)
    ESS = (Σ w)² / (N Σ w²), the share of the N tokens that importance weights would leave
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import checks
from harness.errors import ConfigError, EngineError
from harness.maths.tensor_ops import MAX_LOG_RATIO

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mismatch:
    """How much of it is let pass.

    Attributes:
        warn: mean |d| above which a step is warned of.
        stop: mean |d| above which the trial stops.
    """

    warn: float = 0.05
    stop: float = 0.2

    def __post_init__(self) -> None:
        checks.above("trainer.mismatch.warn", self.warn, 0)
        if self.stop < self.warn:
            raise ConfigError(
                f"trainer.mismatch.stop must be at least trainer.mismatch.warn={self.warn}, "
                f"received {self.stop}; the defaults are 0.05 and 0.2"
            )

    def check(self, found: Mapping[str, float]) -> None:
        """Warn of, or stop at, a sampler that is not the model that is trained.

        Raises:
            EngineError: it is further from it than `stop`.
        """
        mean = found["rollout/mismatch/mean"]
        if mean > self.stop or mean != mean:
            raise EngineError(
                f"the log-probs of sampler and trainer differ by {mean:.3g} in the mean, above "
                f"trainer.mismatch.stop={self.stop}: the responses are not the policy's; "
                f"compare temperatures and numeric types, or raise it if that is meant"
            )
        if mean > self.warn:
            log.warning(
                "the log-probs of sampler and trainer differ by %.3g in the mean, above "
                "trainer.mismatch.warn=%g",
                mean,
                self.warn,
            )


def mismatch(sampler_BT: Tensor, trainer_BT: Tensor, mask_BT: Tensor) -> dict[str, float]:
    """Metrics of a step, over the response tokens of (B,T) log-probs."""
    sampler_N, trainer_N = sampler_BT[mask_BT].double(), trainer_BT[mask_BT].double()
    d_N = trainer_N - sampler_N
    bounded_N = d_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    w_N = bounded_N.exp()
    return {
        "rollout/mismatch/mean": d_N.abs().mean().item(),
        "rollout/mismatch/max": d_N.abs().max().item(),
        "rollout/mismatch/k3": (bounded_N.expm1() - bounded_N).mean().item(),
        "rollout/mismatch/ess": (w_N.sum() ** 2 / (len(w_N) * (w_N**2).sum())).item(),
        "rollout/mismatch/correlation": _correlation(sampler_N.exp(), trainer_N.exp()),
    }


def _correlation(x_N: Tensor, y_N: Tensor) -> float:
    """Pearson's; 1 where neither varies, 0 where only one does."""
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    scale = torch.sqrt((x_N**2).sum() * (y_N**2).sum()).item()
    if scale == 0:
        return float(torch.equal(x_N, y_N))
    return (x_N * y_N).sum().item() / scale
