"""A control: the answer's form is rewarded, its content is not looked at."""

from dataclasses import dataclass

import torch

from harness.types import Graded, Scores


@dataclass(frozen=True)
class FormatOnly:
    """1 for a marked and closed answer, right or wrong."""

    def score(self, graded: Graded) -> Scores:
        formatted = [grade.formatted for grade in graded.grades]
        return Scores(rewards=torch.tensor(formatted, dtype=torch.float64))
