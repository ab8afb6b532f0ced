"""REINFORCE, with and without a baseline.

    A_it  = Σ_{s ≥ t} γ^(s-t) r_is - b,   b = 0 or the mean reward of the batch
    loss  = mean over tokens of -A log π

Williams, 1992, eq. 11 (baseline: section 4). On-policy: one update per rollout.
"""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from torch import Tensor

from harness import checks
from harness.maths.returns import to_go
from harness.maths.tensor_ops import Reduction
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


class Baseline(Enum):
    """What is subtracted from the return."""

    NONE = "none"
    BATCH_MEAN = "batch_mean"


@dataclass(frozen=True)
class Reinforce:
    """Hyper-parameters of REINFORCE.

    Attributes:
        group_size: responses per prompt, not compared with each other.
        gamma: γ, what a reward one token later is worth; 1 counts all alike.
        baseline: b.
    """

    # It knows no groups: equal rewards within one are as good or bad as any.
    exempt: ClassVar[frozenset[str]] = frozenset({"equal_rewards"})

    group_size: int = 8
    gamma: float = 1.0
    baseline: Baseline = Baseline.BATCH_MEAN

    def __post_init__(self) -> None:
        checks.at_least("algorithm.group_size", self.group_size, 1)
        checks.at_least("algorithm.gamma", self.gamma, 0)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset()

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        returns_BT = to_go(batch.rewards_BT, batch.mask_BT, self.gamma)
        if self.baseline is Baseline.NONE:
            return returns_BT
        return (returns_BT - batch.scores_B.mean()) * batch.mask_BT

    def loss(self, minibatch: Minibatch) -> Loss:
        values_BT = -minibatch.advantages_BT * minibatch.logprobs_BT
        mean = Reduction.TOKEN_MEAN
        return Loss(terms=(LossTerm(name="policy", values=values_BT, reduction=mean),))
