"""A variant's search under Ray Tune: the searcher, the scheduler and the trial.

What concurrency does to reproducibility. A trial is a function of its config and seed, whatever
runs beside it. Proposals are as `sweeps.proposals` says. ASHA is asynchronous: a trial that reaches
a rung is compared with those that were there before it, so that who is stopped depends on how fast
trials run, and two runs of one tuning may stop different ones, and find different values. The
record says what happened; what is claimed rests on the confirmation. `sweep.scheduler=fifo` leaves
nothing to time, and one trial at a time neither.
"""

import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from harness.config import TrialConfig, trial_name
from harness.errors import Stopped
from harness.launch import bundle, run_trial
from harness.machine import shown
from harness.machine.cluster import check_alive
from harness.stages import Goal, Scheduler
from sweeps.journal import Journal, State
from sweeps.search import Search, by_scheduler

OBJECTIVE, PROGRESS = "objective", "progress"
MODES = {Goal.MAX: "max", Goal.MIN: "min"}


@dataclass(frozen=True)
class Box:
    """A trial's config on its way through Tune, which would print all of it."""

    config: TrialConfig

    def __repr__(self) -> str:
        return trial_name(self.config)


@dataclass(frozen=True)
class Past:
    """A trial of an earlier process, for a scheduler that has to know its evaluations."""

    trial_id: str


class Halving(ASHAScheduler):  # type: ignore[misc]
    """ASHA that writes down whom it stops, and knows what happened before it was made."""

    def __init__(self, search: Search) -> None:
        opened = search.attempt.opened
        self.search = search
        super().__init__(
            time_attr=PROGRESS,
            metric=OBJECTIVE,
            mode=MODES[opened.goal],
            max_t=1.0,
            grace_period=opened.grace,
            reduction_factor=opened.reduction,
            stop_last_trials=False,
        )
        for (variant, number), ended in search.attempt.ended.items():
            if variant == search.variant and ended.state is not State.REPEATED:
                self.replay(f"past {number}", number)

    def replay(self, trial_id: str, number: int) -> None:
        """Enter into the rungs what a trial has recorded so far."""
        past = Past(trial_id)
        super().on_trial_add(None, past)
        for progress, value in self.search.evaluations(number):
            if progress < 1:
                super().on_trial_result(None, past, {PROGRESS: progress, OBJECTIVE: value})

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.search.stop(trial.config["job"])
        return decision


class Proposing(Searcher):  # type: ignore[misc]
    """Tune's view of a search."""

    def __init__(self, search: Search, scheduler: Any) -> None:
        super().__init__()
        self.search = search
        self.scheduler = scheduler
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        number = self.search.next()
        if number is None:
            return None if self.search.left else Searcher.FINISHED
        if isinstance(self.scheduler, Halving):
            self.scheduler.replay(trial_id, number)  # nothing, unless it continues
        self.numbers[trial_id] = number
        return {"job": number, "trial": Box(self.search.started[number])}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.search.end(self.numbers[trial_id], error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search continues from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved."""


class Lines(tune.Callback):  # type: ignore[misc]
    """A line for each trial that ends; `python -m sweeps status` shows those under way."""

    def __init__(self, search: Search, console: Console) -> None:
        self.search = search
        self.console = console

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks to restore a sweep, which we never ask it to."""
        return {}

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        check_alive()  # Tune calls this ten times a second

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._tell(trial.config["job"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._tell(trial.config["job"])

    def _tell(self, number: int) -> None:
        attempt, variant = self.search.attempt, self.search.variant
        ended = attempt.ended.get((variant, number))
        if ended is None:
            return  # interrupted
        done = sum(label == variant for label, _ in attempt.ended)
        measured = "" if ended.value is None else f", {attempt.opened.metric} {ended.value:.4g}"
        why = f": {shown.line(ended.reason)}" if ended.reason else ""
        self.console.print(
            f"{variant} #{number}  {ended.state.value} at {ended.progress:.0%} of the budget"
            f"{measured}{why}; {done} of {attempt.opened.trials} have ended"
        )


def run_search(search: Search, console: Console) -> None:
    """Run a variant's trials until all have ended, or the driver is interrupted."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    storage = search.runs / "tune"
    name = search.journal.path.parent.name
    scheduler: Any = FIFOScheduler()
    if search.attempt.opened.scheduler is Scheduler.ASHA:
        scheduler = Halving(search)
    told = {"journal": search.journal.path, "variant": search.variant}
    told["metric"] = search.attempt.opened.metric
    first = search.compose({each.key: each.ends[0] for each in search.space})
    shutil.rmtree(storage / name, ignore_errors=True)
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, **told), _reserved),
            param_space={},
            tune_config=tune.TuneConfig(
                search_alg=Proposing(search, scheduler),
                scheduler=scheduler,
                num_samples=search.attempt.opened.trials,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(storage),
                failure_config=tune.FailureConfig(max_failures=first.ray.retries),
                callbacks=[Lines(search, console)],
                verbose=0,
            ),
        ).fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


def _reserved(config: dict[str, Any]) -> Any:
    """One rank is the trial itself; several are children of a trial that reserves nothing."""
    job: TrialConfig = config["trial"].config
    ranks = [bundle(job)] * job.trainer.ranks
    return tune.PlacementGroupFactory(ranks if len(ranks) == 1 else [{}, *ranks])


def _trial(config: dict[str, Any], journal: Path, variant: str, metric: str) -> None:
    """One Tune trial: one harness trial in a process of its own."""
    job: TrialConfig = config["trial"].config

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        shown = {key: metrics[key] for key in ("eval/accuracy",) if key in metrics}
        value = metrics.get(metric, math.nan)
        if step > 0 and progress < 1 and math.isfinite(value):  # nobody is stopped at the end
            shown[OBJECTIVE] = value
        try:
            tune.report({"step": step, PROGRESS: progress, **shown})
        except SystemExit as end:
            if not _stopped(journal, variant, config["job"]):
                raise  # Ctrl-C: the same command continues
            raise Stopped(by_scheduler(progress)) from end

    run_trial(job, observe)


def _stopped(journal: Path, variant: str, number: int) -> bool:
    ended = Journal(journal).attempts[-1].ended.get((variant, number))
    return ended is not None and ended.state is State.STOPPED
