"""Soft overlong penalty: the last part of the budget costs more and more.

    p = min(0, -(L - (C - buffer)) / buffer) * factor,  at least -factor

with C the maximum response budget. DAPO, arXiv 2503.14476 eq. 13. A shaper: add it to a reward
with reward=sum, as reward=dapo does.
"""

from dataclasses import dataclass

from torch import Tensor

from harness import checks
from harness.types import Graded, Scores


def overlong_penalty(lengths_B: Tensor, limit: int, buffer: float, factor: float) -> Tensor:
    """The equation above; float64 (B,), in [-factor, 0]."""
    over_B = (lengths_B.double() - (limit - buffer)) / buffer
    return -factor * over_B.clamp(0, 1)


@dataclass(frozen=True)
class Overlong:
    """Penalty on responses that come near the budget.

    Attributes:
        buffer_share: part of the budget in which the penalty rises; DAPO's is 4096 of 20480 tokens.
        factor: the largest penalty.
    """

    buffer_share: float = 0.2
    factor: float = 1.0

    def __post_init__(self) -> None:
        checks.share("reward.buffer_share", self.buffer_share)
        checks.above("reward.factor", self.factor, 0)

    def score(self, graded: Graded) -> Scores:
        buffer = self.buffer_share * graded.budget
        lengths_B = graded.rollout.lengths_B
        return Scores(rewards=overlong_penalty(lengths_B, graded.budget, buffer, self.factor))
