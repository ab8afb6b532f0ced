"""Which process drives a sweep, so that another terminal can end it."""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ConfigError
from harness.machine import files
from harness.tracking.record import held

PREFIX = "driver-"


@contextmanager
def driving(runs: Path, name: str) -> Iterator[None]:
    """Note down this process as one that drives the sweep, as long as it does."""
    path = runs / "sweeps" / name / f"{PREFIX}{socket.gethostname()}-{os.getpid()}"
    with files.locked(path, 0):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def drivers(runs: Path, name: str) -> list[tuple[str, int]]:
    """(host, process) of those that drive a sweep now."""
    found = (runs / "sweeps" / name).glob(f"{PREFIX}*")
    alive = (path.name.removeprefix(PREFIX).rpartition("-") for path in found if held(path))
    return [(host, int(process)) for host, _, process in alive if process.isdigit()]


def told(found: Sequence[tuple[str, int]]) -> str:
    """`process 12 on host`."""
    return ", ".join(f"process {process} on {host}" for host, process in found)


def interrupt(runs: Path, name: str) -> list[int]:
    """What Ctrl-C does, for every driver of a sweep on this machine; returns their processes.

    Raises:
        ConfigError: none drives it here.
    """
    there = drivers(runs, name)
    own = [process for host, process in there if host == socket.gethostname()]
    if not own:
        raise ConfigError(
            f"sweep {name!r} is driven by {told(there) or 'nobody'}: no process of this machine; "
            f"python -m sweeps list shows what is"
        )
    for process in own:
        os.kill(process, signal.SIGINT)
    return own
