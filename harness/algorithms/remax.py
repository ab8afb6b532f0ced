"""ReMax: REINFORCE whose baseline is the reward of the greedy response to the same prompt.

    A_it  = Σ_{s ≥ t} r_is - r(greedy_i)
    loss  = mean over tokens of -A log π

Paper: "ReMax", arXiv 2310.10505, eq. 6 and algorithm 1. On-policy: one update per rollout.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.returns import to_go
from harness.maths.tensor_ops import Reduction
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class ReMax:
    """Hyper-parameters of ReMax.

    Attributes:
        group_size: sampled responses per prompt, beside the greedy one.
    """

    group_size: int = 1

    def __post_init__(self) -> None:
        checks.at_least("algorithm.group_size", self.group_size, 1)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset()

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size, greedy=True)

    def advantages(self, batch: Batch) -> Tensor:
        baseline_B1 = batch["greedy_scores_B"][:, None]
        return (to_go(batch.rewards_BT, batch.mask_BT) - baseline_B1) * batch.mask_BT

    def loss(self, minibatch: Minibatch) -> Loss:
        values_BT = -minibatch.advantages_BT * minibatch.logprobs_BT
        mean = Reduction.TOKEN_MEAN
        return Loss(terms=(LossTerm(name="policy", values=values_BT, reduction=mean),))
