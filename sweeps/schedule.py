"""Run jobs as Ray Tune trials, one process each, as many at a time as there are cores.

Tune starts, places and ends; which job comes next, and whether a failed one does again, is ours
(sweeps.retries): Tune starts a failed trial again at once, whatever it died of.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.search import Searcher

from harness import standing
from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError
from harness.launch import bundle, run_trial
from harness.machine import shown
from harness.machine.cluster import ray_cluster
from harness.machine.progress import spoken
from harness.machine.stall import ended_by
from harness.tracking.record import warnings_after
from harness.trial import trial_folder
from sweeps.retries import Failure, Retries, certain


def run_jobs(
    jobs: Sequence[TrialConfig], runs: Path, name: str, watch: Any, say: Callable[[str], None]
) -> list[Failure]:
    """Run every job to its end; failed ones are started again as often as ray.retries says.

    Args:
        jobs: in the order in which they are to start.
        runs: absolute output folder.
        name: of the sweep, for Tune's own folder.
        watch: a tune.Callback that shows progress.
        say: shows the user one line.

    Returns:
        The trials that failed for good, each with the last line of its error.
    """
    # A failed trial's traceback stands in its own log; the driver shows one line of it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    settings = jobs[0].ray
    fail_fast = jobs[0].sweep.fail_fast
    retries = Retries(len(jobs), settings.retries, settings.retry_seconds, fail_fast)
    policy = _Policy(jobs, retries, say)
    try:
        with ray_cluster(settings.address):
            _tuner(jobs, runs / "tune", name, [watch, policy], retries).fit()
    finally:
        shutil.rmtree(runs / "tune" / name, ignore_errors=True)
    return policy.failures


def _tuner(
    jobs: Sequence[TrialConfig], storage: Path, name: str, callbacks: list[Any], retries: Retries
) -> Any:
    """A Tuner over job numbers; Tune knows nothing else of a trial."""
    shutil.rmtree(storage / name, ignore_errors=True)

    def reserved(config: dict[str, Any]) -> Any:
        """One rank is the trial itself; several are children of a trial that reserves nothing."""
        job = jobs[config["job"]]
        ranks = [bundle(job)] * job.trainer.ranks
        return tune.PlacementGroupFactory(ranks if len(ranks) == 1 else [{}, *ranks])

    return tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, jobs=list(jobs)), reserved),
        tune_config=tune.TuneConfig(
            search_alg=_Next(retries), num_samples=len(jobs) * (1 + retries.most)
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=callbacks,
            stop=_Stopped(retries),
            verbose=0,
        ),
    )


def _trial(config: dict[str, Any], jobs: Sequence[TrialConfig]) -> None:
    """One Tune trial: one harness trial in a process of its own."""
    job = jobs[config["job"]]
    seen = 0

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        nonlocal seen
        warned, seen = warnings_after(trial_folder(job), seen)
        shown: dict[str, Any] = {"warnings": warned} if warned else {}
        shown |= {key: metrics[key] for key in ("eval/accuracy",) if key in metrics}
        tune.report({"step": step, "progress": progress, **shown})

    _, seen = warnings_after(trial_folder(job), seen)
    time.sleep(config["wait_s"])
    run_trial(job, observe)


class _Next(Searcher):  # type: ignore[misc]
    """The next job, for Tune."""

    def __init__(self, retries: Retries) -> None:
        super().__init__()
        self.retries = retries

    def suggest(self, trial_id: str) -> Any:
        start = self.retries.next()
        if start is None:
            return Searcher.FINISHED if self.retries.over else None
        return {"job": start.job, "wait_s": start.wait_s, "attempt": start.attempt}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: `_Policy` is told the same, with the error."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune saves a search to restore a sweep, which we never ask it to."""

    def restore(self, checkpoint_path: str) -> None:
        """Never asked for."""


class _Stopped(tune.Stopper):  # type: ignore[misc]
    """Whether the sweep ends before its trials do."""

    def __init__(self, retries: Retries) -> None:
        self.retries = retries

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.retries.stopped


class _Policy(tune.Callback):  # type: ignore[misc]
    """What is done about a trial that ends."""

    def __init__(
        self, jobs: Sequence[TrialConfig], retries: Retries, say: Callable[[str], None]
    ) -> None:
        self.jobs = jobs
        self.retries = retries
        self.say = say
        self.failures: list[Failure] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks to restore a sweep, which we never ask it to."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        for words in result.get("warnings", []):
            self._say(self.jobs[trial.config["job"]], f"warning: {shown.line(words)}")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.retries.finished(trial.config["job"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        number, error = trial.config["job"], _error_of(trial)
        job = self.jobs[number]
        name, reason = trial_name(job), shown.line(_reason(error, job))
        wait_s = self.retries.failed(number, certain(getattr(error, "cause", error)))
        if wait_s is not None:
            attempt = f"attempt {self.retries.failures[number] + 1} of {self.retries.most + 1}"
            self._say(job, f"failed: {reason}; it starts again in {spoken(wait_s)}, {attempt}")
            return
        try:
            standing.failed(job, trial_folder(job), reason)
        except ConfigError as busy:  # what cannot be killed may hold it: the others go on
            self._say(job, f"its record stays open: {busy}")
        self.failures.append(Failure(name, reason))
        end = "; sweep.fail_fast=true ends the sweep" if self.retries.stopped else ""
        self._say(job, f"failed: {reason}{end}")

    def _say(self, job: TrialConfig, words: str) -> None:
        self.say(f"{shown.line(trial_name(job))}  {words}")


def _error_of(trial: Any) -> BaseException | None:
    """The error that ended a trial, on the driver's disk; Tune's own way looks in its storage."""
    path = trial.pickled_error_file
    if path is None:
        return None
    error: BaseException = cloudpickle.loads(Path(path).read_bytes())
    return error


def _reason(error: BaseException | None, job: TrialConfig) -> str:
    """The last line of an error, or what is known of a process that left none."""
    from ray.exceptions import RayActorError

    if isinstance(error, RayActorError):
        if stalled := ended_by(trial_folder(job)):
            return str(stalled)
        return (
            f"its process ended by itself or was killed ({type(error).__name__}): os._exit, "
            f"os.abort or a crash in a plug-in, or no memory left"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
