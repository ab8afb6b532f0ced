"""Cosine length shaping: how much a right or a wrong answer is worth depends on its length.

    r = long + 1/2 (short - long) (1 + cos(π L / C))        L >= C: `exceed`, right or wrong

with C the maximum response budget, whatever the window is. "Demystifying Long Chain-of-Thought",
arXiv 2502.03373, section 4.2. The endpoints are what they are called: `short` is approached for
L -> 0, `long` for L -> C. Evaluation never asks a reward: only training is shaped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.types import Graded, Scores


def shaped(lengths_B: Tensor, limit: int, short_B: Tensor, long_B: Tensor, exceed: float) -> Tensor:
    """The equation above; float64 (B,)."""
    lengths_B = lengths_B.double()
    wave_B = 1 + torch.cos(torch.pi * lengths_B / limit)
    return torch.where(lengths_B >= limit, exceed, long_B + 0.5 * (short_B - long_B) * wave_B)


@dataclass(frozen=True)
class Cosine:
    """The paper's values: short right answers and long wrong ones are best.

    Attributes:
        correct_short: right, towards length 0.
        correct_long: right, towards the budget.
        wrong_short: wrong, towards length 0.
        wrong_long: wrong, towards the budget.
        exceed: the budget is used up.
    """

    correct_short: float = 2.0
    correct_long: float = 1.0
    wrong_short: float = -10.0
    wrong_long: float = 0.0
    exceed: float = -10.0

    def values(self, lengths_B: Tensor, correct_B: Tensor, limit: int) -> Tensor:
        """Rewards of responses of some lengths; float64 (B,)."""
        short_B = torch.where(correct_B, self.correct_short, self.wrong_short).double()
        long_B = torch.where(correct_B, self.correct_long, self.wrong_long).double()
        return shaped(lengths_B, limit, short_B, long_B, self.exceed)

    def score(self, graded: Graded) -> Scores:
        correct_B = torch.tensor([grade.correct for grade in graded.grades])
        return Scores(rewards=self.values(graded.rollout.lengths_B, correct_B, graded.budget))
