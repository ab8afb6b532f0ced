"""Sides that take turns, step by step, each in a process of its own and in one thread.

What else goes on on a machine then meets all sides alike, and each has a peak of memory of its own.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import torch

from tests.benchmarks import resident

Turn = Callable[[], None]
Side = Callable[[Turn], None]
"""Works, and calls what it is given where a step begins, endlessly."""
READY, GO = "ready", "go"


class _EnoughError(BaseException):
    """Ends a side; nothing that it calls catches it."""


@dataclass
class Taken:
    """What the steps of one side took."""

    cpu: list[float] = field(default_factory=list)
    """CPU seconds of each step."""
    wall: list[float] = field(default_factory=list)
    """Seconds of each step."""
    peak: float = 0.0
    """MiB, the most that the process had."""


def alternated(sides: Mapping[str, Side], rounds: int, warm: int = 1) -> dict[str, Taken]:
    """Let each side make one step after the other; every second round in the other order.

    Args:
        sides: by name; what crosses into another process.
        rounds: measured steps of each.
        warm: steps of each that come first and are not measured.
    """
    context = multiprocessing.get_context("spawn")
    taken = {name: Taken() for name in sides}
    lines: dict[str, Connection] = {}
    processes = []
    for name, side in sides.items():
        lines[name], theirs = context.Pipe()
        processes.append(context.Process(target=_work, args=(side, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # so that the end of the other process ends the line
        _heard(lines[name], name)
    for i in range(warm + rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            lines[name].send(GO)
            wall, cpu, taken[name].peak = _heard(lines[name], name)
            if i >= warm:
                taken[name].wall.append(wall)
                taken[name].cpu.append(cpu)
    for line in lines.values():
        line.send(None)
    for process in processes:
        process.join()
    return taken


def _heard(line: Connection, name: str) -> tuple[float, float, float]:
    try:
        found: tuple[float, float, float] = line.recv()
    except EOFError as error:
        raise RuntimeError(f"{name} ended before its turns did; see above") from error
    return found


def _work(side: Side, line: Connection) -> None:
    """Another process: a side, held up at each step until it is its turn."""
    torch.set_num_threads(1)
    began: list[float] = []

    def turn() -> None:
        if began:
            spent = (time.perf_counter() - began[0], time.process_time() - began[1])
            line.send((*spent, resident.mib(resident.PEAK)))
        else:
            line.send(READY)
        if line.recv() != GO:
            raise _EnoughError
        began[:] = time.perf_counter(), time.process_time()

    try:
        side(turn)
    except _EnoughError:
        return
