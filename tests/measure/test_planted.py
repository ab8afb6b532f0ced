"""Whose searches the held-out responses are, as metrics and as a column of the table."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.measure.planted import planted
from harness.schema import METRICS
from harness.tasks.countdown import Countdown
from harness.tasks.countdown_search import CountdownSearch
from harness.tasks.searchers import Searchers


@pytest.fixture(scope="module")
def task() -> CountdownSearch:
    return CountdownSearch(train_size=200, eval_size=64, persona=Searchers(toward_share=0.5))


def sampled(task: Any) -> Any:
    """Prompts and texts of a rollout that plays the task's own searchers."""
    prompts = {prompt.text: prompt for prompt in task.pool()}
    traces = task.traces(3, range(150))
    return SimpleNamespace(
        prompts=tuple(prompts[text] for text, _ in traces),
        texts=tuple(response for _, response in traces),
    )


def test_shares_are_metrics_and_each_response_has_its_searcher(task: CountdownSearch) -> None:
    metrics, table = planted(task, sampled(task), step=10)
    shares = [metrics[f"eval/strategy/{kind}"] for kind in ("toward", "random", "away")]
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] == pytest.approx(0.5, abs=0.15)  # of 150 responses
    assert len(table["strategy"]) == 150
    assert set(table["strategy"]) <= {"toward", "random", "away"}
    assert metrics.keys() <= METRICS.keys()


def test_the_base_stands_beside_its_best_searcher(task: CountdownSearch) -> None:
    first, _ = planted(task, sampled(task), step=0)
    assert first["eval/accuracy_best_searcher"] == task.best_searcher()
    later, _ = planted(task, sampled(task), step=10)
    assert "eval/accuracy_best_searcher" not in later


def test_tasks_without_planted_searchers_are_left_alone() -> None:
    task = Countdown(train_size=200, eval_size=64)
    assert planted(task, sampled(task), step=0) == ({}, {})
