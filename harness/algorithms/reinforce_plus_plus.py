"""REINFORCE++: whitened returns with a KL in the reward; or a group baseline, whitened.

    r_t   = score at the last token - β kl(old, ref)_t
    A_it  = whiten( Σ_{s ≥ t} γ^(s-t) r_is )                         plain form
    A_it  = whiten( score_i - mean of the prompt's scores )          baseline form
    loss  = mean over tokens of max(-A ρ, -A clip(ρ, 1-ε_low, 1+ε_high))

whiten: over all response tokens of the batch. Paper: "REINFORCE++", arXiv 2501.03262, eq. 5 to 9.
With one update per rollout the clip is never active: use several.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from harness import checks
from harness.errors import ConfigError
from harness.kl import KlInReward, penalized
from harness.maths.returns import to_go
from harness.maths.tensor_ops import (
    Reduction,
    clipped_policy_loss,
    group_center,
    masked_whiten,
    on_tokens,
)
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class ReinforcePlusPlus:
    """Hyper-parameters of REINFORCE++.

    Attributes:
        group_size: responses per prompt; at least 2 with the group baseline.
        group_baseline: the baseline form; its scores have no KL.
        gamma: γ of the plain form.
        clip_low: ε_low: how far below 1 a token's ratio counts.
        clip_high: ε_high: how far above 1 it counts.
        kl: the KL in the reward of the plain form.
    """

    # Whitened over the batch: equal rewards within a group are still above or below its mean.
    exempt: ClassVar[frozenset[str]] = frozenset({"equal_rewards"})

    group_size: int = 8
    group_baseline: bool = False
    gamma: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: KlInReward = field(default_factory=KlInReward)

    def __post_init__(self) -> None:
        checks.clip_range(self.clip_low, self.clip_high)
        checks.at_least("algorithm.gamma", self.gamma, 0)
        checks.at_least("algorithm.group_size", self.group_size, 1 + self.group_baseline)
        if self.group_baseline and self.kl.coefficient:
            raise ConfigError(
                f"algorithm.group_baseline=true compares scores without a KL, received "
                f"algorithm.kl.coefficient={self.kl.coefficient}; set one of the two"
            )

    @property
    def columns(self) -> frozenset[str]:
        reference = {"ref_logprobs_BT"} if self.kl.coefficient else set()
        return frozenset({"old_logprobs_BT"} | reference)

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        if self.group_baseline:
            centred_B = group_center(batch.scores_B, batch.group_B)
            return masked_whiten(on_tokens(centred_B, batch.mask_BT), batch.mask_BT)
        returns_BT = to_go(penalized(batch, self.kl), batch.mask_BT, self.gamma)
        return masked_whiten(returns_BT, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        old_BT, advantages_BT = minibatch["old_logprobs_BT"], minibatch.advantages_BT
        clips = (self.clip_low, self.clip_high)
        clipped = clipped_policy_loss(minibatch.logprobs_BT, old_BT, advantages_BT, *clips)
        mean = Reduction.TOKEN_MEAN
        diagnostics = {"actor/pg_clipfrac": clipped.clipped_BT, "actor/ppo_kl": clipped.kl_BT}
        return Loss(
            terms=(LossTerm(name="policy", values=clipped.loss_BT, reduction=mean),),
            diagnostics=diagnostics,
        )
