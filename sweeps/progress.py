"""What a person sees while a sweep runs: in a terminal a screen that stays, else lines."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from harness.machine import shown
from harness.machine.cluster import check_alive
from harness.machine.progress import spoken
from sweeps import screen
from sweeps.overview import FINISHED, RUNNING, Look, Seen
from sweeps.words import percent

# Between two looks at the records, which may take this share of the driver's time at most.
LOOK_S, LOOK_SHARE = 1.0, 0.1
# Columns of the bar, and rows of a screen that are no trial's.
BAR, BESIDE = 24, 5


class Watch(TrialProgressCallback):  # type: ignore[misc]
    """Shows how a sweep stands. Tune's own callback, whose class it takes, prints lines of its own.

    Tune says when something happens; what happened is read from the trials' records.

    Attributes:
        interrupted: whether Ctrl-C has ended it: Tune stops its trials and says nothing.
    """

    def __init__(self, runs: Path, name: str, trials: Sequence[str], console: Console) -> None:
        """Of a sweep that is sealed.

        Args:
            trials: names of the trials by Tune's number of each.
        """
        self.trials = list(trials)
        self.console = console
        self.look = Look(runs, name)
        self.due = 0.0
        self.fresh: set[str] = set()
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.interrupted = False
        self.before = self.tunes = signal.getsignal(signal.SIGINT)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks to restore a sweep, which we never ask it to."""
        return {}

    def __enter__(self) -> "Watch":
        if self.console.is_terminal:
            self.live.start()
            self._draw()  # Ray takes a while to start
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()
        signal.signal(signal.SIGINT, self.before)

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        check_alive()  # Tune calls this ten times a second
        if self.tunes is self.before:  # Tune's handler is there by now
            self.tunes = signal.signal(signal.SIGINT, self._interrupt)
        if self.live.is_started and time.monotonic() >= self.due:
            self._draw()

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.fresh.add(self._name(trial))

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        name = self._name(trial)
        if name in self.fresh and result["step"] > 0:  # step 0 is the base's evaluation
            self._say(f"{name}  continues after step {result['step'] - 1}")
        self.fresh.discard(name)
        if "eval/accuracy" in result and not self.live.is_started:
            found = self.look.record(name)
            if found is not None and found.last >= result["step"]:
                self._say(screen.told(name, found, result["step"]))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if self.live.is_started:
            return  # the screen counts it
        seen, name = self.look(), self._name(trial)
        if name in {shown.line(row.job.trial) for row in seen.of(FINISHED)}:  # and was not stopped
            self._say(f"{name}  finished; {screen.headline(seen)}; {seen.counts}")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Nothing: `sweeps.schedule` says why, and what is done about it."""

    def _draw(self) -> None:
        began = time.monotonic()
        self.live.update(drawn(self.look(), self.console), refresh=True)
        now = time.monotonic()
        self.due = now + max(LOOK_S, (now - began) / LOOK_SHARE)

    def _interrupt(self, number: int, frame: Any) -> None:
        self.interrupted = True
        if callable(self.tunes):
            self.tunes(number, frame)  # stops the trials, and lets a second Ctrl-C end this process

    def _name(self, trial: Any) -> str:
        return shown.line(self.trials[trial.config["job"]])

    def _say(self, words: str) -> None:
        self.console.print(words)


def drawn(seen: Seen, console: Console) -> Group:
    """The screen: a bar of the sweep, a line per running trial, and what became of the others."""
    running = seen.of(RUNNING)
    fit = max(1, console.height - BESIDE)
    rows = screen.lines(running[:fit], console.width)
    more = [f"and {len(running) - fit} more"] if len(running) > fit else []
    texts = [
        _bar(seen, console.width, console.no_color or not console.color_system),
        *map(Text, (*rows, *more, seen.counts)),
    ]
    for text in texts:
        text.truncate(console.width, overflow="ellipsis")
    return Group(*texts)


def _bar(seen: Seen, width: int, plain: bool) -> Text:
    """`plain`: without colours what is left of it is another character."""
    filled = round(BAR * seen.share)
    about = "" if seen.left is None else f"  about {spoken(seen.left)} left"
    name = shown.shortened(seen.name, max(screen.NARROWEST, width - BAR - len(about) - 8))
    bar = Text(f"{shown.line(name)}  ")
    bar.append("━" * filled, style="green")
    bar.append(("┈" if plain else "━") * (BAR - filled), style="bright_black")
    return bar.append(f"  {percent(seen.share):>4}{about}")
