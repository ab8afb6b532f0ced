"""GRPO as TinyZero's code computes it: a mean over tokens, k3 in the loss at 0.001.

    A_i   = (r_i - mean(r)) / (std(r) + ε)
    loss  = mean over tokens of max(-A ρ, -A clip(ρ, 1-ε, 1+ε)) + β k3(π || π_ref)

Jiayi-Pan/TinyZero, verl/workers/actor/dp_actor.py at 95df88f. There the KL term is subtracted:
distance from the base is rewarded (mended in verl a65c9157b). `kl_sign_bug` brings that back.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.tensor_ops import (
    KL,
    Reduction,
    clipped_policy_loss,
    group_normalize,
    kl_estimate,
    on_tokens,
)
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class TinyZeroGrpo:
    """Hyper-parameters of TinyZero's GRPO.

    Attributes:
        group_size: responses per prompt, at least 2.
        clip_low: ε_low: how far below 1 a token's ratio counts.
        clip_high: ε_high: how far above 1 it counts.
        std_epsilon: ε added to the standard deviation.
        kl_coefficient: β of the k3 term.
        kl_sign_bug: subtract the KL term, as the original does.
    """

    group_size: int = 8
    clip_low: float = 0.2
    clip_high: float = 0.2
    std_epsilon: float = 1e-6
    kl_coefficient: float = 0.001
    kl_sign_bug: bool = False

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)
        checks.clip_range(self.clip_low, self.clip_high)
        checks.at_least("algorithm.std_epsilon", self.std_epsilon, 0)
        checks.at_least("algorithm.kl_coefficient", self.kl_coefficient, 0)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"old_logprobs_BT", "ref_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        advantage_B = group_normalize(batch.scores_B, batch.group_B, self.std_epsilon)
        return on_tokens(advantage_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        new_BT, old_BT = minibatch.logprobs_BT, minibatch["old_logprobs_BT"]
        clips = (self.clip_low, self.clip_high)
        clipped = clipped_policy_loss(new_BT, old_BT, minibatch.advantages_BT, *clips)
        kl_BT = kl_estimate(new_BT, minibatch["ref_logprobs_BT"], KL.K3)
        weight = -self.kl_coefficient if self.kl_sign_bug else self.kl_coefficient
        mean = Reduction.TOKEN_MEAN
        terms = (
            LossTerm(name="policy", values=clipped.loss_BT, reduction=mean),
            LossTerm(name="kl", values=kl_BT, reduction=mean, weight=weight),
        )
        diagnostics = {"actor/pg_clipfrac": clipped.clipped_BT, "actor/ppo_kl": clipped.kl_BT}
        return Loss(terms=terms, diagnostics=diagnostics)
