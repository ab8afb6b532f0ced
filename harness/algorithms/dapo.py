"""DAPO: clip-higher, a mean over tokens, and only groups that say something.

    A_i   = (r_i - mean(r)) / (std(r) + ε)            as in GRPO
    loss  = mean over tokens of max(-A ρ, -A clip(ρ, 1-ε_low, 1+ε_high)),   ε_high > ε_low

Prompts whose responses are all right or all wrong are replaced by others (dynamic sampling). Paper:
"DAPO", arXiv 2503.14476, eq. 8 to 11; its soft overlong penalty is reward=dapo, which
algorithm=dapo chooses.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.tensor_ops import (
    Reduction,
    clipped_policy_loss,
    group_normalize,
    has_signal,
    on_tokens,
)
from harness.rollout.collected import Collected
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


def undecided(collected: Collected) -> Tensor:
    """Rows of groups with right and wrong responses; bool (B,). Correctness, before any penalty."""
    return has_signal(collected.correct_B.double(), collected.rollout.group_B)


@dataclass(frozen=True)
class Dapo:
    """Hyper-parameters of DAPO.

    Attributes:
        group_size: responses per prompt, at least 2.
        clip_low: ε_low: how far below 1 a token's ratio counts.
        clip_high: ε_high: how far above 1 it counts.
        std_epsilon: ε added to the standard deviation.
        dynamic_sampling: replace groups without a signal.
        max_batches: rollouts that a step may take to fill itself.
    """

    group_size: int = 8
    clip_low: float = 0.2
    clip_high: float = 0.28
    std_epsilon: float = 1e-6
    dynamic_sampling: bool = True
    max_batches: int = 10

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)
        checks.clip_range(self.clip_low, self.clip_high)
        checks.at_least("algorithm.std_epsilon", self.std_epsilon, 0)
        checks.at_least("algorithm.max_batches", self.max_batches, 1)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"old_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(
            group_size=self.group_size,
            accept=undecided if self.dynamic_sampling else None,
            max_batches=self.max_batches,
        )

    def advantages(self, batch: Batch) -> Tensor:
        advantage_B = group_normalize(batch.scores_B, batch.group_B, self.std_epsilon)
        return on_tokens(advantage_B, batch.mask_BT)

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
