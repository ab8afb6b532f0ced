"""End a process in which nothing gets on, whatever it stands in.

Work says that it gets on (`moved`) and in what it is (`within`); a thread beside it looks at how
long ago that was. What stands may stand in C code that no exception reaches, such as a collective
or an engine: the thread says where, closes what has to be closed, and ends the process. Where the
interpreter itself is held, which no thread of it survives, `faulthandler` ends the process, with
the stack in the log. Whoever started the process finds in a file beside the log why it is gone
(`ended_by`). Clocks are monotonic.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import _exit  # before harness.machine.process tells of it: this exit tells of itself
from pathlib import Path
from types import FrameType

from harness.errors import StalledError
from harness.machine import terminal

log = logging.getLogger("harness")

FAILED = 1  # exit code
# Looks during the time that is allowed, and how far apart they are at most.
LOOKS, MAX_LOOK_S = 20, 5.0
# How much later than this thread the interpreter's own watch ends the process, in its looks.
HELD_LOOKS = 4
# How long after a look the next one may come at most; a process that was stopped in between has not
# lived any longer.
LATE_LOOKS = 2
# How long closing the record's copies may take: they may be what stands.
CLOSING_S = 60.0

# What the words of a process that was ended are called, beside its log.
SUFFIX = ".stalled"

_stages: list[str] = []
_moved_at = time.monotonic()


def moved() -> None:
    """Something got on."""
    global _moved_at
    _moved_at = time.monotonic()


@contextmanager
def within(stage: str) -> Iterator[None]:
    """The block is a part of the work that has a name; parts lie in one another."""
    _stages.append(stage)
    moved()
    try:
        yield
    finally:
        _stages.pop()
        moved()


@contextmanager
def guarded(
    seconds: float | None,
    close: Callable[[StalledError], None],
    log_file: Path,
    leave: Callable[[int], object] = _exit,
) -> Iterator[None]:
    """End this process when the block stands still.

    Args:
        seconds: without any progress; None: for ever.
        close: told before the process ends; it may take CLOSING_S.
        log_file: takes the stacks of a process whose interpreter is held; why it was ended stands
            beside it until the next attempt.
        leave: ends the process, with an exit code.
    """
    if seconds is None:
        yield
        return
    moved()
    done = threading.Event()
    words = log_file.with_suffix(SUFFIX)
    words.unlink(missing_ok=True)
    watch = _Watch(seconds, threading.get_ident(), done, words)
    with log_file.open("a") as stacks:
        arguments = (watch, close, leave, stacks.fileno())
        threading.Thread(target=_look, args=arguments, daemon=True).start()
        try:
            with _stoppable():
                yield
        finally:
            done.set()
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-Z puts the interpreter's own watch aside, which would go on by the clock."""

    def stop(number: int, frame: FrameType | None) -> None:
        faulthandler.cancel_dump_traceback_later()  # the next look sets it again
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # it stands here until `fg`
        signal.signal(signal.SIGTSTP, stop)

    alone = threading.current_thread() is threading.main_thread()  # others may set no handler
    if not alone or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def ended_by(folder: Path) -> StalledError | None:
    """Why a process with its log in this folder was ended, the first one; None where none was."""
    found = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
    return StalledError(" ".join(found[0].read_text().split())) if found else None


class _Watch:
    """Of a thread, by the clock."""

    def __init__(self, seconds: float, thread: int, done: threading.Event, words: Path) -> None:
        self.seconds = seconds
        self.thread = thread
        self.done = done
        self.words = words
        self.look_s = min(MAX_LOOK_S, seconds / LOOKS)
        self.looked = self.moved = time.monotonic()
        self.stood = 0.0

    def stalled(self) -> StalledError | None:
        """That nothing got on for too long since a look, and where it stands."""
        now = time.monotonic()
        lived = min(now - self.looked, LATE_LOOKS * self.look_s)
        self.looked = now
        self.stood = min(lived, now - _moved_at) if _moved_at > self.moved else self.stood + lived
        self.moved = _moved_at
        if self.stood < self.seconds:
            return None
        frame = sys._current_frames().get(self.thread)
        return StalledError(
            f"nothing got on for {self.seconds:g} s (guard.stall_seconds) in "
            f"{' > '.join(_stages) or 'the trial'}{_at(frame)}; the same command continues "
            f"from the last checkpoint"
        )

    def stack(self) -> str:
        """Where the thread stands, for the log."""
        frame = sys._current_frames().get(self.thread)
        return "" if frame is None else "".join(traceback.format_stack(frame))


def _at(frame: FrameType | None) -> str:
    """Function, file and line of a frame."""
    if frame is None:
        return ""
    code = frame.f_code
    return f", at {code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})"


def _look(
    watch: _Watch, close: Callable[[StalledError], None], leave: Callable[[int], object], held: int
) -> None:
    """The thread."""
    later = watch.seconds + HELD_LOOKS * watch.look_s
    while True:
        faulthandler.dump_traceback_later(later, exit=True, file=held)
        if watch.done.wait(watch.look_s):
            faulthandler.cancel_dump_traceback_later()
            return
        error = watch.stalled()
        if error is None:
            continue
        faulthandler.cancel_dump_traceback_later()
        log.error("%s\n%s", error, watch.stack())
        with suppress(OSError):  # a full disk keeps nobody
            watch.words.write_text(str(error))
        closing = threading.Thread(target=close, args=(error,), daemon=True)
        closing.start()
        closing.join(CLOSING_S)
        terminal.complain(error)
        sys.stderr.flush()
        leave(FAILED)
        return
