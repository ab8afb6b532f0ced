"""Binary reward: 1 for an exactly correct answer."""

from dataclasses import dataclass

import torch

from harness import checks
from harness.types import Grade, Graded, Scores


@dataclass(frozen=True)
class Binary:
    """1 for a correct answer, `format_score` for a closed answer with wrong content, else 0.

    Attributes:
        format_score: 0 unless configured; TinyZero's value is 0.1.
    """

    format_score: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least("reward.format_score", self.format_score, 0)

    def value(self, grade: Grade) -> float:
        """Reward of one graded response."""
        if grade.correct:
            return 1.0
        return self.format_score if grade.formatted else 0.0

    def score(self, graded: Graded) -> Scores:
        values = [self.value(grade) for grade in graded.grades]
        return Scores(rewards=torch.tensor(values, dtype=torch.float64))
