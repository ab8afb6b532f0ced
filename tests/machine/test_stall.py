"""A trial that stands still is ended with one line that says where, whatever it stands in."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import StalledError
from harness.machine import stall
from harness.machine.progress import Unit, advance, waiting
from harness.rollout.metrics import Clock
from tests.conftest import command

LIMIT_S = 0.3

# The interpreter is held by one long call into C; and one that a person may write by accident.
HELD = """
import re, sys
from pathlib import Path
from harness.machine import stall
with stall.guarded(0.3, print, Path(sys.argv[1])):
    re.match(r"(a+)+$", "a" * 60 + "b")
"""

# Ctrl-Z, and `fg` after four times the limit; then it really stands.
STOPPED = """
import os, signal, subprocess, sys, time
from pathlib import Path
from harness.machine import stall
fg = f"sleep 2; kill -CONT {os.getpid()}"
with stall.guarded(0.5, print, Path(sys.argv[1])):
    subprocess.Popen(["sh", "-c", fg])
    os.kill(os.getpid(), signal.SIGTSTP)
    print("gets on", flush=True)
    time.sleep(60)
"""


def test_who_is_stopped_by_a_person_does_not_stand(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path / "log")],
        env=command()["env"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[:1] == ["gets on"], done.stderr
    assert done.returncode == 1
    assert "nothing got on for 0.5 s (guard.stall_seconds)" in done.stderr


def test_who_stands_is_told_and_then_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[StalledError] = []
    left: list[int] = []
    ended = threading.Event()

    def leave(code: int) -> None:
        assert told, "the record is closed first"
        left.append(code)
        ended.set()

    clock = Clock()
    with (
        stall.guarded(LIMIT_S, told.append, tmp_path / "log", leave),
        clock("reward"),
        stall.within("reward mine.Slow.score"),
    ):
        stuck(ended)
    assert left == [1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: nothing got on for 0.3 s (guard.stall_seconds) in reward > reward mine.Slow.score, "
        "at wait (threading.py:"
    )
    assert line == f"error: {told[0]}"
    left_by = stall.ended_by(tmp_path)
    assert str(left_by) == str(told[0]), "who started the process finds it"
    with stall.guarded(LIMIT_S, told.append, tmp_path / "other", leave):
        assert stall.ended_by(tmp_path) is not None, "that of another process"
    with stall.guarded(LIMIT_S, told.append, tmp_path / "log", leave):
        assert stall.ended_by(tmp_path) is None, "another attempt"


def stuck(ended: threading.Event) -> None:
    assert ended.wait(30)


def test_whoever_gets_on_is_left_alone(tmp_path: Path) -> None:
    """Four limits long, by each way to say so; a finished block is not looked at any more."""
    ended: list[object] = []
    with stall.guarded(LIMIT_S, ended.append, tmp_path / "log", ended.append):
        until = time.monotonic() + 4 * LIMIT_S
        while time.monotonic() < until:
            with waiting(Unit.RESPONSES, "sampling", "", 10):
                time.sleep(LIMIT_S / 10)
                advance(Unit.RESPONSES)
                time.sleep(LIMIT_S / 10)
                advance(Unit.BYTES)  # nobody counts in it, and yet it is work
    time.sleep(2 * LIMIT_S)
    assert ended == []


def test_no_limit_is_no_guard(tmp_path: Path) -> None:
    before = threading.active_count()
    with stall.guarded(None, print, tmp_path / "log"):
        assert threading.active_count() == before


def test_an_interpreter_that_is_held_is_ended_with_its_stack_in_the_log(tmp_path: Path) -> None:
    environment = command()["env"]
    done = subprocess.run(
        [sys.executable, "-c", HELD, str(tmp_path / "log")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert 'File "<string>", line 6' in (tmp_path / "log").read_text()
