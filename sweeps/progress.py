"""What a person sees while a sweep runs: a bar per running trial and one for the whole."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ray import tune
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.machine import shown
from harness.machine.cluster import check_alive


class Watch(tune.Callback):  # type: ignore[misc]
    """Draws progress from what the trials report; without a terminal, a line per evaluation."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self.names = [shown.line(name) for name in names]
        self.console = console
        self.shares = dict.fromkeys(self.names, 0.0)
        self.bars: dict[str, Any] = {}
        self.starting: set[str] = set()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.whole = self.progress.add_task("all trials", total=len(names), note="")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks to restore a sweep, which we never ask it to."""
        return {}

    def __enter__(self) -> "Watch":
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        check_alive()  # Tune calls this ten times a second

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        name = self._name(trial)
        self.starting.add(name)
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=1.0, note="starting")

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        name = self._name(trial)
        if name in self.starting and result["step"] > 0:  # step 0 is the base's evaluation
            self.progress.console.print(f"{name}  continues after step {result['step'] - 1}")
        self.starting.discard(name)
        self._move(name, result["progress"])
        if "eval/accuracy" in result:
            note = f"held-out accuracy {result['eval/accuracy']:.3f}"
            self.progress.update(self.bars[name], note=note)
            if not self.console.is_terminal:
                self.console.print(f"{name}  step {result['step']:>5}  {note}")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._move(self._name(trial), 1.0)
        self.progress.console.print(f"{self._name(trial)}  finished")
        self._remove(trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.progress.console.print(f"{self._name(trial)}  failed")
        self._remove(trial)

    def _name(self, trial: Any) -> str:
        return str(self.names[trial.config["job"]])

    def _move(self, name: str, share: float) -> None:
        self.shares[name] = share
        self.progress.update(self.bars[name], completed=share)
        self.progress.update(self.whole, completed=sum(self.shares.values()))

    def _remove(self, trial: Any) -> None:
        self.progress.remove_task(self.bars.pop(self._name(trial)))
