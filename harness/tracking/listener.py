"""The process of one listener: it follows the record of a trial until the trial has ended."""

import os
import pickle
import select
import sys
import time
import traceback
from pathlib import Path
from typing import BinaryIO

from harness.blame import said
from harness.machine import files
from harness.tracking import Names
from harness.tracking.listening import Feed, Listener
from harness.tracking.record import RECORD, Record, read

# How often the record is looked at, and the share of the time that may be spent with reading it:
# it is read as a whole, so that a long one is read less often.
POLL_S, SHARE = 2.0, 0.05
# The process of an earlier attempt may be about to end.
LOCK_WAIT_S = 60.0
# Behind the trial, where both want the same core.
NICE = 5


def main(source: BinaryIO) -> None:
    """Tell a listener of a trial.

    Args:
        source: a pickled (listener, trial's folder, listener's own folder, names); its end is the
            trial's.
    """
    os.nice(NICE)
    told: tuple[Listener, Path, Path, Names] = pickle.load(source)
    listener, folder, home, names = told
    with files.locked(home.with_name(f".{home.name}.lock"), LOCK_WAIT_S):
        follow(listener, folder, home, names, source)


def follow(listener: Listener, folder: Path, home: Path, names: Names, source: BinaryIO) -> None:
    """Read the record again and again, and pass on what is new."""
    feed: Feed | None = None
    told, size, pause = -1, -1, POLL_S
    record: Record | None = None
    ended = False
    while not ended:
        ended = _ended(source, pause)
        path = folder / RECORD
        now = path.stat().st_size if path.exists() else 0
        if now == size and not ended:
            continue
        size, began = now, time.monotonic()
        record = read(folder)
        pause = max(POLL_S, (time.monotonic() - began) / SHARE)
        if record is None:
            continue
        if feed is None:
            feed = listener.begin(record, home, names)
        for step in range(told + 1, record.last + 1):
            made = record.steps[step]
            feed.step(step, made.metrics, made.time_ms)
            told = step
    if feed is not None and record is not None:
        feed.end(record.finished)


def _ended(source: BinaryIO, wait_s: float) -> bool:
    """Whether the trial's end of the pipe is closed, which its death does as well."""
    readable, _, _ = select.select([source], [], [], wait_s)
    return bool(readable) and not source.read(1)


if __name__ == "__main__":
    try:
        main(sys.stdin.buffer)
    except Exception as error:  # a plug-in's or a library's, which may be anything
        traceback.print_exc()
        sys.exit(said(error))
