"""GRPO: group-relative policy optimization.

    A_i   = (r_i - mean(r)) / (std(r) + ε)                 over the G responses of one prompt
    loss  = 1/N Σ_i 1/|o_i| Σ_t max(-A_i ρ_it, -A_i clip(ρ_it, 1-ε_low, 1+ε_high)) + β KL

Paper: DeepSeekMath, arXiv 2402.03300, eq. 3 (outcome supervision, section 4.1.2).
The standard deviation is Bessel-corrected; KL is an estimate in the loss, off by default. In a loss
k1 has an expected gradient of 0 on-policy, and k2 that of the KL itself; k3 is the paper's.
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
class Grpo:
    """Hyper-parameters of GRPO.

    Degenerate cases: equal rewards give advantage 0; a group of one (filtering can leave one)
    keeps its raw reward over 1 + ε, as in verl.

    Attributes:
        group_size: responses per prompt, at least 2.
        clip_low: ε_low of the ratio clip.
        clip_high: ε_high of the ratio clip.
        std_epsilon: ε added to the standard deviation.
        kl_coefficient: β of the KL against the base model; 0 switches it off.
        kl_estimator: k1, abs, k2 or k3.

    Raises:
        ConfigError: a group of fewer than two, or a clip range outside [0, 1) and [0, ∞).
    """

    group_size: int = 8
    clip_low: float = 0.2
    clip_high: float = 0.2
    std_epsilon: float = 1e-6
    kl_coefficient: float = 0.0
    kl_estimator: KL = KL.K3

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)
        checks.clip_range(self.clip_low, self.clip_high)
        checks.at_least("algorithm.std_epsilon", self.std_epsilon, 0)
        checks.at_least("algorithm.kl_coefficient", self.kl_coefficient, 0)

    @property
    def columns(self) -> frozenset[str]:
        reference = {"ref_logprobs_BT"} if self.kl_coefficient else set()
        return frozenset({"old_logprobs_BT"} | reference)

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        advantage_B = group_normalize(batch.scores_B, batch.group_B, self.std_epsilon)
        return on_tokens(advantage_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        clipped = clipped_policy_loss(
            minibatch.logprobs_BT,
            minibatch["old_logprobs_BT"],
            minibatch.advantages_BT,
            self.clip_low,
            self.clip_high,
        )
        reduction = Reduction.SEQUENCE_MEAN_TOKEN_MEAN
        terms = [LossTerm(name="policy", values=clipped.loss_BT, reduction=reduction)]
        if self.kl_coefficient:
            ref_BT = minibatch["ref_logprobs_BT"]
            kl_BT = kl_estimate(minibatch.logprobs_BT, ref_BT, self.kl_estimator)
            terms.append(
                LossTerm(name="kl", values=kl_BT, reduction=reduction, weight=self.kl_coefficient)
            )
        diagnostics = {"actor/pg_clipfrac": clipped.clipped_BT, "actor/ppo_kl": clipped.kl_BT}
        return Loss(terms=tuple(terms), diagnostics=diagnostics)
