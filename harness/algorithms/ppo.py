"""PPO with a critic.

    r_t     = score at the last token - β kl(old, ref)_t
    A_t     = Σ_l (γλ)^l δ_{t+l},  δ_t = r_t + γ V_{t+1} - V_t,  whitened over the batch
    R_t     = A_t + V_t  (before whitening)
    policy  = max(-A ρ, -A clip(ρ, 1-ε_low, 1+ε_high)),  for A < 0 at most -A c  (dual clip)
    value   = 1/2 max((V - R)², (clip(V, V_old ± ε_v) - R)²)
    loss    = mean over tokens of policy + c_v value - c_H entropy

Papers: PPO, arXiv 1707.06347 eq. 7 and 9; GAE, 1506.02438 eq. 16; KL in the reward, 1909.08593
section 2.2; dual clip, 1912.09729 eq. 5; VAPO's λ, decoupled and length-adaptive, 2504.05118.
With one update per rollout every ratio is 1 and no clip is ever active: use several.
"""

from dataclasses import dataclass, field

from torch import Tensor

from harness import checks
from harness.kl import KlInReward, penalized
from harness.maths.returns import CriticSettings, explained_variance, gae, length_lambda, value_loss
from harness.maths.tensor_ops import Reduction, clipped_policy_loss, masked_whiten
from harness.types import Batch, Estimates, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class Ppo:
    """Hyper-parameters of PPO.

    Attributes:
        group_size: responses per prompt, not compared with each other.
        clip_low: ε_low: how far below 1 a token's ratio counts.
        clip_high: ε_high: how far above 1 it counts.
        dual_clip: c > 1, the bound where A < 0 and the ratio is large; null switches it off.
        gamma: γ, what a reward one token later is worth; 1 counts all alike.
        lam: λ of the advantages: 1 is Monte Carlo, 0 trusts the critic after one token.
        critic_lam: λ of the returns; null takes `lam`.
        length_alpha: α of a length-adaptive λ of the advantages; null takes `lam`.
        value_clip: ε_v, how far a value moves from its old one in an update; null: no clip.
        value_coefficient: c_v, weight of the critic's loss beside the policy's.
        entropy_coefficient: c_H, weight of the entropy, which is rewarded.
        kl: the KL in the reward.
        critic: its model, learning rate and warm-up.
    """

    group_size: int = 8
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    gamma: float = 1.0
    lam: float = 1.0
    critic_lam: float | None = None
    length_alpha: float | None = None
    value_clip: float | None = 0.5
    value_coefficient: float = 1.0
    entropy_coefficient: float = 0.0
    kl: KlInReward = field(default_factory=KlInReward)
    critic: CriticSettings = field(default_factory=CriticSettings)

    def __post_init__(self) -> None:
        checks.at_least("algorithm.group_size", self.group_size, 1)
        checks.clip_range(self.clip_low, self.clip_high)
        checks.dual_clip(self.dual_clip, self.clip_high)
        checks.above("algorithm.value_clip", self.value_clip, 0)
        checks.at_least("algorithm.gamma", self.gamma, 0)
        checks.at_least("algorithm.lam", self.lam, 0)
        checks.at_least("algorithm.value_coefficient", self.value_coefficient, 0)
        checks.at_least("algorithm.entropy_coefficient", self.entropy_coefficient, 0)

    @property
    def columns(self) -> frozenset[str]:
        own = {"old_logprobs_BT", "old_values_BT", "values_BT"}
        reference = {"ref_logprobs_BT"} if self.kl.coefficient else set()
        entropy = {"entropy_BT"} if self.entropy_coefficient else set()
        return frozenset(own | reference | entropy)

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Estimates:
        rewards_BT, mask_BT = penalized(batch, self.kl), batch.mask_BT
        values_BT = batch["old_values_BT"].to(rewards_BT.dtype)

        def estimated(lam_B: Tensor) -> Tensor:
            return gae(rewards_BT, values_BT, mask_BT, self.gamma, lam_B)

        constant_B = rewards_BT.new_full(mask_BT.shape[:1], self.lam)
        adaptive_B = length_lambda(mask_BT, self.length_alpha) if self.length_alpha else constant_B
        critic_B = constant_B if self.critic_lam is None else constant_B * 0 + self.critic_lam
        returns_BT = estimated(critic_B) + values_BT
        explained = explained_variance(returns_BT, values_BT, mask_BT)
        return Estimates(
            advantages_BT=masked_whiten(estimated(adaptive_B), mask_BT),
            columns={"returns_BT": returns_BT},
            metrics={"critic/vf_explained_var": explained},
        )

    def loss(self, minibatch: Minibatch) -> Loss:
        clipped = clipped_policy_loss(
            minibatch.logprobs_BT,
            minibatch["old_logprobs_BT"],
            minibatch.advantages_BT,
            *(self.clip_low, self.clip_high, self.dual_clip),
        )
        old_BT, returns_BT = minibatch["old_values_BT"], minibatch["returns_BT"]
        value = value_loss(minibatch["values_BT"], old_BT, returns_BT, self.value_clip)
        weighted = [
            ("policy", clipped.loss_BT, 1.0),
            ("value", value.loss_BT.to(clipped.loss_BT.dtype), self.value_coefficient),
        ]
        if self.entropy_coefficient:
            weighted.append(("entropy", minibatch["entropy_BT"], -self.entropy_coefficient))
        mean = Reduction.TOKEN_MEAN
        return Loss(
            terms=tuple(
                LossTerm(name=name, values=values_BT, reduction=mean, weight=weight)
                for name, values_BT, weight in weighted
            ),
            diagnostics={
                "actor/pg_clipfrac": clipped.clipped_BT,
                "actor/ppo_kl": clipped.kl_BT,
                "critic/vf_clipfrac": value.clipped_BT,
            },
        )
