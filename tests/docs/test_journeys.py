"""What pages tell a newcomer to do, done: in an empty folder, as written, with a small model.

Only keys that make a trial shorter are added. The first report is tests/test_learning.py's; the
first real model is composed (test_commands.py) and run on random weights (tests/test_laptop.py).
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main as analysis
from harness.commands import data, evaluate
from tests.analysis import synthetic_store as store
from tests.conftest import ROOT, SMALL, Here
from tests.docs.commands import commands, done
from tests.docs.commands import here as written_out

HOW_TO = ROOT / "docs" / "pages" / "how-to"
SHORT = (*SMALL, "budget.amount=2", "evaluation.every=0.5")

Walk = Callable[[str], list[str]]


@pytest.fixture
def walk(work: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> Walk:
    """Gives every command of a page; returns what each printed."""
    monkeypatch.syspath_prepend(str(work))  # as the command does with where it is started

    def run(command: str) -> str:
        first, *rest = shlex.split(written_out(command, work))
        if first == "harness":
            said = here(*rest, *SHORT)
            assert said.returncode == 0, f"{command}\n{said.stdout}{said.stderr}"
            return said.stdout
        if rest[:2] == ["-m", "analysis"]:
            assert analysis(rest[2:]) == 0, command
        elif rest[:2] == ["-m", "harness.data"]:
            assert data.main(rest[2:]) == 0, command
        elif rest[:2] == ["-m", "harness.evaluate"]:
            monkeypatch.setattr(sys, "argv", ["evaluate", *rest[2:]])
            assert evaluate.main() == 0, command
        elif first == "pip":
            installed(work, monkeypatch, rest)
        elif first == "pytest":
            outside("-m", "pytest", *rest)
        elif rest == ["plot_frames.py"]:
            outside(*rest)
        elif rest[:2] != ["-m", "harness.audit_reward"]:  # tests/commands/test_audit.py
            done(command, work)
        return ""

    def outside(*arguments: str) -> None:
        path = os.pathsep.join([str(ROOT), str(work / "installed")])
        environment = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "agg"}
        subprocess.run([sys.executable, *arguments], cwd=work, env=environment, check=True)

    def page(name: str) -> list[str]:
        trial = next((work / "runs" / "checkpoints").glob("*/final"), work).parent.name
        own = [each.replace("TRIAL", trial) for each in commands(HOW_TO / f"{name}.md")]
        return [run(command) for command in own]

    return page


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """`pip install`, beside the folder and not into this environment."""
    plain = [word for word in arguments if word != "-e"]
    target = ["--target", str(folder / "installed")]
    call = [sys.executable, "-m", "pip", *plain, *target]
    subprocess.run(call, cwd=folder, check=True, capture_output=True)
    monkeypatch.syspath_prepend(str(folder / "installed"))


@pytest.mark.commands
def test_an_algorithm_of_ones_own_and_its_checkpoint(work: Path, walk: Walk) -> None:
    *_, preview, swept = walk("algorithm")
    assert "my_rloo" in preview
    assert "6 trials (2 variants x 3 seeds)" in swept
    assert (work / "runs" / "reports" / "mine" / "report.html").is_file()
    walk("checkpoint")
    assert (work / "result.json").is_file()


@pytest.mark.commands
def test_a_task_of_ones_own(work: Path, walk: Walk) -> None:
    _, _, checked, trained, _, own_rows, _ = walk("task")
    assert "larger of" in checked
    assert list((work / "runs" / "checkpoints").glob("grpo__s0__*/final"))
    assert trained
    assert own_rows == ""


@pytest.mark.commands
def test_a_question_of_ones_own_with_more_seeds(work: Path, walk: Walk) -> None:
    said = walk("ablation")
    more = next(text for text in said if "4 trials (2 variants x 2 seeds)" in text)
    assert "4 trials" in more
    report = (work / "runs" / "reports" / "mine" / "report.md").read_text()
    assert "10 of 10 planned trials have a result" in report


@pytest.mark.commands
@pytest.mark.parametrize("name", ["reward", "window"])
def test_a_reward_and_a_window_of_ones_own(name: str, work: Path, walk: Walk) -> None:
    walk(name)
    assert list((work / "runs" / "checkpoints").glob("*/final"))


@pytest.mark.commands
def test_a_plot_of_ones_own(work: Path, walk: Walk) -> None:
    store.write(work / "runs", [store.LENGTH_BIAS])
    walk("frames")
    assert (work / "accuracy_by_length.svg").is_file()
    assert list((work / "runs" / "exports" / "length_bias").glob("*.csv"))
