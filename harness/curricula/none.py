"""No curriculum: shuffled passes over the whole pool."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.curricula.order import next_prompts
from harness.types import Outcome, Prompt


@dataclass
class NoCurriculum:
    """Every prompt once per pass."""

    drawn: int = field(default=0, init=False)

    def prompts(
        self, pool: Sequence[Prompt], seed: int, progress: float, count: int
    ) -> list[Prompt]:
        self.drawn += count
        return next_prompts(pool, seed, self.drawn - count, count)

    def observe(self, outcome: Outcome) -> None:
        """Nothing moves it."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]
