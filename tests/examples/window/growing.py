"""A window that grows in a straight line from a first length to the maximum."""

from dataclasses import dataclass, field
from typing import Any

from harness import checks
from harness.types import Outcome


@dataclass
class Growing:
    """The response budget rises with the used share of the training budget.

    Attributes:
        first: tokens at the beginning.
        last: tokens at the end.
    """

    first: int = 32
    last: int = 128
    progress: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        checks.at_least("window.first", self.first, 1)
        checks.at_least("window.last", self.last, self.first)

    @property
    def minimum(self) -> int:
        """The smallest window there will be."""
        return self.first

    def window(self, seed: int) -> int:
        """Of the next rollout."""
        return round(self.first + (self.last - self.first) * self.progress)

    def observe(self, outcome: Outcome) -> None:
        """After each step: how far the budget is used, how long responses were, what was right."""
        self.progress = outcome.progress

    def metrics(self) -> dict[str, float]:
        """Nothing beside `window/current`, which every run records."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on: a resumed trial equals an uninterrupted one."""
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress = state["progress"]
