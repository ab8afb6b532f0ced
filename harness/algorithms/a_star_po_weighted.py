"""A*-PO as weighted cross-entropy: imitation of one's own responses, weighted by r - V*.

    A_i   = r_i - V*_i,   z_i = clip((A_i - mean A) / (std A + ε), ± c)
    w_i   = clip(z_i + 1, w_min, w_max)              normalized_advantage
            exp(A_i / β) / mean exp(A / β)           exp
            z_i + c                                  shifted_advantage
    loss  = 1/B Σ_i w_i 1/|y_i| Σ_t ( -log π(y_t) + β_KL KL(π || π_ref)_t )

The A*-PO seed's variant (zafar-13/neu-self-improve-ai, week 6), its KL over the full vocabulary.
Weights are never negative: a bad response is imitated less, never pushed away. V* is computed from
the rewards that training sees; the seed computed it from binary ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from harness import checks
from harness.errors import ConfigError
from harness.maths.returns import Scheme, v_star, weights
from harness.maths.tensor_ops import Reduction, on_tokens
from harness.schema import Metric
from harness.types import Batch, Estimates, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class AStarPoWeighted:
    """Hyper-parameters of the weighted cross-entropy.

    Attributes:
        group_size: responses of the policy per prompt.
        value_samples: N, the base's responses per prompt, at first and after each boundary.
        value_boundaries: shares of the budget at which N changes, rising.
        beta: β of V* and of the scheme `exp`.
        scheme: how an advantage becomes a weight.
        adv_clip: c, what a normalized advantage is at most, either way.
        weight_min: smallest weight of the scheme `normalized_advantage`.
        weight_max: its largest weight.
        kl_coefficient: β_KL; 0 switches the KL off.
        share_v_star: all seeds use the base's responses of seed 0.
    """

    # Its loss is weighted by w, not by the advantage.
    exempt: ClassVar[frozenset[str]] = frozenset({"zero_advantage", "sign", "on_policy"})
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "critic/v_star/mean": Metric("reward", "mean V* of the step's prompts"),
        "actor/weight/mean": Metric("1", "mean weight of a response"),
        "actor/weight/std": Metric("1", "standard deviation of the weights"),
    }

    group_size: int = 1
    value_samples: list[int] = field(default_factory=lambda: [5, 3, 2])
    value_boundaries: list[float] = field(default_factory=lambda: [0.15, 0.35])
    beta: float = 0.5
    scheme: Scheme = Scheme.NORMALIZED_ADVANTAGE
    adv_clip: float = 2.0
    weight_min: float = 0.1
    weight_max: float = 5.0
    kl_coefficient: float = 0.03
    share_v_star: bool = False

    def __post_init__(self) -> None:
        checks.at_least("algorithm.group_size", self.group_size, 1)
        checks.at_least("algorithm.value_samples", min(self.value_samples, default=0), 1)
        checks.above("algorithm.beta", self.beta, 0)
        checks.above("algorithm.adv_clip", self.adv_clip, 0)
        checks.at_least("algorithm.kl_coefficient", self.kl_coefficient, 0)
        if len(self.value_samples) != len(self.value_boundaries) + 1:
            raise ConfigError(
                f"algorithm.value_samples needs one number more than algorithm.value_boundaries, "
                f"received {self.value_samples} and {self.value_boundaries}; "
                f"the seed's are [5, 3, 2] and [0.15, 0.35]"
            )
        if not 0 <= self.weight_min < self.weight_max:
            raise ConfigError(
                f"algorithm.weight_min must be in [0, weight_max), received {self.weight_min} and "
                f"{self.weight_max}"
            )

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"kl_full_BT"} if self.kl_coefficient else set())

    def rollout_plan(self, progress: float) -> RolloutPlan:
        stage = sum(progress >= boundary for boundary in self.value_boundaries)
        return RolloutPlan(
            group_size=self.group_size,
            reference_samples=self.value_samples[stage],
            reference_seed=0 if self.share_v_star else None,
        )

    def advantages(self, batch: Batch) -> Estimates:
        v_star_B = v_star(batch["reference_scores_BN"], self.beta)
        limits = (self.adv_clip, self.weight_min, self.weight_max, self.beta)
        weight_B = weights(batch.scores_B, v_star_B, self.scheme, *limits)
        return Estimates(
            advantages_BT=on_tokens(batch.scores_B - v_star_B, batch.mask_BT),
            columns={"weight_B": weight_B},
            metrics={
                "critic/v_star/mean": v_star_B.mean().item(),
                "actor/weight/mean": weight_B.mean().item(),
                "actor/weight/std": weight_B.std(correction=0).item(),
            },
        )

    def loss(self, minibatch: Minibatch) -> Loss:
        weight_B1 = minibatch["weight_B"][:, None].to(minibatch.logprobs_BT.dtype)
        mean = Reduction.SEQUENCE_MEAN_TOKEN_MEAN
        imitation_BT = -weight_B1 * minibatch.logprobs_BT
        terms = [LossTerm(name="policy", values=imitation_BT, reduction=mean)]
        if self.kl_coefficient:
            kl_BT = weight_B1 * minibatch["kl_full_BT"]
            weight = self.kl_coefficient
            terms.append(LossTerm(name="kl", values=kl_BT, reduction=mean, weight=weight))
        return Loss(terms=tuple(terms))
