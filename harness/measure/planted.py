"""Whose searches responses are, where a task was warmed up on searchers of known shares."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from harness.blame import blamed
from harness.protocols import Task
from harness.tasks.strategies import Strategies
from harness.types import Prompt, Rollout


@runtime_checkable
class Planted(Protocol):
    """A task whose warm-up traces are written by several kinds of searchers."""

    def strategies(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Strategies:
        """Which of them wrote these responses."""
        ...

    def best_searcher(self) -> float:
        """Share of the held-out prompts that the best of them solves, played exactly."""
        ...


def planted(
    task: Task, rollout: Rollout, step: int
) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Shares of the searchers, and a table's column of each response's; none for other tasks.

    The base's evaluation, at step 0, also has what the best searcher alone reaches.
    """
    if not isinstance(task, Planted):
        return {}, {}
    with blamed("task", task, "strategies"):
        found = task.strategies(rollout.prompts, rollout.texts)
        best = {"eval/accuracy_best_searcher": task.best_searcher()} if step == 0 else {}
    shares = {f"eval/strategy/{name}": share for name, share in found.shares.items()}
    return shares | best, {"strategy": list(found.proposals)}
