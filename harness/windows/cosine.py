"""A window that rises from a minimum to a maximum along half a cosine, over the budget.

    window = min + 1/2 (max - min) (1 - cos(π progress))

The cosine schedule of the adaptive seed (train_tiny_zero_cosine.sh), there in phases.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from harness import checks
from harness.types import Outcome


@dataclass
class CosineWindow:
    """A schedule.

    Attributes:
        minimum: window at the start, in tokens.
        maximum: window at the end.
    """

    minimum: int = 32
    maximum: int = 128
    progress: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        checks.at_least("window.minimum", self.minimum, 1)
        checks.at_least("window.maximum", self.maximum, self.minimum)

    def window(self, seed: int) -> int:
        share = 0.5 * (1 - math.cos(math.pi * self.progress))
        return round(self.minimum + share * (self.maximum - self.minimum))

    def observe(self, outcome: Outcome) -> None:
        self.progress = outcome.progress

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress = state["progress"]
