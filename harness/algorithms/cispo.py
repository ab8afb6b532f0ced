"""CISPO: the importance weight is clipped, no token loses its gradient.

    w_it  = stop_gradient( clip(ρ_it, 1-ε_low, 1+ε_high) )   or   stop_gradient( min(ρ_it, cap) )
    loss  = mean over tokens of -w A log π,   A as in GRPO

Paper: "MiniMax-M1", arXiv 2506.13585, eq. 4 and 5. Use several updates per rollout.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.tensor_ops import Reduction, group_normalize, log_ratio, on_tokens
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class Cispo:
    """Hyper-parameters of CISPO.

    Attributes:
        group_size: responses per prompt, at least 2.
        clip_low: ε_low: a weight is at least 1 - ε_low; 1 lets every small weight be.
        clip_high: ε_high: a weight is at most 1 + ε_high.
        cap: an absolute bound that replaces both (TRL's form); null takes the clip.
        std_epsilon: added to the standard deviation of a group.
    """

    group_size: int = 8
    clip_low: float = 1.0
    clip_high: float = 0.28
    cap: float | None = None
    std_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)
        checks.share("algorithm.clip_low", self.clip_low)
        checks.at_least("algorithm.clip_high", self.clip_high, 0)
        checks.at_least("algorithm.std_epsilon", self.std_epsilon, 0)
        checks.above("algorithm.cap", self.cap, 0)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"old_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        advantage_B = group_normalize(batch.scores_B, batch.group_B, self.std_epsilon)
        return on_tokens(advantage_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        logprobs_BT = minibatch.logprobs_BT
        log_ratio_BT = log_ratio(logprobs_BT, minibatch["old_logprobs_BT"]).detach()
        ratio_BT = log_ratio_BT.exp()
        low, high = (0.0, self.cap) if self.cap else (1 - self.clip_low, 1 + self.clip_high)
        weight_BT = ratio_BT.clamp(low, high).masked_fill(~minibatch.mask_BT, 0.0)
        values_BT = -weight_BT * minibatch.advantages_BT * logprobs_BT
        clipped_BT = (weight_BT != ratio_BT).to(values_BT.dtype)
        return Loss(
            terms=(LossTerm(name="policy", values=values_BT, reduction=Reduction.TOKEN_MEAN),),
            diagnostics={"actor/pg_clipfrac": clipped_BT, "actor/ppo_kl": -log_ratio_BT},
        )
