"""GSPO: one importance ratio per response.

    s_i   = exp( 1/|y_i| Σ_t log π(y_t) - log π_old(y_t) )
    loss  = 1/N Σ_i max(-A_i s_i, -A_i clip(s_i, 1-ε_low, 1+ε_high)),   A as in GRPO

Paper: "Group Sequence Policy Optimization", arXiv 2507.18071, eq. 5 to 7; ε of section 5.1. The
ratio is a geometric mean, so its clip is far tighter than PPO's. The advantage of a response is
that of its tokens, which are all equal. Use several updates per rollout.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.tensor_ops import (
    Reduction,
    group_normalize,
    log_ratio,
    on_tokens,
    sequence_mean,
)
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class Gspo:
    """Hyper-parameters of GSPO.

    Attributes:
        group_size: responses per prompt, at least 2.
        clip_low: ε_low: how far below 1 a response's ratio counts.
        clip_high: ε_high: how far above 1 it counts.
        std_epsilon: added to the standard deviation of a group.
    """

    group_size: int = 8
    clip_low: float = 3e-4
    clip_high: float = 4e-4
    std_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)
        checks.clip_range(self.clip_low, self.clip_high)
        checks.at_least("algorithm.std_epsilon", self.std_epsilon, 0)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"old_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        advantage_B = group_normalize(batch.scores_B, batch.group_B, self.std_epsilon)
        return on_tokens(advantage_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        mask_BT = minibatch.mask_BT
        log_ratio_BT = log_ratio(minibatch.logprobs_BT, minibatch["old_logprobs_BT"])
        s_B = sequence_mean(log_ratio_BT, mask_BT).exp()
        advantage_B = sequence_mean(minibatch.advantages_BT, mask_BT)
        plain_B = -advantage_B * s_B
        clipped_B = -advantage_B * s_B.clamp(1 - self.clip_low, 1 + self.clip_high)
        loss_B, mean = plain_B.maximum(clipped_B), Reduction.SEQUENCE_MEAN
        is_clipped_BT = on_tokens((clipped_B > plain_B).to(loss_B.dtype), mask_BT)
        return Loss(
            terms=(LossTerm(name="policy", values=loss_B, reduction=mean),),
            diagnostics={"actor/pg_clipfrac": is_clipped_BT, "actor/ppo_kl": -log_ratio_BT},
        )
