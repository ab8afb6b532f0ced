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
    """A reward that ends its process in its second step."""

    def score(self, graded):
        rewards = torch.ones(len(graded.grades), dtype=torch.float64)
        if graded.step == 0:
            return Scores(rewards=rewards)
        sys.exit(0)
'''
SEARCH = "hydra.searchpath=[pkg://faulty.conf]"
QUICK = (*SMALL, "budget.amount=2", "evaluation.every=1", "evaluation.pass_k=0")


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    """PYTHONPATH with the package `faulty`, with reward=exit and task=leaving."""
    package = tmp_path / "plugins" / "faulty"
    (package / "conf" / "reward").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "faults.py").write_text(PLUGINS)
    (package / "conf" / "reward" / "exit.yaml").write_text("_target_: faulty.faults.Fault\n")
    (package / "conf" / "task").mkdir()
    text = "defaults: [countdown]\n_target_: faulty.faults.Leaving\n"
    (package / "conf" / "task" / "leaving.yaml").write_text(text)
    return os.pathsep.join([str(ROOT), str(package.parent)])


@pytest.mark.parametrize(
    ("choice", "code", "line"),
    [
        ("task=leaving", 2, "the grader ended its process with exit code 3"),
        ("reward=exit", 1, "reward faulty.faults.Fault: score raised SystemExit: 0"),
    ],
)
def test_a_plugin_that_leaves_ends_a_single_run_in_one_line(
    work: Path, plugins: str, choice: str, code: int, line: str
) -> None:
    request = (choice, SEARCH, *QUICK, "tracking=none")
    done = harness(work, *request, PYTHONPATH=plugins)
    assert done.returncode == code, done.stdout + done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert line in said
