"""A*-PO: regression on the optimal advantage, with V* from the base model's own responses.

    V*(x) = β1 log( 1/N Σ_j exp(r_j / β1) )          over N responses of the base model
    s_i   = Σ_t log π(y_t) - log π_ref(y_t)          a sum: never divided by the length
    loss  = 1/B Σ_i ( β2 s_i - (r_i - V*_i) )²

Paper: "Accelerating RL for LLM Reasoning with Optimal Advantage Regression", arXiv 2505.20686,
eq. 5 and algorithm 1; definitions as in the authors' code (ZhaolinGao/A-PO). One response per
prompt, no clip, no importance ratio, no whitening.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness import checks
from harness.maths.returns import v_star
from harness.maths.tensor_ops import Reduction, on_tokens
from harness.rollout.collected import Collected
from harness.schema import Metric
from harness.types import Batch, Estimates, Loss, LossTerm, Minibatch, RolloutPlan


def some_right(collected: Collected) -> Tensor:
    """Rows of prompts that the base got some reward for; bool (B,)."""
    return (collected.columns["reference_scores_BN"] != 0).any(-1)


@dataclass(frozen=True)
class AStarPo:
    """Hyper-parameters of A*-PO.

    Attributes:
        group_size: responses of the policy per prompt.
        value_samples: N, the base's responses per prompt that V* is estimated from.
        beta1: β1 > 0; towards 0 V* is the best of the N, towards infinity their mean.
        beta2: β2 > 0, the pull towards the base.
        drop_all_wrong: leave out prompts for which all N rewards are 0.
        share_v_star: all seeds use the responses of seed 0: their V* is one and the same.
    """

    # A regression: its loss reads r - V* as a target, not the advantage as a factor.
    exempt: ClassVar[frozenset[str]] = frozenset({"zero_advantage", "sign", "on_policy"})
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "critic/v_star/mean": Metric("reward", "mean V* of the step's prompts"),
        "actor/log_ratio_sum": Metric("nats", "log π/π_ref of whole responses, token mean"),
    }

    group_size: int = 1
    value_samples: int = 8
    beta1: float = 0.5
    beta2: float = 1e-3
    drop_all_wrong: bool = False
    share_v_star: bool = False

    def __post_init__(self) -> None:
        checks.at_least("algorithm.group_size", self.group_size, 1)
        checks.at_least("algorithm.value_samples", self.value_samples, 1)
        checks.above("algorithm.beta1", self.beta1, 0)
        checks.above("algorithm.beta2", self.beta2, 0)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"ref_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(
            group_size=self.group_size,
            reference_samples=self.value_samples,
            reference_seed=0 if self.share_v_star else None,
            accept=some_right if self.drop_all_wrong else None,
            max_batches=10,
        )

    def advantages(self, batch: Batch) -> Estimates:
        v_star_B = v_star(batch["reference_scores_BN"], self.beta1)
        advantage_B = batch.scores_B - v_star_B
        return Estimates(
            advantages_BT=on_tokens(advantage_B, batch.mask_BT),
            columns={"advantage_B": advantage_B},
            metrics={"critic/v_star/mean": v_star_B.mean().item()},
        )

    def loss(self, minibatch: Minibatch) -> Loss:
        log_ratio_BT = minibatch.logprobs_BT - minibatch["ref_logprobs_BT"]
        s_B = log_ratio_BT.masked_fill(~minibatch.mask_BT, 0.0).sum(-1)
        residual_B = self.beta2 * s_B - minibatch["advantage_B"].to(s_B.dtype)
        term = LossTerm(name="policy", values=residual_B**2, reduction=Reduction.RESPONSE_MEAN)
        sums_BT = on_tokens(s_B.detach(), minibatch.mask_BT)
        return Loss(terms=(term,), diagnostics={"actor/log_ratio_sum": sums_BT})
