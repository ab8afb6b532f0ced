"""What surrounds the work of a rank in its process: its log, and a civil end."""

import logging
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
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
    """SIGTERM and a closed terminal end the trial as Ctrl-C does: its record gets the right status.

    All raise exceptions that no plug-in raises, so that nobody is blamed for them.
    """
    handlers = {SIGTERM: _terminate, SIGINT: _interrupt, SIGHUP: _hang_up}
    with _handled(handlers):  # elsewhere the scheduler ends this trial in its own way
        yield


@contextmanager
def as_ctrl_c() -> Iterator[None]:
    """SIGTERM and a closed terminal end a command as Ctrl-C does; Ray would print its stack.

    Also where SIGINT itself is ignored, as in a command that a script has put in the background.
    """

    def interrupt(number: int, frame: Any) -> None:
        if number == SIGHUP:
            _hung_up()
        handler = signal.getsignal(SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(SIGINT, frame)

    with _handled({SIGTERM: interrupt, SIGHUP: interrupt}):
        yield


@contextmanager
def _handled(handlers: Mapping[Signals, Callable[[int, Any], None]]) -> Iterator[None]:
    """Signals have these handlers in the block, which is the main thread's; else they stay.

    Whoever asked for a process that outlives its terminal (nohup) keeps it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deaf = signal.getsignal(SIGHUP) is signal.SIG_IGN
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if not (number == SIGHUP and deaf)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            if number != SIGHUP or signal.getsignal(SIGHUP) is not signal.SIG_IGN:
                signal.signal(number, handler)


def _hung_up() -> None:
    """A terminal is closed once, and told of twice: by the system and by the shell.

    What is printed from here on goes nowhere: writing to it fails.
    """
    signal.signal(SIGHUP, signal.SIG_IGN)
    with open(os.devnull, "w") as nowhere:
        for out in (1, 2):
            if stat.S_ISCHR(os.fstat(out).st_mode):
                os.dup2(nowhere.fileno(), out)


@contextmanager
def outliving_terminals() -> Iterator[None]:
    """What is started in the block does not end with a terminal, but when its starter ends it.

    A closed terminal is told to all that were started from it: without its servants, whoever is to
    come to a civil end could not.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {SIGHUP})  # who is started inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _terminate(number: int, frame: Any) -> None:
    """End once: a second signal must not break off what the first one's end still writes."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated(128 + number)


def _hang_up(number: int, frame: Any) -> None:
    _hung_up()
    raise Terminated(128 + number)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(SIGINT, signal.SIG_IGN)
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
