"""Which process drives a sweep: seen and ended from another terminal, one at a time.

A process says that it is there from before it prepares anything, and takes its turn by a lock that
the next one waits for.
"""

import math
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError
from harness.machine import files
from harness.machine.process import as_ctrl_c

PREFIX = "driver-"
# Held by the one that drives.
TURN = "turn"
# What a process's file says while it waits for its turn.
WAITS = "waits"
# Whoever looks whether a lock is held, holds it for a moment.
LOOKED_AT_S = 1.0


@dataclass(frozen=True)
class Driver:
    """A process that drives a sweep, or waits for its turn; `since_ms` of what it does now."""

    host: str
    process: int
    waits: bool
    since_ms: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}{' (waits)' if self.waits else ''}"


@contextmanager
def driving(runs: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Drive a sweep while the block runs, alone: whoever else drives it now is waited for.

    Args:
        say: shows the user one line.
    """
    folder = runs / "sweeps" / name
    own = folder / f"{PREFIX}{socket.gethostname()}-{os.getpid()}"
    with files.locked(own, LOOKED_AT_S), as_ctrl_c():
        try:
            own.write_text(WAITS)
            if files.held(folder / TURN):
                now = told([each for each in drivers(runs, name) if not each.waits])
                say(
                    f"{name}: {now or 'another process'} drives it; this one waits for its end, "
                    f"and then does what is left"
                )
            with files.locked(folder / TURN, math.inf):
                own.write_text("")  # and its time is when its turn began
                yield
        finally:
            own.unlink(missing_ok=True)
            _tidy(folder)


def drivers(runs: Path, name: str) -> list[Driver]:
    """The processes that drive a sweep now, or wait for their turn."""
    found = []
    for path in sorted((runs / "sweeps" / name).glob(f"{PREFIX}*")):
        host, _, process = path.name.removeprefix(PREFIX).rpartition("-")
        if process.isdigit() and files.held(path):
            with suppress(FileNotFoundError):  # it has ended between two lines
                waits, since = path.read_text() == WAITS, path.stat().st_mtime_ns / 1e6
                found.append(Driver(host, int(process), waits, since))
    return found


def since(runs: Path, name: str) -> float | None:
    """When the one that drives a sweep took its turn, in ms since 1970; None without one."""
    return next((each.since_ms for each in drivers(runs, name) if not each.waits), None)


def told(found: Sequence[Driver]) -> str:
    """`process 12 on host, process 13 on host (waits)`."""
    return ", ".join(map(str, found))


def interrupt(runs: Path, name: str) -> list[int]:
    """What Ctrl-C does, for every driver of a sweep on this machine; returns their processes.

    By SIGTERM: one that a script has put in the background ignores SIGINT.

    Those that wait are ended first, so that none takes the place of the one that drives.

    Raises:
        ConfigError: none drives it here.
    """
    there = sorted(drivers(runs, name), key=lambda each: not each.waits)
    own = [each.process for each in there if each.host == socket.gethostname()]
    if not own:
        raise ConfigError(
            f"sweep {name!r} is driven by {told(there) or 'nobody'}: no process of this machine; "
            f"python -m sweeps list shows what is"
        )
    for process in own:
        os.kill(process, signal.SIGTERM)
    return own


def _tidy(folder: Path) -> None:
    """Leave no folder of a sweep that was never planned."""
    if {path.name for path in folder.iterdir()} <= {TURN}:
        files.remove(folder / TURN)
        for path in (folder, folder.parent):
            with suppress(OSError):  # something else is in it
                path.rmdir()
