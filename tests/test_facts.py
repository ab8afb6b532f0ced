"""What the base's evaluation depends on: each such thing splits it, and nothing else does."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import facts
from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.ppo import Ppo
from harness.config import TrialConfig
from harness.curricula.success import Success
from harness.distributed.sharding import Precision
from harness.facts import base_evaluation
from harness.identity import code_now
from harness.maths.returns import CriticSettings
from harness.models.loading import Source
from harness.rewards.random import Random
from harness.tasks.jsonl import Jsonl
from harness.windows.phased import Phased

BASE = Source(
    path="models/a", tokenizer="models/a", dtype=torch.float32, attention="sdpa", files={"w": "1"}
)
Composed = Callable[..., TrialConfig]


@pytest.fixture(scope="module")
def config(composed: Composed) -> TrialConfig:
    return composed("task.train_size=64", "task.eval_size=16")


Key = Callable[..., str]


@pytest.fixture
def key(config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key of a trial's base evaluation; its code and its libraries are named here."""
    monkeypatch.setattr(facts, "code_of", lambda parts, core: {"core": "", "task": ""})
    monkeypatch.setattr(facts.provenance, "versions", lambda: {"torch": "2"})

    def of(changes: dict[str, Any] | None = None, source: Source = BASE, **code: str) -> str:
        changed = config
        for name, value in (changes or {}).items():
            changed = replaced(changed, name.split("."), value)
        return base_evaluation(changed, source, {"core": "1", "task": "1", **code})

    return of


def replaced(config: Any, names: list[str], value: Any) -> Any:
    """A config with another value at a dotted key."""
    first, *rest = names
    inner = replaced(getattr(config, first), rest, value) if rest else value
    return dataclasses.replace(config, **{first: inner})


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": DrGrpo()},
        {"algorithm": Ppo(critic=CriticSettings(shared=True))},
        {"reward": Random()},
        {"window": Phased()},
        {"curriculum": Success()},
        {"budget.amount": 7.0, "evaluation.every": 0.5},
        {"trainer.optimizer.learning_rate": 1.0, "trainer.mini_batches": 4, "trainer.epochs": 2},
        {"trainer.prompts_per_step": 8, "trainer.save_every": 1.0, "trainer.keep_checkpoints": 9},
        {"trainer.importance_cap": 2.0, "trainer.mismatch.warn": 0.1},
        {"trainer.check_sync_every": 2, "trainer.reference_ahead": 1},
        {"runs": "elsewhere", "fresh": True, "guard.collapse_steps": 3, "labels.variant": "b"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_comes_later_shares(key: Key, changes: dict[str, Any]) -> None:
    assert key(changes) == key()


def test_where_a_model_lies_does_not_count(key: Key) -> None:
    moved = dataclasses.replace(BASE, path="elsewhere", tokenizer="elsewhere")
    assert key(source=moved) == key()
    assert key(algorithm="another algorithm's") == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"task.eval_size": 17},
        {"task.train_size": 65},
        {"task.hold_out": 9},
        {"task.at_most_once": True},
        {"rollout.max_new_tokens": 64},
        {"rollout.temperature": 0.9},
        {"rollout.top_p": 0.9},
        {"rollout.max_rows": 64},
        {"evaluation.temperature": 0.9},
        {"evaluation.pass_k": 4},
        {"grading.wall_seconds": 5.0},
        {"trainer.threads": 2},
        {"trainer.ranks": 2},
        {"trainer.token_budget": 512},
        {"trainer.deterministic": True},
        {"trainer.sharding.precision": Precision.BFLOAT16},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_moves_a_number_of_it_splits(key: Key, changes: dict[str, Any]) -> None:
    assert key(changes) != key()


@pytest.mark.parametrize(
    "changed",
    [{"files": {"w": "2"}}, {"dtype": torch.bfloat16}, {"attention": "eager"}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_model_splits(key: Key, changed: dict[str, Any]) -> None:
    assert key(source=dataclasses.replace(BASE, **changed)) != key()


def test_other_code_versions_and_machines_split(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key(), key(core="2"), key(task="2")}
    monkeypatch.setattr(facts.provenance, "versions", lambda: {"torch": "3"})
    keys.add(key())
    monkeypatch.setattr(facts.provenance, "hardware", lambda: "another processor")
    keys.add(key())
    assert len(keys) == 5


@pytest.fixture
def graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A grader of the user's own, and questions."""
    (tmp_path / "own_grading.py").write_text("def right(r, a):\n    return r == a\n")
    rows = [{"prompt": f"What is {i}?", "answer": str(i)} for i in range(30)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("own_grading", None)


def test_an_edit_of_the_grader_splits_and_one_of_its_comments_does_not(
    config: TrialConfig, graded: Path
) -> None:
    task = Jsonl(path=str(graded / "q.jsonl"), grader="own_grading.right", hold_out=3)
    config = dataclasses.replace(config, task=task)

    def key() -> str:
        return base_evaluation(config, BASE, code_now(config))

    before, file = key(), graded / "own_grading.py"
    file.write_text("def right(r, a):  # said\n    return r == a\n")
    assert key() == before
    file.write_text("def right(r, a):\n    return r.strip() == a\n")
    assert key() != before
