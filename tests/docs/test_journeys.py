"""What pages tell a newcomer to do, done: in an empty folder, as written, with a small model.

Only keys that make a trial shorter are added. The first report is tests/test_learning.py's; what
needs a hub is composed (test_commands.py) and run on random weights (tests/test_laptop.py).
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main as analysis
from harness.commands import evaluate
from tests.analysis import synthetic_store as store
from tests.conftest import ROOT, SMALL, Here
from tests.docs.commands import check, commands
from tests.docs.commands import here as written_out

HOW_TO = ROOT / "docs" / "pages" / "how-to"
SHORT = (*SMALL, "budget.amount=2", "evaluation.every=0.5")

# What names a model of it cannot be run here.
HUB = "Qwen/"
# Printed where trials were there before their predictions, and the gate that then fails.
EARLY, SEALED = "can confirm none", "FAIL: Predictions sealed before the runs"

Walk = Callable[..., list[str]]


@pytest.fixture
def walk(
    work: Path, here: Here, composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Walk:
    """Gives every command of a page; returns what each printed."""
    monkeypatch.syspath_prepend(str(work))  # as the command does with where it is started

    def page(
        name: str, *shorter: str, sweep: bool = True, short: tuple[str, ...] = SHORT
    ) -> list[str]:
        """Without `sweep` what begins with harness -m is planned only, as in test_commands.py."""
        trial = next((work / "runs" / "checkpoints").glob("*/final"), work).parent.name
        own = [each.replace("TRIAL", trial) for each in commands(HOW_TO / f"{name}.md")]
        return [run(command, short, shorter, sweep) for command in own]

    def run(command: str, short: tuple[str, ...], shorter: tuple[str, ...], sweep: bool) -> str:
        own = written_out(command, work).replace(f"{ROOT}/runs", f"{work}/runs")
        first, *rest = shlex.split(own)
        match (first, *rest[:2]):
            case ("harness", kind, *_) if HUB not in command and (sweep or kind != "-m"):
                said = here(*rest, *short, *(shorter if kind == "-m" else ()))
                assert said.returncode == 0, f"{command}\n{said.stdout}{said.stderr}"
                return said.stdout
            case ("python", "-m", "analysis"):
                assert analysis(rest[2:]) == 0, command
            case ("python", "-m", "harness.evaluate"):
                monkeypatch.setattr(sys, "argv", ["evaluate", *rest[2:]])
                assert evaluate.main() == 0, command
            case ("pip", *_):
                installed(work, monkeypatch, rest)
            case ("python", "plot_frames.py" | "write_a_model.py", *_) | ("python", "-m", "pytest"):
                outside(work, *rest)
            case _:
                check(command, work, composed)
        return ""

    return page


def outside(folder: Path, *arguments: str) -> None:
    """Python in a process of its own, with what was installed."""
    path = os.pathsep.join([str(ROOT), str(folder / "installed")])
    environment = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True)


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """`pip install`, beside the folder and not into this environment, which has pytest."""
    if "pytest" in arguments:
        return
    plain = [word for word in arguments if word != "-e"]
    target = ["--target", str(folder / "installed")]
    call = [sys.executable, "-m", "pip", *plain, *target]
    subprocess.run(call, cwd=folder, check=True, capture_output=True)
    monkeypatch.syspath_prepend(str(folder / "installed"))


@pytest.mark.commands
def test_an_algorithm_of_ones_own_and_its_checkpoint(work: Path, walk: Walk) -> None:
    *_, preview, swept = walk("algorithm", "seed=0")
    assert "my_rloo" in preview
    assert EARLY not in preview + swept
    assert SEALED not in swept, "the page's own first try stands in the way of a verdict"
    assert "2 trials (2 variants x 1 seed)" in swept
    assert (work / "runs" / "reports" / "mine" / "report.html").is_file()
    walk("checkpoint")
    assert (work / "result.json").is_file()


@pytest.mark.commands
def test_a_task_of_ones_own(work: Path, walk: Walk) -> None:
    _, _, checked, trained, *_ = walk("task")
    assert "larger of" in checked
    assert "held-out accuracy" in trained
    assert list((work / "runs" / "checkpoints").glob("grpo__s0__*/final"))


@pytest.mark.commands
def test_a_question_of_ones_own_with_one_more_seed(work: Path, walk: Walk) -> None:
    said = walk("ablation")
    assert any("2 trials (2 variants x 1 seed), 0 finished before" in text for text in said)
    assert not any(EARLY in text or SEALED in text for text in said)
    report = (work / "runs" / "reports" / "question" / "report.md").read_text()
    assert "8 of 8 planned trials have a result" in report


@pytest.mark.commands
@pytest.mark.parametrize("name", ["reward", "window"])
def test_a_reward_and_a_window_of_ones_own(name: str, work: Path, walk: Walk) -> None:
    walk(name, sweep=False)
    assert list((work / "runs" / "checkpoints").glob("*/final"))


@pytest.mark.commands
def test_a_first_real_model_without_a_hub(work: Path, walk: Walk) -> None:
    """The page's other commands name a hub; they are composed by test_commands.py."""
    short = ("task.train_size=64", "evaluation.every=1")
    *_, preview, trained, _, _ = walk("../start/first-real-model", short=short)
    assert "its tokens" in preview
    assert "held-out accuracy" in trained
    assert list((work / "runs" / "exports" / "trials").glob("*.csv"))


@pytest.mark.commands
def test_a_plot_of_ones_own(work: Path, walk: Walk) -> None:
    store.write(work / "runs", [store.LENGTH_BIAS])
    walk("frames")
    assert (work / "accuracy_by_length.svg").is_file()
    assert list((work / "runs" / "exports" / "length_bias").glob("*.csv"))
