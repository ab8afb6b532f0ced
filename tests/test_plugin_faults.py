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

    how: str = "exit"

    def score(self, graded):
        rewards = torch.ones(len(graded.grades), dtype=torch.float64)
        if graded.step == 0:
            return Scores(rewards=rewards)
        if self.how == "exit":
            sys.exit(0)
        os._exit(0)
'''
SEARCH = "hydra.searchpath=[pkg://faulty.conf]"
QUICK = (*SMALL, "budget.amount=2", "evaluation.every=1", "evaluation.pass_k=0")


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    """PYTHONPATH with the package `faulty`, with reward=exit,leave and task=leaving."""
    package = tmp_path / "plugins" / "faulty"
    (package / "conf" / "reward").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "faults.py").write_text(PLUGINS)
    for how in ("exit", "leave"):
        text = f"_target_: faulty.faults.Fault\nhow: '{how}'\n"
        (package / "conf" / "reward" / f"{how}.yaml").write_text(text)
    (package / "conf" / "task").mkdir()
    text = "defaults: [countdown]\n_target_: faulty.faults.Leaving\n"
    (package / "conf" / "task" / "leaving.yaml").write_text(text)
    return os.pathsep.join([str(ROOT), str(package.parent)])


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ("task=leaving", "the grader ended its process with exit code 3"),
        ("reward=exit", "reward faulty.faults.Fault: score raised SystemExit: 0"),
    ],
)
def test_a_plugin_that_leaves_ends_a_single_run_in_one_line(
    work: Path, plugins: str, choice: str, line: str
) -> None:
    request = (choice, SEARCH, *QUICK, "tracking=none")
    done = harness(work, *request, PYTHONPATH=plugins)
    assert done.returncode == 1, done.stdout + done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert line in said


def test_one_trials_plugin_leaves_and_the_others_go_on(work: Path, plugins: str) -> None:
    """Its process is gone without a word; the driver says which."""
    request = ("-m", "reward=binary,leave", SEARCH, *QUICK, "ray.retries=0")
    done = harness(work, *request, PYTHONPATH=plugins)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 trials did not finish" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "its process ended by itself or was killed (ActorDiedError)" in done.stdout
    assert len(list((work / "runs" / "checkpoints").glob("*/final"))) == 1
    assert "INTERRUPTED" in next((work / "runs" / "reports").glob("*/report.md")).read_text()
