"""Windows one after the other, by the used share of the budget."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from harness import checks
from harness.errors import ConfigError
from harness.types import Outcome


@dataclass
class Phased:
    """A schedule.

    Attributes:
        lengths: windows, in tokens.
        boundaries: shares of the budget at which the next one begins, rising; one fewer.
    """

    lengths: list[int] = field(default_factory=lambda: [32, 64, 128])
    boundaries: list[float] = field(default_factory=lambda: [0.33, 0.67])
    progress: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        checks.at_least("window.lengths", min(self.lengths, default=0), 1)
        rising = all(a < b for a, b in pairwise([0.0, *self.boundaries, 1.0]))
        if not rising or len(self.lengths) != len(self.boundaries) + 1:
            raise ConfigError(
                f"window.boundaries must rise between 0 and 1 and be one fewer than "
                f"window.lengths, received {self.boundaries} and {self.lengths}"
            )

    @property
    def minimum(self) -> int:
        """The smallest window."""
        return min(self.lengths)

    def window(self, seed: int) -> int:
        return self.lengths[sum(self.progress >= boundary for boundary in self.boundaries)]

    def observe(self, outcome: Outcome) -> None:
        self.progress = outcome.progress

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress = state["progress"]
