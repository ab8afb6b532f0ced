"""What a step has sampled, and an algorithm may accept or reject, group by group."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.types import Grade, Rollout, Scores


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a step has sampled, graded and rewarded."""

    rollout: Rollout
    grades: tuple[Grade, ...]
    """B entries."""
    scores: Scores
    columns: Mapping[str, Tensor]
    """What else the algorithm's plan asks for: `greedy_scores_B`, `reference_scores_BN`."""
    tokens: int
    """Response tokens that the step is charged with, those of rejected groups included."""
    prompts: int
    """Prompts that were drawn."""
    metrics: Mapping[str, float]

    @property
    def correct_B(self) -> Tensor:
        """bool (B,)."""
        return torch.tensor([grade.correct for grade in self.grades])
