"""What a person sees of a single run: evaluations, the time of a step, a bar over the budget."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console

from harness.machine.progress import Unit, Wait, shown_on, spoken, waiting

# What a step's seconds go into; other stages take no time to speak of.
STAGES = {
    "timing_s/gen": "sampling",
    "timing_s/reference": "the base's own responses",
    "timing_s/old_log_prob": "log-probs",
    "timing_s/update_actor": "learning",
    "timing_s/update_weights": "handing the weights over",
    "timing_s/testing": "evaluating",
}
# Of a step that takes longer it is said how long.
SLOW_S = 10.0


class View:
    """Shows a trial on a console while it runs."""

    def __init__(self, console: Console, name: str) -> None:
        self.console = console
        self.name = name
        self.steps = 0
        self.timed = False
        self.open = ExitStack()
        self.budget: Wait | None = None

    def __enter__(self) -> "View":
        self.open.enter_context(shown_on(self.console))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open.__exit__(kind, error, trace)

    def observe(self, step: int, progress: float, metrics: Mapping[str, float]) -> None:
        """Take in a recorded step; called as harness.trial.Observer says."""
        if self.steps == 0:
            self.console.print(f"trial {self.name}")
        self.steps += 1
        if "eval/accuracy" in metrics:
            self.console.print(
                f"step {step:>5}  {progress:>4.0%} of the budget   held-out accuracy "
                f"{metrics['eval/accuracy']:.3f}   response length "
                f"{metrics['eval/response_length/mean']:.1f}   "
                f"KL to base {metrics['eval/kl']:.3f}"
            )
        if not self.timed and metrics.get("timing_s/step", 0.0) >= SLOW_S:
            self.timed = True
            self.console.print(f"step {step:>5}  took {_times(metrics)}")
        self._move(progress)

    def _move(self, progress: float) -> None:
        """The budget's bar; a resumed trial's rate is that of what this process does of it."""
        if self.budget is None:
            if progress < 1:
                wait = waiting(Unit.SHARE, "training", "", 1 - progress)
                self.budget = self.open.enter_context(wait)
            return
        self.budget.advance(self.budget.total - (1 - progress) - self.budget.done)


def _times(metrics: Mapping[str, float]) -> str:
    """The seconds of a step, and of its stages in the order of their size."""
    parts = sorted(((metrics.get(key, 0.0), words) for key, words in STAGES.items()), reverse=True)
    said = ", ".join(f"{words} {spoken(s)}" for s, words in parts if s >= 0.5)
    return f"{spoken(metrics['timing_s/step'])}: {said}"
