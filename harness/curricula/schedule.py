"""Curriculum by schedule: the level is a function of the used share of the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.curricula import levels
from harness.errors import ConfigError
from harness.schema import Metric
from harness.types import Outcome, Prompt


@dataclass
class Schedule:
    """One level after the other.

    The default boundaries are the A*-PO seed's: of 250 steps, 80 very easy, 100 easy, 40 medium,
    30 hard. Boundaries beyond the pool's hardest level have no effect.

    Attributes:
        boundaries: shares of the budget at which the next level begins, rising.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = levels.METRICS

    boundaries: list[float] = field(default_factory=lambda: [0.32, 0.72, 0.88])
    drawn: dict[int, int] = field(default_factory=dict, init=False)
    level: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip([0.0, *self.boundaries], self.boundaries, strict=False))
        if not rising or not all(b < 1 for b in self.boundaries):
            raise ConfigError(
                f"curriculum.boundaries must rise between 0 and 1, received {self.boundaries}; "
                f"the A*-PO seed's are [0.32, 0.72, 0.88]"
            )

    def prompts(
        self, pool: Sequence[Prompt], seed: int, progress: float, count: int
    ) -> list[Prompt]:
        hardest = len(levels.by_level(pool)) - 1
        self.level = min(hardest, sum(progress >= boundary for boundary in self.boundaries))
        return levels.draw(pool, self.level, self.drawn, seed, count)

    def observe(self, outcome: Outcome) -> None:
        """Success does not move it."""

    def metrics(self) -> dict[str, float]:
        return {levels.LEVEL_METRIC: float(self.level)}

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": dict(self.drawn), "level": self.level}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn, self.level = dict(state["drawn"]), state["level"]
