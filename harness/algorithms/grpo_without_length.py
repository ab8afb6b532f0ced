"""GRPO without the division by each response's own length.

    A_i   = (r_i - mean(r)) / (std(r) + ε)                 over the G responses of one prompt
    loss  = 1/N Σ_i 1/C Σ_t max(-A_i ρ_it, -A_i clip(ρ_it, 1-ε_low, 1+ε_high))

with C the maximum response budget, also under a moving window. One of the two corrections of
"Understanding R1-Zero-like training", arXiv 2503.20783, section 3.2, without the other: the
advantage is GRPO's, the loss Dr. GRPO's. A corner of the 2 x 2 of length_bias_factorial; the
opposite one is grpo_without_std. The standard deviation is Bessel-corrected.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.tensor_ops import Reduction, clipped_policy_loss, group_normalize, on_tokens
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class GrpoWithoutLength:
    """Hyper-parameters of GRPO without the length.

    Degenerate cases: equal rewards give advantage 0; a group of one keeps its raw reward over
    1 + ε.

    Attributes:
        group_size: responses per prompt, at least 2.
        clip_low: ε_low of the ratio clip.
        clip_high: ε_high of the ratio clip.
        std_epsilon: ε added to the standard deviation.

    Raises:
        ConfigError: a group of fewer than two, or a clip range outside [0, 1) and [0, ∞).
    """

    group_size: int = 8
    clip_low: float = 0.2
    clip_high: float = 0.2
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
        clipped = clipped_policy_loss(
            minibatch.logprobs_BT,
            minibatch["old_logprobs_BT"],
            minibatch.advantages_BT,
            self.clip_low,
            self.clip_high,
        )
        reduction = Reduction.CONSTANT_BUDGET
        policy = LossTerm(name="policy", values=clipped.loss_BT, reduction=reduction)
        diagnostics = {"actor/pg_clipfrac": clipped.clipped_BT, "actor/ppo_kl": clipped.kl_BT}
        return Loss(terms=(policy,), diagnostics=diagnostics)
