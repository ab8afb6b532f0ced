"""The fixed window: every step has the same response budget."""

from dataclasses import dataclass
from typing import Any

from harness import checks
from harness.types import Outcome


@dataclass(frozen=True)
class Fixed:
    """A constant response budget.

    Attributes:
        length: tokens of a response at most.
    """

    length: int

    def __post_init__(self) -> None:
        checks.at_least("window.length", self.length, 1)

    def window(self, seed: int) -> int:
        return self.length

    def observe(self, outcome: Outcome) -> None:
        """Nothing moves a fixed window."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is no state."""
