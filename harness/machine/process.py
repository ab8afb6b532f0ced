"""What surrounds the work of a rank in its process: its log, and a civil end."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from harness.distributed.ranks import Ranks
from harness.errors import Interrupted, Terminated
from harness.machine import shown, terminal

# Exit code of a trial that did not finish.
FAILED = 1
# Libraries whose warnings belong into a trial's log.
LOGGED = ("vllm",)


class _Entry(logging.Formatter):
    """Whatever a message or an error says, only an entry of its own begins at the margin."""

    def format(self, record: logging.LogRecord) -> str:
        return shown.block(super().format(record)).replace("\n", "\n  ")


class Log(logging.FileHandler):
    """A log that cannot be written, on a full disk, prints no page for every line of it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: what must be written there fails as well, and says so once."""


def log_name(ranks: Ranks) -> str:
    """Of the log of a rank."""
    return "trial.log" if ranks.first else f"trial.rank{ranks.rank}.log"


@contextmanager
def log_file(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Everything that is logged goes to the rank's plain log file."""
    handler = Log(folder / log_name(ranks), encoding="utf-8")
    handler.setFormatter(_Entry("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("harness")
    logger.setLevel(logging.INFO)
    others = [logging.getLogger(name) for name in LOGGED]
    for each in (logger, *others):
        each.addHandler(handler)
    logger.info("process %d starts", os.getpid())
    try:
        yield
    except Exception:
        logger.exception("the trial failed")
        raise
    finally:
        for each in (logger, *others):
            each.removeHandler(handler)
        handler.close()


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the trial as Ctrl-C does, so that its record gets the right status.

    Both raise exceptions that no plug-in raises, so that nobody is blamed for them.
    """
    try:
        before = signal.signal(signal.SIGTERM, _terminate), signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # not the main thread: the scheduler ends this trial in its own way
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


@contextmanager
def as_ctrl_c() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does; Ray would print its stack and abort.

    Also where SIGINT itself is ignored, as in a command that a script has put in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    """End once: a second signal must not break off what the first one's end still writes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated(128 + number)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Interrupted


@contextmanager
def exits_told() -> Iterator[None]:
    """Whoever calls os._exit in this process inside the block is told of, and the exit is no 0.

    It ends a process without any of its `finally`: a plug-in that calls it would look like success.
    Forked children, which rightly end in this way, are left alone.
    """
    exit_now, here = os._exit, os.getpid()

    def told(status: int) -> NoReturn:
        if os.getpid() == here:
            terminal.complain(
                f"something in the trial called os._exit({status}), which ends its process at "
                f"once: raise an error instead; the same command continues from the last checkpoint"
            )
            status = status or FAILED
        exit_now(status)

    os._exit = told
    try:
        yield
    finally:
        os._exit = exit_now
