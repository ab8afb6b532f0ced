"""How far a long wait is and how long it will still take: a bar in a terminal, else rare lines.

Who knows what is waited for opens a wait; who does the work says how much of it is done, without
knowing for whom. Times left are extrapolated from the wait so far, never from constants. A wait
that turns out to be short says nothing. What is said goes to the process's log, and to a console
only where a person looks at this process: under Ray the sweep's own view is not torn.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from harness.machine import shown
from harness.machine.stall import moved, within

log = logging.getLogger("harness")

# A bar appears after so many seconds: what is faster would only flicker.
BAR_S = 1.0
# Between two looks at a bar, and at whether a line is due.
LOOK_S = 0.25
# Columns of a bar, and of the share and the time left beside it.
BAR, BESIDE = 16, 28
# A rate is believed after so many seconds.
FIRST_S = 5.0
# A wait that will be shorter as a whole is not worth a line.
LONG_S = 30.0
# The second line of a wait, and how much longer it must have lasted for each further one.
SECOND_S, LATER = 30.0, 3.0
# First line of a wait of a kind that was announced before: a log is not filled step by step.
AGAIN_S = 120.0


class Unit(Enum):
    """What work is counted in."""

    PROMPTS = "prompts"
    RESPONSES = "responses"
    BYTES = "bytes"
    COPIES = "copies"
    STEPS = "steps"
    SHARE = "share"


class Wait:
    """One long wait.

    Attributes:
        unit: of `total` and of what is reported.
        kind: of the wait: loading, evaluating; each is announced once in a process.
        words: of what, and how much of it.
        keys: config keys that would make it shorter.
    """

    def __init__(self, unit: Unit, kind: str, words: str, total: float, keys: str = "") -> None:
        self.unit = unit
        self.kind = kind
        self.words = shown.line(f"{kind} {words}".strip())
        self.total = total
        self.keys = keys
        self.done = 0.0
        self.began = time.monotonic()
        self.announced = False
        self.line_due = self.began + (AGAIN_S if kind in _announced else FIRST_S)
        self.look_due = self.began + BAR_S
        self.bar: TaskID | None = None

    def advance(self, amount: float) -> None:
        """So much more of it is done."""
        moved()
        self.done = min(self.total, self.done + amount)
        now = time.monotonic()
        if now >= self.look_due and self.done > 0:
            self.look_due = now + LOOK_S
            _look(self, now)

    def left(self, now: float) -> float:
        """Seconds that the rest takes at the rate so far."""
        return (now - self.began) * (self.total - self.done) / self.done


_announced: set[str] = set()
_waits: list[Wait] = []
_weight = 1.0
_console: Console | None = None
_bars: Progress | None = None


@contextmanager
def shown_on(console: Console) -> Iterator[None]:
    """Show this process's waits to a person while the block runs."""
    global _console
    _console = console
    try:
        yield
    finally:
        _console = None


@contextmanager
def waiting(unit: Unit, kind: str, words: str, total: float, keys: str = "") -> Iterator[Wait]:
    """The block is a wait (see Wait); waits may lie in one another."""
    wait = Wait(unit, kind, words, total, keys)
    _waits.append(wait)
    try:
        with within(wait.words):
            yield wait
        if wait.announced:
            say(f"{wait.words}: took {spoken(time.monotonic() - wait.began)}")
    finally:
        _waits.remove(wait)
        _drop(wait)


@contextmanager
def weighted(weight: float) -> Iterator[None]:
    """What is reported in the block stands for so many times as much: others do the rest."""
    global _weight
    before, _weight = _weight, _weight * weight
    try:
        yield
    finally:
        _weight = before


def advance(unit: Unit, amount: float = 1.0) -> None:
    """So much work was done; it belongs to the innermost wait if that counts in this unit."""
    moved()
    if _waits and _waits[-1].unit is unit:
        _waits[-1].advance(amount * _weight)


def spoken(seconds: float) -> str:
    """A time as it is said of an estimate: 7 s, 40 s, 4 min, 2.5 h."""
    if seconds < 20:
        return f"{seconds:.0f} s"
    if seconds < 95:
        return f"{round(seconds, -1):.0f} s"
    if seconds < 95 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _look(wait: Wait, now: float) -> None:
    """Move the wait's bar, and say its line if one is due."""
    left = wait.left(now)
    if _console is not None and _console.is_terminal:
        _draw(wait, left)
    if now < wait.line_due:
        return
    lasted = now - wait.began
    if wait.announced:
        say(f"{wait.words}: {wait.done / wait.total:.0%}, about {spoken(left)} left", bar=True)
    elif lasted + left < LONG_S:
        return  # looked at again with the bar
    else:
        shorter = f"; shorter with less of {wait.keys}" if wait.keys else ""
        say(f"{wait.words}: about {spoken(lasted + left)}{shorter}")
        wait.announced = True
        _announced.add(wait.kind)
    wait.line_due = wait.began + max(SECOND_S, LATER * lasted)


def warn(words: str) -> None:
    """One line of warning, for the log and for the person who looks at this process."""
    say(words, level=logging.WARNING)


def say(words: str, bar: bool = False, level: int = logging.INFO) -> None:
    """One line to the log and to who looks; `bar`: in a terminal the bar says the same."""
    log.log(level, "%s", words)
    if _console is not None and not (bar and _console.is_terminal):
        _console.print(words)


def _draw(wait: Wait, left: float) -> None:
    global _bars
    if _bars is None:
        _bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(BAR),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[left]}", markup=False),
            console=_console,
            transient=True,
            refresh_per_second=2,
        )
        _bars.start()
    if wait.bar is None:
        words = shown.shortened(wait.words, _bars.console.width - BAR - BESIDE)
        wait.bar = _bars.add_task(words, total=wait.total, left="")
    _bars.update(wait.bar, completed=wait.done, left=f"about {spoken(left)} left")


def _drop(wait: Wait) -> None:
    """Take the wait's bar away; the last one leaves nothing on the screen."""
    global _bars
    if _bars is None or wait.bar is None:
        return
    _bars.remove_task(wait.bar)
    if not _bars.tasks:
        _bars.stop()
        _bars = None
