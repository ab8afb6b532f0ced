"""What a sweep costs beside its trials: `python -m tests.benchmarks sweep [--trials N]` (minutes).

From the command to the record of the first optimizer step, with everything cached, of a single run
and of a sweep of two; of a small job, since what is measured is the start and not the base's
evaluation. Two trials at once beside one after the other. N trials that do nothing, beside a bare
Tuner's in the same process by turns, and what the driver's memory does meanwhile. Seconds of the
clock: only on a machine that does nothing else do they mean something.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from harness.__main__ import use_sweeper_plugin
from harness.cli import composed
from harness.config import TrialConfig
from harness.machine.cluster import ray_cluster, set_environment
from harness.tracking import record
from tests.benchmarks import resident
from tests.benchmarks.verdict import Found, Ratio, quotient

QUICK = False
ROOT = Path(__file__).resolve().parents[2]
FIRST_S = {"a single run": 12.0, "a sweep": 30.0}
"""Seconds from the command to the first optimizer step."""
AT_ONCE, NOTHING, FLAT = 0.60, 1.3, 1.1
LIMIT_S, LOOK_S = 900.0, 0.02
TRIALS, TURNS = 200, 2
"""Trials that do nothing, of each side; turns in which they are run."""
GRID = ("-m", "seed=0,1", "name=bench")
SHORT = (
    *("model.warm_up.steps=400", "task.train_size=128", "task.eval_size=48", "budget.amount=20"),
    *("trainer.prompts_per_step=8", "evaluation.pass_k=0", "tracking=none"),
)


def command(runs: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """`python -m harness` in a process of its own, with one thread."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-m", "harness", *arguments, f"runs={runs}"]
    return subprocess.Popen(
        asked, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def records(runs: Path) -> list[record.Record]:
    """Of all trials in a folder."""
    folders = sorted((runs / "checkpoints").glob("*__s*"))
    return [found for folder in folders if (found := record.read(folder)) is not None]


def first_step(runs: Path, *arguments: str) -> float:
    """Seconds until a trial has recorded its first optimizer step; then the command is ended."""
    shutil.rmtree(runs / "checkpoints", ignore_errors=True)
    began, started = time.time() * 1000, time.monotonic()
    process = command(runs, *arguments)
    try:
        while time.monotonic() - started < LIMIT_S and process.poll() is None:
            steps = [found.steps[1].time_ms for found in records(runs) if 1 in found.steps]
            if steps:
                return (min(steps) - began) / 1000
            time.sleep(LOOK_S)
    finally:
        process.terminate()
        process.wait()
    raise RuntimeError(f"no optimizer step: {process.args!r}")


def starts(runs: Path, repeats: int) -> Found:
    """Seconds to the first step, of what is allowed."""
    command(runs, *SHORT).wait()  # fills every cache
    found = []
    for (what, limit), arguments in zip(FIRST_S.items(), ((), GRID), strict=True):
        seconds = [first_step(runs, *arguments, *SHORT) for _ in range(repeats)]
        name = f"command to first optimizer step, {what} / {limit:g} s"
        found.append(quotient(name, {what: seconds, "allowed": [limit]}, most=1.0, unit="s"))
    return Found(tuple(found))


def spent(runs: Path, *arguments: str) -> float:
    """Seconds from the first trial's start to the last one's end."""
    shutil.rmtree(runs / "checkpoints", ignore_errors=True)
    shutil.rmtree(runs / "sweeps", ignore_errors=True)
    if code := command(runs, *GRID, *SHORT, *arguments).wait():
        raise RuntimeError(f"two trials ended with exit code {code}")
    found = records(runs)
    ends = [one.ended_ms or 0 for one in found]
    return (max(ends) - min(one.started_ms or 0 for one in found)) / 1000


def at_once(runs: Path, repeats: int) -> Found:
    """Two trials on two cores, or each with both cores for itself; by turns."""
    cores = os.cpu_count() or 1
    sides: dict[str, list[float]] = {"at once": [], "one after the other": []}
    spent(runs)  # makes the base model
    for _ in range(repeats):
        for side, cpus in zip(sides, (max(1, cores // 2), cores), strict=True):
            sides[side].append(spent(runs, f"ray.cpus_per_rank={cpus}"))
    return Found((quotient("two trials at once / one after the other", sides, most=AT_ONCE),))


class Counted:
    """Times of a Tuner's first start and last end, and the driver's memory at each end."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.mib: list[float] = []

    def started(self) -> None:
        self.began = self.began or time.perf_counter()

    def finished(self) -> None:
        self.ended = time.perf_counter()
        self.mib.append(resident.mib(resident.NOW))


def nothing(config: dict[str, Any], **given: Any) -> None:
    """A trial."""


def told_to(counted: Counted) -> Any:
    """A callback of Tune's."""
    from ray import tune

    class Told(tune.Callback):  # type: ignore[misc]
        def __getstate__(self) -> dict[str, Any]:
            return {}

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            counted.started()

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            counted.finished()

    return Told()


def ours(jobs: Sequence[TrialConfig], folder: Path, counted: Counted) -> None:
    """The sweep's own way to run jobs, with trials that do nothing."""
    from sweeps import schedule

    with mock.patch.object(schedule, "_trial", nothing):
        failures = schedule.run_jobs(jobs, folder, "bench", told_to(counted), print)
    if failures:
        raise RuntimeError(f"{len(failures)} trials failed: {failures[0]}")


def bare(jobs: Sequence[TrialConfig], folder: Path, counted: Counted) -> None:
    """A Tuner of Ray's over as many numbers."""
    from ray import tune

    with ray_cluster(None):
        tune.Tuner(
            tune.with_resources(nothing, {"cpu": 1}),
            param_space={"job": tune.grid_search(list(range(len(jobs))))},
            run_config=tune.RunConfig(
                name="bare", storage_path=str(folder), callbacks=[told_to(counted)], verbose=0
            ),
        ).fit()


def of_nothing(config: TrialConfig, folder: Path, trials: int) -> Found:
    """Seconds per trial of both, by turns, and the driver's memory over ours."""
    each = trials // TURNS
    jobs = [dataclasses.replace(config, seed=seed) for seed in range(each)]
    sides: dict[str, Callable[..., None]] = {"sweep": ours, "bare Tuner": bare}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    mib: list[float] = []
    for turn in range(TURNS):
        for side, run in list(sides.items())[:: -1 if turn % 2 else 1]:
            counted = Counted()
            run(jobs, folder, counted)
            seconds[side].append((counted.ended - counted.began) / each)
            mib += counted.mib if side == "sweep" else []
    quarter = each // 4  # by then Tune has made what it needs once
    name = "driver's memory, after the last trial / after a quarter of them"
    return Found(
        (
            quotient(
                f"{each} x {TURNS} trials that do nothing, per trial",
                seconds,
                most=NOTHING,
                unit="s",
            ),
            Ratio(
                name,
                mib[each - 1] / mib[quarter],
                most=FLAT,
                sides={"last": [mib[each - 1]], "quarter": [mib[quarter]]},
                unit="MiB",
            ),
        )
    )


def measure(arguments: Sequence[str]) -> Iterator[Found]:
    """All of it, in a folder that is thrown away."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks sweep")
    parser.add_argument("--trials", type=int, default=TRIALS, help="that do nothing, of each side")
    parser.add_argument("--repeats", type=int, default=3, help="of each start and each pair")
    asked = parser.parse_args(arguments)
    set_environment()
    use_sweeper_plugin()
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        yield of_nothing(composed(()), folder / "nothing", asked.trials)
        yield starts(folder / "starts", asked.repeats)
        yield at_once(folder / "pairs", asked.repeats)
