"""A trial that only records, listeners that fail, and what TensorBoard was told, read back."""

import math
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.tracking import Names
from harness.tracking.record import Record, read
from harness.tracking.writer import Writer

NAMES = Names("grpo__s3__aa", "grpo", "question")
METRICS = {f"actor/m{i}": 0.1 + i / 3 for i in range(40)}


def record_steps(folder: Path, first: int, last: int) -> Writer:
    """An attempt that records some steps, some of whose values are no numbers."""
    writer = Writer(folder)
    writer.start({}, "")
    for step in range(first, last):
        writer.step(step, {**METRICS, "actor/kl": {4: math.nan, 5: math.inf}.get(step, step / 7)})
    return writer


@dataclass(frozen=True)
class Broken:
    """A listener that is not there when it is needed."""

    way: str

    def check(self) -> None:
        """Nothing is known of it beforehand."""

    def begin(self, record: Record, folder: Path, names: Names) -> "Broken":
        if self.way == "refuses":
            raise RuntimeError("no such\nserver")
        return self

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        if self.way == "dies":
            os._exit(3)
        if self.way == "hangs":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)

    def end(self, finished: bool) -> None:
        raise AssertionError("not reached")


def expected(folder: Path) -> dict[tuple[str, int], float]:
    record = read(folder)
    assert record is not None
    return {(k, s): v for s, made in record.steps.items() for k, v in made.metrics.items()}


def events(home: Path) -> list[tuple[str, int, float, float]]:
    """(tag, step, value, time) of every point, by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    return [
        (value.tag, event.step, make_ndarray(value.tensor).item(), event.wall_time)
        for path in sorted(home.iterdir())
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def single(points: Mapping[tuple[str, int], float]) -> dict[tuple[str, int], str]:
    """Points in TensorBoard's precision."""
    return {key: repr(float(np.float32(value))) for key, value in points.items()}
