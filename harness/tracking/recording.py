"""What a running trial writes: its record, and the copy that follows it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.machine import provenance
from harness.tracking import Copy, Names, Tracking
from harness.tracking.record import Status
from harness.tracking.writer import Writer

log = logging.getLogger(__name__)


class NoRun:
    """What the ranks beside the first write to."""

    id = ""
    logged_step = -1

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing is written."""

    def learn(self, facts: Mapping[str, str]) -> None:
        """Nothing is written."""

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        """Nothing is written."""

    def warn(self, step: int, sign: str, words: str) -> bool:
        """Nothing is written."""
        return False

    def stop(self, error: HarnessError) -> None:
        """Nothing is written."""

    def finish(self) -> None:
        """Nothing is written."""


class Recording:
    """The record first, then its copy."""

    def __init__(self, writer: Writer, publish: Callable[[], None]) -> None:
        self.writer = writer
        self.publish = publish
        self.copy: Copy | None = None
        self.finished = False

    @property
    def id(self) -> str:
        """Of the record."""
        return self.writer.id

    @property
    def logged_step(self) -> int:
        """Last step that the record has; -1 when it is empty."""
        return self.writer.last

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        time_ms = self.writer.step(step, metrics)
        if self.copy is not None:
            self.copy.step(step, metrics, time_ms)

    def learn(self, facts: Mapping[str, str]) -> None:
        self.writer.learn(facts)

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        self.writer.table(step, table)

    def warn(self, step: int, sign: str, words: str) -> bool:
        return self.writer.warn(step, sign, words)

    def stop(self, error: HarnessError) -> None:
        """The record says why; the copy too, where the store answers."""
        if not self.finished:
            self.writer.end(Status.FAILED, f"{type(error).__name__}: {error}")
        self.complete()

    def complete(self) -> None:
        """Make the copy of a trial that failed complete: the first error is the one to see."""
        try:
            self.publish()
        except HarnessError:
            log.exception("the copy of the failed trial could not be made")

    def finish(self) -> None:
        """The budget is spent and the weights are written: whatever happens now, it is finished."""
        self.writer.end(Status.FINISHED)
        self.finished = True


@contextmanager
def recording(
    folder: Path,
    runs: Path,
    tracking: Tracking,
    names: Names,
    facts: Mapping[str, str],
    seal: str,
) -> Iterator[Recording]:
    """The trial's record, continued when there is one and closed with what became of it.

    What machine it is belongs to the attempt and not to the trial, so it is found out here.
    However the block ends, the copy is made complete after it.

    Raises:
        StoreError: the trial has finished, but its copy cannot be made.
    """
    writer = Writer(folder)
    run = Recording(writer, partial(tracking.publish, folder, runs, names))
    try:
        writer.start({**facts, **provenance.surroundings()}, seal)
        run.copy = tracking.follow(folder, runs, names)
        yield run
    except BaseException as error:  # the scheduler's SystemExit, Ctrl-C and signals as well
        failed = isinstance(error, Exception)
        if not run.finished:
            status = Status.FAILED if failed else Status.KILLED
            writer.end(status, f"{type(error).__name__}: {error}")
        run.complete()
        raise
    run.publish()
