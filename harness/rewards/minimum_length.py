"""Minimum length: a response that is too short is penalized, whatever it says.

Against the collapse to empty responses that the A*-PO seed reports. The seed's own remedy, not to
sample an end token before, is `rollout.min_new_tokens`. A shaper: add it with reward=sum.
"""

from dataclasses import dataclass

import torch

from harness import checks
from harness.types import Graded, Scores


@dataclass(frozen=True)
class MinimumLength:
    """`-penalty` for responses of fewer than `tokens` tokens, else 0.

    Attributes:
        tokens: the shortest response that is not penalized, its end token included.
        penalty: what a shorter one costs.
    """

    tokens: int = 8
    penalty: float = 1.0

    def __post_init__(self) -> None:
        checks.at_least("reward.tokens", self.tokens, 1)
        checks.above("reward.penalty", self.penalty, 0)

    def score(self, graded: Graded) -> Scores:
        short_B = graded.rollout.lengths_B < self.tokens
        return Scores(rewards=-self.penalty * short_B.to(torch.float64))
