"""Levels of a pool, and drawing from one of them."""

from collections.abc import Sequence

from harness.curricula.order import next_prompts
from harness.errors import ConfigError
from harness.schema import Metric
from harness.types import Prompt

LEVEL_METRIC = "curriculum/level"
METRICS = {LEVEL_METRIC: Metric("levels", "level that the step drew from; 0 is the easiest")}


def by_level(pool: Sequence[Prompt]) -> list[list[Prompt]]:
    """The pool split by difficulty, easiest first.

    Raises:
        ConfigError: all prompts are equally hard, so there is nothing to order.
    """
    difficulties = sorted({prompt.difficulty for prompt in pool})
    if len(difficulties) < 2:
        raise ConfigError(
            f"curriculum: the task's pool has one difficulty only ({difficulties}); mix several, "
            f"such as task.counts=[3,4] or task.levels=[easy,hard], or set curriculum=none"
        )
    return [[p for p in pool if p.difficulty == difficulty] for difficulty in difficulties]


def draw(
    pool: Sequence[Prompt], level: int, drawn: dict[int, int], seed: int, count: int
) -> list[Prompt]:
    """The next prompts of a level, each level in shuffled passes of its own; moves its cursor."""
    cursor = drawn.get(level, 0)
    drawn[level] = cursor + count
    return next_prompts(by_level(pool)[level], seed, cursor, count, stream=f"order/{level}")
