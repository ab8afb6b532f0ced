"""A control: rewards that have nothing to do with the responses.

What improves under it is no effect of the reward (arXiv 2506.10947).
"""

from dataclasses import dataclass

import torch

from harness import checks
from harness.maths import streams
from harness.types import Graded, Scores


@dataclass(frozen=True)
class Random:
    """1 with some chance, else 0.

    Attributes:
        chance: of a reward of 1.
    """

    chance: float = 0.5

    def __post_init__(self) -> None:
        checks.share("reward.chance", self.chance)

    def score(self, graded: Graded) -> Scores:
        rows = range(graded.first, graded.first + len(graded.grades))
        u_B = streams.uniforms(graded.seed, "reward/random", graded.step, rows, 1)[:, 0]
        return Scores(rewards=torch.from_numpy(u_B < self.chance).double())
