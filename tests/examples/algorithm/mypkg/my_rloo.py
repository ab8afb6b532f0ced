"""RLOO: the baseline of a response is the mean reward of the others to its prompt."""

from dataclasses import dataclass

from torch import Tensor

from harness.maths.tensor_ops import Reduction, leave_one_out, on_tokens
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class MyRloo:
    """RLOO.

    Attributes:
        group_size: responses per prompt.
    """

    group_size: int = 8
    columns = frozenset[str]()  # needs no old or reference log-probs

    def rollout_plan(self, progress: float) -> RolloutPlan:  # what to sample
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:  # (B,T), on the whole batch
        return on_tokens(leave_one_out(batch.scores_B, batch.group_B), batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:  # unreduced; only the core divides
        values_BT = -minibatch.advantages_BT * minibatch.logprobs_BT
        term = LossTerm(name="policy", values=values_BT, reduction=Reduction.TOKEN_MEAN)
        return Loss(terms=(term,))
