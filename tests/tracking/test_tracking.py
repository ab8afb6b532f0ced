"""The record of a trial: one run, the right status on every exit, nothing twice."""

import ast
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from harness import loop
from harness.config import config_hash, group_hash
from harness.errors import ContractError
from harness.launch import run_trial
from harness.schema import METRICS
from harness.tracking.tensorboard import TensorBoard
from harness.trial import trial_folder
from tests.conftest import SMALL, command
from tests.tracking.listeners import events, expected, single


def only_run(work: Path) -> Any:
    client = MlflowClient(tracking_uri=f"sqlite:///{work / 'runs' / 'mlflow.db'}")
    experiments = client.search_experiments()
    runs = client.search_runs([experiment.experiment_id for experiment in experiments])
    assert len(runs) == 1
    return runs[0]


def ignore(step: int, progress: float, metrics: Any) -> None:
    pass


@pytest.fixture
def config(work: Path, composed: Callable[..., Any]) -> Any:
    return composed(*SMALL, f"runs={work / 'runs'}")


def test_a_finished_trial_is_found_by_its_names_and_has_its_config_and_responses(
    work: Path, config: Any
) -> None:
    result = run_trial(config, ignore)
    run = only_run(work)
    tags = run.data.tags
    assert run.info.status == "FINISHED"
    assert {key: tags[key] for key in ("variant", "algorithm", "task", "model", "seed")} == {
        "variant": "grpo",
        "algorithm": "grpo",
        "task": "countdown",
        "model": "tiny",
        "seed": "0",
    }
    assert (tags["config_hash"], tags["group_hash"]) == (config_hash(config), group_hash(config))
    assert tags["attempt"] == "1"
    assert len(tags["git_commit"]) in (4, 40)
    assert tags["git_dirty"] in ("true", "false")
    assert tags["eval_digest"] != tags["task_digest"]
    assert len(tags["template_hash"]) == 16
    decoding = json.loads(tags["decoding"])
    assert (decoding["temperature"], decoding["max_new_tokens"]) == (1.0, 48)
    assert run.data.params["seed"] == "0"
    assert run.data.params["variant"] == "grpo"
    assert run.data.params["trainer.optimizer.learning_rate"] == "0.0003"
    assert set(run.data.metrics) <= set(METRICS)
    assert run.data.metrics["eval/accuracy"] == result["eval/accuracy"]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert "harness.algorithms.grpo.Grpo" in (folder / "config.yaml").read_text()
    prompt = config.task.held_out()[0].text
    assert (folder / "prompt.txt").read_text() == prompt
    # One token a character in the tiny model: its id, and its text as Python writes it.
    lines = [line.split(maxsplit=1) for line in (folder / "prompt_tokens.txt").open()]
    assert "".join(ast.literal_eval(text) for _, text in lines) == prompt
    assert all(number.isdecimal() for number, _ in lines)
    table = json.loads((folder / "eval" / "step_000008.json").read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["prompt"] for row in rows] == [p.text for p in config.task.held_out()]
    assert sum(row["correct"] for row in rows) / len(rows) == pytest.approx(result["eval/accuracy"])


def test_a_raised_error_is_recorded_as_failed_and_resumed_in_the_same_run(
    work: Path, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk says no while the second checkpoint is written; a listener hears each step once."""
    config = dataclasses.replace(config, listeners={"tensorboard": TensorBoard()})
    real, calls = loop.checkpoint.prune, []

    def full(folder: Path, keep: int, newest: Path) -> None:
        calls.append(folder)
        real(folder, keep, newest)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop.checkpoint, "prune", full)
    with pytest.raises(OSError, match="No space left"):
        run_trial(config, ignore)
    failed = only_run(work)
    assert failed.info.status == "FAILED"
    assert "No space left on device" in (trial_folder(config) / "trial.log").read_text()
    run_trial(config, ignore)
    run = only_run(work)
    assert run.info.run_id == failed.info.run_id
    assert (run.info.status, run.data.tags["attempt"]) == ("FINISHED", "2")
    folder = trial_folder(config)
    told = events(work / "runs" / "listeners" / "trials" / folder.name / "tensorboard")
    points = expected(folder)
    assert {key[1] for key in points} == set(range(9))
    assert len(told) == len(points)
    assert {(k, s): repr(v) for k, s, v, _ in told} == single(points)


def test_a_scheduler_stop_is_recorded_as_killed(work: Path, config: Any) -> None:
    """Tune ends a trial by raising SystemExit where the trial reports."""

    def stop(step: int, progress: float, metrics: Any) -> None:
        if step == 2:
            raise SystemExit

    with pytest.raises(SystemExit):
        run_trial(config, stop)
    assert only_run(work).info.status == "KILLED"


@pytest.mark.commands
def test_sigterm_is_recorded_as_killed(work: Path) -> None:
    settings = command(*SMALL, "budget.amount=400")
    process = subprocess.Popen(**settings, cwd=work, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "step" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    process.wait(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert only_run(work).info.status == "KILLED"


def test_an_undeclared_metric_is_an_error(
    work: Path, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.step_metrics
    monkeypatch.setattr(loop, "step_metrics", lambda *a: {**real(*a), "actor/typo": 1.0})
    with pytest.raises(ContractError, match="'actor/typo' is not declared"):
        run_trial(config, ignore)
    assert only_run(work).info.status == "FAILED"
