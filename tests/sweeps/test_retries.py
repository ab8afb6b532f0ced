"""Which job comes next, and what is done about one that fails."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle

from harness import standing
from harness.config import trial_name
from harness.errors import (
    CollapsedError,
    ConfigError,
    ContractError,
    DivergedError,
    EngineError,
    GraderError,
    PlugInError,
    RankError,
    StalledError,
    StoreError,
)
from harness.machine import files
from harness.tracking.record import LOCK, Status, read
from harness.trial import trial_folder
from sweeps import retries as module
from sweeps.retries import Failure, Retries, Start, certain
from sweeps.schedule import _Policy
from tests.sweeps.test_plan import planned


class Clock:
    """A monotonic clock that is moved by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_a_failed_job_waits_twice_as_long_each_time_and_never_longer_than_the_limit(
    clock: Clock,
) -> None:
    """50 2^(k-1): 50, 100, 200, then 400 is more than the limit of 300; the sixth is its last."""
    jobs = Retries(count=1, most=5, first_s=50)
    assert jobs.next() == Start(0, 0.0, attempt=1)
    for attempt, wait_s in enumerate((50.0, 100.0, 200.0, 300.0, 300.0), 2):
        assert jobs.failed(0, certain=False) == wait_s
        clock.now += 10
        assert jobs.next() == Start(0, wait_s - 10, attempt)
        assert jobs.next() is None
        assert not jobs.over, "it may fail again"
    assert jobs.failed(0, certain=False) is None
    assert jobs.over


def test_fresh_jobs_go_first_until_a_failed_one_is_due(clock: Clock) -> None:
    jobs = Retries(count=5, most=1, first_s=30)
    assert [jobs.next(), jobs.next()] == [Start(0, 0.0, 1), Start(1, 0.0, 1)]
    jobs.failed(0, certain=False)
    clock.now += 20
    jobs.failed(1, certain=False)
    assert jobs.next() == Start(2, 0.0, 1)
    clock.now += 10  # the first is due now, the second in 20 s
    assert [jobs.next(), jobs.next(), jobs.next()] == [
        Start(0, 0.0, 2), Start(3, 0.0, 1), Start(4, 0.0, 1),
    ]  # fmt: skip
    assert jobs.next() == Start(1, 20.0, 2)
    for job in range(5):
        assert not jobs.over
        jobs.finished(job)
    assert jobs.over


def test_a_certain_failure_is_not_tried_again_and_fail_fast_ends_all(clock: Clock) -> None:
    jobs = Retries(count=3, most=4, first_s=1, fail_fast=True)
    jobs.next(), jobs.next()
    assert jobs.failed(0, certain=False) == 1.0
    assert not jobs.stopped, "it has not failed for good"
    assert jobs.failed(1, certain=True) is None
    assert jobs.stopped
    assert jobs.over
    assert jobs.next() is None


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConfigError("x"), True),
        (ContractError("reward mine.Nan: score returned NaN"), True),
        (DivergedError("x"), True),
        (CollapsedError("x"), True),
        (PlugInError("reward mine.Remote: score raised ConnectionError"), False),
        (StalledError("x"), False),
        (GraderError("x"), False),
        (EngineError("x"), False),
        (RankError("x"), False),
        (StoreError("x"), False),
        (OSError("no room"), False),
        (None, False),
    ],
)
def test_what_is_certain_to_come_again(error: BaseException | None, again: bool) -> None:
    assert certain(error) is again


# --- what is said and kept of it ------------------------------------------------------------------


def failed_with(error: BaseException, folder: Path) -> Any:
    """Tune's trial of the first job, as it is when the error has ended it."""
    path = folder / "error.pkl"
    path.write_bytes(cloudpickle.dumps(error))
    return SimpleNamespace(config={"job": 0}, pickled_error_file=str(path))


def test_what_is_done_about_a_failure_is_said_once_and_kept(tmp_path: Path) -> None:
    (job,) = planned("name=one", "algorithm=grpo", "seed=0", f"runs={tmp_path}").jobs
    said: list[str] = []
    policy = _Policy([job], Retries(count=1, most=1, first_s=5.0), said.append)
    trial = failed_with(ValueError("a\nlast [b]line"), tmp_path)
    policy.on_trial_error(0, [], trial)
    assert read(trial_folder(job)) is None, "it will have another attempt"
    policy.on_trial_error(0, [], trial)
    name = trial_name(job)
    assert said == [
        f"{name}  failed: last [b]line; it starts again in 5 s, attempt 2 of 2",
        f"{name}  failed: last [b]line",
    ]
    assert policy.failures == [Failure(name, "last [b]line")]
    kept = read(trial_folder(job))
    assert kept is not None
    assert (kept.status, kept.error) == (Status.FAILED, "last [b]line")


def test_fail_fast_and_warnings_are_said(tmp_path: Path) -> None:
    (job,) = planned("name=one", "algorithm=grpo", "seed=0", f"runs={tmp_path}").jobs
    said: list[str] = []
    policy = _Policy([job], Retries(count=1, most=0, first_s=5.0, fail_fast=True), said.append)
    trial = failed_with(ValueError("no"), tmp_path)
    policy.on_trial_result(0, [], trial, {"step": 3, "warnings": ["all rewards are 0"]})
    policy.on_trial_error(0, [], trial)
    assert said == [
        f"{trial_name(job)}  warning: all rewards are 0",
        f"{trial_name(job)}  failed: no; sweep.fail_fast=true ends the sweep",
    ]


def test_a_record_that_a_process_still_writes_is_said_and_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that cannot be killed, such as one that waits for a disk, keeps its lock."""
    monkeypatch.setattr(standing, "LOCK_WAIT_S", 0.0)
    (job,) = planned("name=one", "algorithm=grpo", "seed=0", f"runs={tmp_path}").jobs
    said: list[str] = []
    policy = _Policy([job], Retries(count=1, most=0, first_s=0.0), said.append)
    with files.locked(trial_folder(job) / LOCK, 0):
        policy.on_trial_error(0, [], failed_with(ValueError("no"), tmp_path))
    assert "is in use by another process" in said[0]
    assert said[1] == f"{trial_name(job)}  failed: no"
    assert len(policy.failures) == 1
