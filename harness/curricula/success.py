"""Curriculum by success: the next level begins when this one is mastered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness import checks
from harness.curricula import levels
from harness.schema import Metric
from harness.types import Outcome, Prompt


@dataclass
class Success:
    """Moves up one level when the moving average of the training accuracy reaches a threshold.

    Attributes:
        threshold: training accuracy at which a level counts as mastered.
        smoothing: weight of the past in the moving average, which starts anew on each level.
        min_steps: steps that a level lasts at least.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = {
        **levels.METRICS,
        "curriculum/success_rate": Metric("1", "moving average of the accuracy on this level"),
    }

    threshold: float = 0.7
    smoothing: float = 0.8
    min_steps: int = 5
    drawn: dict[int, int] = field(default_factory=dict, init=False)
    level: int = field(default=0, init=False)
    drew_from: int = field(default=0, init=False)
    hardest: int = field(default=0, init=False)
    steps: int = field(default=0, init=False)
    rate: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        checks.share("curriculum.threshold", self.threshold)
        checks.at_least("curriculum.min_steps", self.min_steps, 1)
        checks.at_least("curriculum.smoothing", self.smoothing, 0)
        checks.above("1 - curriculum.smoothing", 1 - self.smoothing, 0)

    def prompts(
        self, pool: Sequence[Prompt], seed: int, progress: float, count: int
    ) -> list[Prompt]:
        self.hardest = len(levels.by_level(pool)) - 1
        self.drew_from = self.level
        return levels.draw(pool, self.level, self.drawn, seed, count)

    def observe(self, outcome: Outcome) -> None:
        now = float(outcome.correct_B.double().mean())
        past = self.smoothing if self.steps else 0.0
        self.rate = past * self.rate + (1 - past) * now
        self.steps += 1
        mastered = self.steps >= self.min_steps and self.rate >= self.threshold
        if mastered and self.level < self.hardest:
            self.level, self.steps, self.rate = self.level + 1, 0, 0.0

    def metrics(self) -> dict[str, float]:
        return {levels.LEVEL_METRIC: float(self.drew_from), "curriculum/success_rate": self.rate}

    def state_dict(self) -> dict[str, Any]:
        return {
            "drawn": dict(self.drawn),
            "level": self.level,
            "steps": self.steps,
            "rate": self.rate,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn = dict(state["drawn"])
        self.level, self.steps, self.rate = state["level"], state["steps"], state["rate"]
