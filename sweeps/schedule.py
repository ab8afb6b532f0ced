"""Run jobs as Ray Tune trials, one process each, as many at a time as there are cores."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig, trial_name
from harness.launch import bundle, run_trial
from harness.machine.cluster import ray_cluster


@dataclass(frozen=True)
class Failure:
    """A trial that did not finish."""

    trial: str
    reason: str


def run_jobs(jobs: Sequence[TrialConfig], runs: Path, name: str, watch: Any) -> list[Failure]:
    """Run every job to its end; crashed ones are started again as often as ray.retries says.

    Args:
        jobs: in the order in which they are to start.
        runs: absolute output folder.
        name: of the sweep, for Tune's own folder.
        watch: a tune.Callback that shows progress.

    Returns:
        The trials that did not finish, each with the last line of its error.
    """
    # A failed trial's traceback stands in its own log; the driver shows one line of it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with ray_cluster(jobs[0].ray.address):
            results = _tuner(jobs, runs / "tune", name, watch).fit()
            return [
                Failure(trial_name(jobs[result.config["job"]]), last_line(result.error))
                for result in results
                if result.error is not None
            ]
    finally:
        shutil.rmtree(runs / "tune" / name, ignore_errors=True)


def _tuner(jobs: Sequence[TrialConfig], storage: Path, name: str, watch: Any) -> Any:
    """A Tuner over job numbers; Tune knows nothing else of a trial."""
    from ray import tune

    shutil.rmtree(storage / name, ignore_errors=True)

    def reserved(config: dict[str, int]) -> Any:
        """One rank is the trial itself; several are children of a trial that reserves nothing."""
        job = jobs[config["job"]]
        ranks = [bundle(job)] * job.trainer.ranks
        return tune.PlacementGroupFactory(ranks if len(ranks) == 1 else [{}, *ranks])

    return tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, jobs=list(jobs)), reserved),
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=jobs[0].ray.retries),
            callbacks=[watch],
            verbose=0,
        ),
    )


def _trial(config: dict[str, int], jobs: Sequence[TrialConfig]) -> None:
    """One Tune trial: one harness trial in a process of its own."""
    from ray import tune

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        shown = {key: metrics[key] for key in ("eval/accuracy",) if key in metrics}
        tune.report({"step": step, "progress": progress, **shown})

    run_trial(jobs[config["job"]], observe)


def last_line(error: BaseException) -> str:
    from ray.exceptions import RayActorError

    if isinstance(error, RayActorError):  # no error of its own: somebody or something ended it
        return (
            f"its process ended by itself or was killed ({type(error).__name__}): os._exit, "
            f"os.abort or a crash in a plug-in, or no memory left"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
