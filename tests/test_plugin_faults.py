"""Plug-ins from another package that fail in whole commands: one line, the right exit code."""

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, harness

PLUGINS = '''
import os
import sys
from dataclasses import dataclass

import torch

from harness.tasks.countdown import Countdown
from harness.types import Scores


@dataclass(frozen=True)
class Leaving(Countdown):
    """Countdown; its grader ends its process."""

    def grade(self, prompt, response, finished):
        os._exit(3)


@dataclass(frozen=True)
class Fault:
    """A reward that fails in its second step."""

    how: str = "numbers"

    def score(self, graded):
        rewards = torch.ones(len(graded.grades), dtype=torch.float64)
        if graded.step == 0:
            return Scores(rewards=rewards)
        if self.how == "exit":
            sys.exit(0)
        if self.how == "leave":
            os._exit(0)
        return Scores(rewards=rewards * float("nan"))
'''
SEARCH = "hydra.searchpath=[pkg://faulty.conf]"
QUICK = (*SMALL, "budget.amount=2", "evaluation.every=1", "evaluation.pass_k=0")


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    """PYTHONPATH with the package `faulty`, with reward=numbers,exit,leave and task=leaving."""
    package = tmp_path / "plugins" / "faulty"
    (package / "conf" / "reward").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "faults.py").write_text(PLUGINS)
    for how in ("numbers", "exit", "leave"):
        text = f"_target_: faulty.faults.Fault\nhow: '{how}'\n"
        (package / "conf" / "reward" / f"{how}.yaml").write_text(text)
    (package / "conf" / "task").mkdir()
    text = "defaults: [countdown]\n_target_: faulty.faults.Leaving\n"
    (package / "conf" / "task" / "leaving.yaml").write_text(text)
    return os.pathsep.join([str(ROOT), str(package.parent)])


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("numbers", "score returned NaN for 32 of 32 responses at step 1"),
        ("exit", "score raised SystemExit: 0"),
    ],
)
def test_a_reward_that_fails(work: Path, plugins: str, how: str, line: str) -> None:
    request = (f"reward={how}", SEARCH, *QUICK, "tracking=none")
    done = harness(work, *request, PYTHONPATH=plugins)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == f"error: reward faulty.faults.Fault: {line}\n"


@pytest.mark.parametrize(
    ("axis", "line"),
    [
        ("task=countdown,leaving", "the first with the grader ended its process with exit code 3"),
        ("reward=binary,leave", "its process ended by itself or was killed (ActorDiedError)"),
    ],
)
def test_one_trials_plugin_leaves_and_the_others_go_on(
    work: Path, plugins: str, axis: str, line: str
) -> None:
    """Whether it leaves the process that grades or that of the trial, the driver says which."""
    request = ("-m", axis, SEARCH, *QUICK, "ray.retries=0")
    done = harness(work, *request, PYTHONPATH=plugins)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 trials did not finish" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stdout
    assert len(list((work / "runs" / "checkpoints").glob("*/final"))) == 1
