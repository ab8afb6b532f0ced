"""The exercises' checker: right functions pass, planted mistakes are named, and it is civil."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from analysis import stats
from harness.errors import ConfigError
from harness.exercises import child, command, judging, source
from harness.exercises.course import EXERCISES
from harness.exercises.judging import State, Verdict
from harness.maths import returns, tensor_ops
from harness.windows.adaptive import Adaptive
from tests.conftest import ROOT
from tests.course import solutions
from tests.course.planted import PLANTED

GOLDEN = ROOT / "tests" / "golden"
# The harness has no function of its own of these names: its plug-ins and trainer do the work.
INSIDE = {"reinforce_loss", "minibatch_update", "a_star_po_loss", "wanted"}


def verdict(name: str, text: str) -> Verdict:
    """What is said of a function in a text, in the company of the other solutions."""
    module = types.ModuleType("learner")
    vars(module).update(vars(solutions))
    exec(compile(text, "learner.py", "exec"), vars(module))
    return judging.judge(EXERCISES[name], vars(module)[name], GOLDEN)


def solved(name: str) -> str:
    return inspect.getsource(getattr(solutions, name))


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_solution_passes(name: str) -> None:
    found = verdict(name, solved(name))
    assert (found.state, found.shown) == (State.RIGHT, "")


@pytest.mark.parametrize("name", sorted(EXERCISES.keys() - INSIDE))
def test_the_harness_passes_its_own_exercises(name: str) -> None:
    """Its functions have the same names and arguments, and keep the same properties."""
    homes = (returns, tensor_ops, stats)
    (own,) = [vars(home)[name] for home in homes if name in vars(home)]
    assert judging.judge(EXERCISES[name], own, GOLDEN).state is State.RIGHT
    mine, its = (
        [parameter.removesuffix("_BT") for parameter in inspect.signature(function).parameters]
        for function in (vars(solutions)[name], own)
    )
    assert mine == its[: len(mine)]


def test_the_harness_decides_as_the_exercise_on_the_window() -> None:
    decides = Adaptive._wanted
    assert judging.judge(EXERCISES["wanted"], decides, GOLDEN).state is State.RIGHT


@pytest.mark.parametrize(("name", "old", "new", "words"), PLANTED)
def test_a_planted_mistake_is_named(name: str, old: str, new: str, words: str) -> None:
    assert old in solved(name)
    found = verdict(name, solved(name).replace(old, new))
    assert found.state is State.WRONG
    assert words in found.why
    assert found.why != judging.UNKNOWN


def test_each_exercise_has_mistakes_of_several_kinds_planted() -> None:
    planted = [name for name, *_ in PLANTED]
    assert set(planted) == set(EXERCISES)
    assert all(planted.count(name) >= 5 for name in EXERCISES)
    said = " ".join(words for *_, words in PLANTED)
    for kind in ("sign", "mask is missing", "axis", "biased", "off by one"):
        assert kind in said


@pytest.mark.parametrize("name", EXERCISES)
def test_the_checkers_own_mistakes_differ_from_each_other(name: str) -> None:
    """No mistake passes, and none hides behind another with the same numbers."""
    exercise = EXERCISES[name]
    for mistake in exercise.mistakes:
        assert judging.judge(exercise, mistake.wrong, GOLDEN).why == mistake.says


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("gae", "return advantages_BT", "return", "is None"),
        ("gae", "return advantages_BT", "return advantages_BT.tolist()", "type list"),
        ("gae", "return advantages_BT", "return advantages_BT.T", "look at the axis"),
        ("gae", "return advantages_BT", "return 3 * advantages_BT", "0.851"),
        ("entropy", "return -(", "return -2 * (", "2 times"),
        ("entropy", "return -(", "return 0.1 - (", judging.UNKNOWN),
        ("holm", "return adjusted", "return None", "one number per p-value"),
        ("sign_flip_p", "return extreme / len(ways)", "return None", "one number"),
        ("wanted", "return window.current", "return None and window.current", "whole number"),
        ("minibatch_update", "    return {", "    _ = {", "a dict with"),
        ("v_star", "return beta", "raise NotImplementedError\n    return beta", "NotImpl"),
    ],
)
def test_what_is_no_usual_mistake_is_told_as_well(
    name: str, old: str, new: str, words: str
) -> None:
    found = verdict(name, solved(name).replace(old, new))
    assert found.state is not State.RIGHT
    assert words in f"{found.why} {found.shown}"


# --- the command ----------------------------------------------------------------------------------

BLANK = '''def entropy(logits):
    """It is not written yet."""
    raise NotImplementedError
'''


def notebook(folder: Path, *cells: str) -> Path:
    """A notebook of code cells."""
    path = folder / "learner.ipynb"
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "#"}, *made]}))
    return path


def test_a_notebook_is_judged_without_running_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop without an end, an exception and a blank are told in a line; the others are judged."""
    path = notebook(
        tmp_path,
        "%matplotlib inline\nimport torch\nimport numpy as np\nSMALL = 1e-8\nraise SystemExit(3)",
        "%%bash\nrm -r nothing",
        "print('drawn')\n" + BLANK,
        "import math\nprint(math.pi)\n\n" + solved("v_star"),
        "def leave_one_out(x_B, group_B):\n    print('seen')\n    return [1][len(x_B)]",
        "def holm(p):\n    raise SystemExit(0)",
        solved("masked_whiten").replace("(n - 1)", "n").replace("WHITEN_EPSILON", "SMALL"),
        "def to_go(rewards_BT, mask_BT, gamma):\n    while True:\n        pass",
    )
    monkeypatch.setattr(command, "SECONDS", 2.0)
    assert command.main(["check", str(path)]) == 1
    said, learners = capfd.readouterr()
    told = dict(line.split(None, 1) for line in said.splitlines() if not line.startswith(" "))
    assert told["entropy"].startswith("not written yet")
    assert told["v_star"] == "right: 6 cases (golden: v_star), 1 property"
    assert "IndexError: list index out of range (line 3 of code cell 5)" in told["leave_one_out"]
    assert "SystemExit: 0 (line 2 of code cell 6)" in told["holm"]
    assert told["masked_whiten"].startswith("not right: the standard deviation is biased")
    assert re.search(r"\n +random: whitened\[0, 0\] is -?\d\.\d+, expected", said)
    assert "did not return within 2 s" in told["to_go"]
    assert said.splitlines()[-1] == "1 of 6 right"
    assert learners.split() == ["seen"]


def lines_of(path: Path, capsys: pytest.CaptureFixture[str]) -> list[command.Line]:
    """As `command.check`, in this process."""
    written = source.read(path)
    module = path.with_name("learner.py")
    module.write_text(written.text)
    child.main([str(module), str(GOLDEN), ",".join(written.functions)])
    events = map(json.loads, capsys.readouterr().out.splitlines())
    return list(command._lines(path, written, events, 1.0))


def test_a_file_that_cannot_be_imported_is_a_wrong_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torhc\n" + BLANK)
    with pytest.raises(ConfigError, match=r"cannot be imported: .*torhc.* \(line 1\)"):
        lines_of(path, capsys)


@pytest.mark.parametrize("text", ["x = 1", "def advantage(x):\n    return x"])
def test_a_file_without_an_exercise_is_a_wrong_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"must have a function of the course, .* valid: to_go"):
        lines_of(path, capsys)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gone.py", None, "cannot read 'gone.py' (No such file or directory); name a notebook"),
        ("text.txt", "x", "ends in '.txt'"),
        ("broken.ipynb", "{}", "is no notebook"),
        ("broken.py", "def f(:\n    pass", "is no Python at line 1"),
    ],
)
def test_a_wrong_request_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str | None,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text)
    assert command.main(["check", name]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 1


def test_other_functions_and_missing_data_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(BLANK)
    with pytest.raises(ConfigError, match="--golden DIR"):
        command.check(path, tmp_path, 1.0)


def test_a_syntax_error_is_told_where_it_stands(tmp_path: Path) -> None:
    path = notebook(tmp_path, "import torch", "x = 1\ny = (")
    with pytest.raises(ConfigError, match=r"at line 2 of code cell 2"):
        source.read(path)


LOOP = """import os


def entropy(logits):
    with open("begun", "w") as file:
        file.write(str(os.getpid()))
    while True:
        pass
"""


@pytest.mark.commands
def test_ctrl_c_ends_both_processes_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOOP)
    begun = tmp_path / "begun"
    command_line = [sys.executable, "-m", "harness.exercises", "check", "mine.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    group = {"start_new_session": True, "cwd": tmp_path, "env": environment}
    with subprocess.Popen(command_line, **pipes, **group) as running:
        while not (begun.exists() and begun.read_text()):
            assert running.poll() is None
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        said = running.communicate()
    assert (running.returncode, *said) == (130, "", "stopped\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
