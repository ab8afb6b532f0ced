"""`python -m harness.evaluate`: a checkpoint is measured as its trial was."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.commands.evaluate import SHOWN_SAMPLES, config_of, measured, sampled
from harness.errors import ConfigError
from harness.launch import run_trial
from harness.trial import trial_folder
from tests.conftest import SMALL, command


@pytest.fixture
def final(work: Path, composed: Callable[..., Any]) -> tuple[Path, dict[str, float]]:
    """A finished trial's checkpoint and its last metrics."""
    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none", "rollout.temperature=0.7")
    result = run_trial(config, lambda step, progress, metrics: None)
    return trial_folder(config) / "final", result


def test_task_and_sampling_are_the_trials_unless_said_otherwise(
    final: tuple[Path, dict[str, float]],
) -> None:
    folder, result = final
    config = config_of(folder, ["evaluation.pass_k=2"])
    assert (config.task.eval_size, config.rollout.temperature) == (48, 0.7)
    again = measured(config)
    # Greedy decoding draws nothing: it must repeat what the trial measured at its end.
    assert again["eval/greedy_accuracy"] == result["eval/greedy_accuracy"]
    assert "eval/kl" not in again
    other = config_of(folder, ["task=countdown", "task/template=compact", "task.eval_size=20"])
    assert other.task.eval_size == 20
    assert other.rollout.temperature == 0.7


def test_samples_of_one_prompt_are_graded_where_the_answer_is_known(
    final: tuple[Path, dict[str, float]],
) -> None:
    config = config_of(final[0], [])
    text = config.task.held_out()[3].text
    rollout, grades = sampled(config, text)
    assert all(grade is not None for grade in grades)
    assert len(set(rollout.texts)) > 1
    assert {p.text for p in rollout.prompts} == {text}
    _, unknown = sampled(config, "Q1 1 1=99?")
    assert unknown == [None] * SHOWN_SAMPLES


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no checkpoint"):
        config_of(tmp_path, [])


def test_the_command_prints_a_table_and_refuses_in_one_line(
    final: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    settings = command()
    call = [sys.executable, "-m", "harness.evaluate", str(final[0])]
    settings["args"] = [*call, "evaluation.pass_k=0"]
    done = subprocess.run(**settings, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "eval/accuracy" in done.stdout
    settings["args"] = [*call, "task=nope"]
    refused = subprocess.run(**settings, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "countdown_tinyzero" in refused.stderr
