"""Listeners: who else is told what a trial records, each by a process of its own.

    trial  --record.jsonl-->  listener's process  -->  TensorBoard, W&B

The record is the source: the process reads it as anybody might, from its first step, and begins
anew whenever the trial is started again, so that no point is lost or doubled. The trial only starts
it and waits for it at the end, for so long and no longer: a listener that fails, hangs or is away
costs the trial nothing but a line in its log.
"""

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from harness.errors import ConfigError
from harness.machine import shown
from harness.tracking import Names
from harness.tracking.record import Record

log = logging.getLogger(__name__)

# Below the output folder: EXPERIMENT/TRIAL/LISTENER.
HOME = "listeners"
# The module that the process runs.
PROCESS = "harness.tracking.listener"
# How long the listeners of a trial may take to end when it has, all together.
ENDING_S = 20.0


class Feed(Protocol):
    """What is told of one trial."""

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        """One step of the record; they come in order, each once."""
        ...

    def end(self, finished: bool) -> None:
        """Nothing follows; finished: the trial has its result."""
        ...


class Listener(Protocol):
    """A listener's config: `conf/listeners/NAME.yaml` names its class.

    It is pickled, and runs nothing in the trial's process but `check`.
    """

    def check(self) -> None:
        """Refuse what cannot work, before anything is made."""
        ...

    def begin(self, record: Record, folder: Path, names: Names) -> Feed:
        """Begin to tell of a trial whose record has begun, from its first step.

        Args:
            folder: its own, absolute; what an earlier process left there is replaced.
        """
        ...


def needs(package: str, name: str) -> None:
    """Refuse a listener whose package is not installed; nothing is imported.

    Raises:
        ConfigError: which package, and how it is had.
    """
    found = find_spec(package)
    if found is None or found.origin is None:  # without an origin: any folder of that name
        raise ConfigError(
            f"listeners=[{name}] needs the package {package}, which is not installed; run: "
            f"pip install -e '.[{name}]', or leave it out"
        )


@contextmanager
def listening(
    listeners: Mapping[str, Listener], folder: Path, runs: Path, names: Names
) -> Iterator[None]:
    """Let listeners follow the record in a folder while the block lasts, and hear its end.

    Args:
        listeners: by name; none start nothing.
        folder: of the trial.
    """
    above = runs.absolute() / HOME / names.experiment / names.trial
    started = {}
    for name, listener in listeners.items():
        with _harmless(name):
            started[name] = _start((listener, folder, above / name, names), above / name)
    try:
        yield
    finally:
        for process in started.values():
            with suppress(OSError):  # it has ended, and whatever it was to read is gone
                process.stdin.close()  # type: ignore[union-attr]
        deadline = time.monotonic() + ENDING_S
        for name, process in started.items():
            with _harmless(name):
                _end(process, deadline, above / name)


@contextmanager
def _harmless(name: str) -> Iterator[None]:
    """What a process of a listener cannot do is no matter of the trial's."""
    try:
        yield
    except OSError as error:
        log.warning("listener %s hears nothing: %s", name, error)


def _start(told: tuple[Listener, Path, Path, Names], home: Path) -> subprocess.Popen[bytes]:
    """The process; it reads what to do, and ends when its input is closed, by us or our death."""
    sent = pickle.dumps(told)
    home.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, sys.path))
    with log_of(home).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", PROCESS],  # -P: our path alone says what is imported
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is the trial's
            env={**os.environ, "PYTHONPATH": path},
        )
    assert process.stdin is not None
    process.stdin.write(sent)
    process.stdin.flush()
    return process


def log_of(home: Path) -> Path:
    """What a listener's process says."""
    return home.with_name(f"{home.name}.log")


def _end(process: subprocess.Popen[bytes], deadline: float, home: Path) -> None:
    """Wait for a process whose input is closed."""
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        process.wait()
        log.warning(
            "listener %s did not end within %.0f s and was killed; the trial's record has all that "
            "it may lack",
            home.name,
            ENDING_S,
        )
        return
    if code:
        log.warning("listener %s failed (exit code %d): %s", home.name, code, _last(home))


def _last(home: Path) -> str:
    """The last line that a listener's process said, and where the others are."""
    lines = log_of(home).read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "without a word")
    return f"{shown.line(last)}; see {log_of(home)}"
