"""Run jobs as Ray Tune trials, one process each, as many at a time as there are cores."""

import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig, trial_name

# Read by Ray and Tune when they are imported or started; a user's own setting wins.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no report leaves the machine
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a trial writes where the command was started
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record is MLflow's
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning about trials without a GPU
    "RAY_AIR_NEW_OUTPUT": "0",  # the display is ours
}


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
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    import ray

    # A failed trial's traceback stands in its own log; the driver shows one line of it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    ray.init(
        address=jobs[0].ray.address,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}},
    )
    try:
        results = _tuner(jobs, runs / "tune", name, watch).fit()
        return [
            Failure(trial_name(jobs[result.config["job"]]), _last_line(result.error))
            for result in results
            if result.error is not None
        ]
    finally:
        ray.shutdown()
        shutil.rmtree(runs / "tune" / name, ignore_errors=True)


def _tuner(jobs: Sequence[TrialConfig], storage: Path, name: str, watch: Any) -> Any:
    """A Tuner over job numbers; Tune knows nothing else of a trial."""
    from ray import tune

    shutil.rmtree(storage / name, ignore_errors=True)
    resources = {"cpu": jobs[0].ray.cpus_per_trial}
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, jobs=list(jobs)), resources),
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

    from harness.trial import run_trial

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        shown = {key: metrics[key] for key in ("eval/accuracy",) if key in metrics}
        tune.report({"step": step, "progress": progress, **shown})

    run_trial(jobs[config["job"]], observe)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
