"""RLOO: REINFORCE with a leave-one-out baseline.

    A_i   = r_i - mean of the other G-1 rewards of the prompt
    loss  = mean over tokens of -A log π

Paper: "Back to Basics", arXiv 2402.14740, eq. 8. On-policy: one update per rollout.
A group of one (filtering can leave one) keeps its raw reward, as in verl.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.maths.tensor_ops import Reduction, leave_one_out, on_tokens
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class Rloo:
    """Hyper-parameters of RLOO.

    Attributes:
        group_size: responses per prompt, at least 2.
    """

    group_size: int = 8

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset()

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        return on_tokens(leave_one_out(batch.scores_B, batch.group_B), batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        values_BT = -minibatch.advantages_BT * minibatch.logprobs_BT
        mean = Reduction.TOKEN_MEAN
        return Loss(terms=(LossTerm(name="policy", values=values_BT, reduction=mean),))
