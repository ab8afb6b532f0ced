"""Trials with planted faults, from the command line: what ends them, what they say and leave."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.tracking.record import Record, Status, read
from tests.conftest import ROOT, SMALL, Here, command
from tests.sweeps.test_sweep import runs_of

PLANTED = '''
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.rewards.binary import Binary
from harness.rollout.transformers import Transformers
from harness.types import Scores


@dataclass(frozen=True)
class Reward(Binary):
    """1 for each right response, until a file says otherwise."""

    def score(self, graded):
        fault = Path("fault")
        what = fault.read_text() if fault.exists() and graded.step >= 2 else ""
        if what == "raise":
            raise ConnectionError("nobody answers")
        if what == "sleep" and torch.distributed.get_rank() == 1:
            time.sleep(600)
        scores = torch.tensor([float(grade.correct) for grade in graded.grades]).double()
        if what == "nan":
            scores[0] = float("nan")
        return Scores(rewards=scores * 0 if what == "equal" else scores)


class Stuck:
    """An engine whose second step never comes."""

    def __init__(self, engine):
        self.engine = engine

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def generate(self, requests, sampling, stream):
        while stream.name == "rollout" and stream.step >= 1:
            time.sleep(0.1)
        return self.engine.generate(requests, sampling, stream)


@dataclass(frozen=True)
class Sampled(Transformers):
    """The harness's sampler, stuck."""

    def engine(self, *given):
        return Stuck(super().engine(*given))
'''
QUICK = (*SMALL, "budget.amount=4", "evaluation.every=1", "evaluation.pass_k=0")
MINE = "reward._target_=planted_faults.Reward"


@pytest.fixture
def planted(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the module `planted_faults` on the path."""
    (work / "mine").mkdir()
    (work / "mine" / "planted_faults.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(work / "mine")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(work / "mine")]))
    return work


def record_of(work: Path) -> Record:
    (folder,) = (work / "runs" / "checkpoints").iterdir()
    found = read(folder)
    assert found is not None
    return found


def copy_of(work: Path) -> Any:
    (run,) = runs_of(work, "trials")
    return run


def test_a_nan_at_a_step_fails_the_trial_which_then_goes_on_from_its_checkpoint(
    planted: Path, here: Here
) -> None:
    """Steps 1 and 2 are made; the reward of the third is NaN. Mended, attempt 2 makes the rest."""
    (planted / "fault").write_text("nan")
    failed = here(*QUICK, MINE)
    line = "error: reward planted_faults.Reward: score returned NaN for 1 of 32 responses at step 2"
    assert (failed.returncode, failed.stderr) == (1, f"{line}\n")
    record = record_of(planted)
    assert (record.status, record.last, record.attempts) == (Status.FAILED, 2, 1)
    assert record.error == f"ContractError: {line.removeprefix('error: ')}"
    assert copy_of(planted).info.status == "FAILED"
    before = record.steps[2]
    (planted / "fault").unlink()
    done = here(*QUICK, MINE)
    assert (done.returncode, done.stderr) == (0, "")
    record = record_of(planted)
    assert (record.status, record.last, record.attempts) == (Status.FINISHED, 4, 2)
    assert record.steps[2] == before
    run = copy_of(planted)
    assert (run.info.status, run.data.tags["attempt"]) == ("FINISHED", "2")


def test_a_collapse_is_warned_of_once_and_stops_a_trial_that_asks_for_it(
    planted: Path, here: Here
) -> None:
    """The rewards of steps 3 to 6 are all 0; a sign must last for two steps."""
    (planted / "fault").write_text("equal")
    request = (*QUICK, MINE, "budget.amount=6", "guard.collapse_steps=2")
    stopped = here(*request, "guard.collapse=stop")
    words = "step 4: every reward was 0 at each of the last 2 steps"
    assert stopped.returncode == 1
    assert stopped.stderr.startswith(f"error: {words}")
    assert len(stopped.stderr.splitlines()) == 1
    assert record_of(planted).status is Status.FAILED
    done = here(*request)
    assert (done.returncode, done.stderr) == (0, "")
    record = record_of(planted)
    assert (record.status, record.attempts) == (Status.FINISHED, 2)
    (warned,) = record.warnings.values()
    assert warned.startswith(words)
    assert copy_of(planted).data.tags["warnings"] == warned
    assert (record.folder / "trial.log").read_text().count(
        f"WARNING harness: warning: {words}"
    ) == 1
    assert stopped.stdout.count(f"warning: {words}") == 1
    assert "warning: step" not in done.stdout, "it was said before"


@pytest.mark.commands
@pytest.mark.parametrize(
    ("choice", "where"),
    [
        (
            ("rollout._target_=planted_faults.Sampled",),
            r"in training > gen > sampling 32 responses, at generate \(planted_faults",
        ),
        (  # the second rank; the first waits for it in a collective, and may be earlier to say so
            (MINE, "trainer.ranks=2"),
            r"in \w+.*, at (score \(planted_faults|all_gather \(distributed)",
        ),
    ],
)
def test_a_trial_that_stands_still_is_ended_where_it_stands(
    planted: Path, choice: tuple[str, ...], where: str
) -> None:
    (planted / "fault").write_text("sleep")
    limits = ("guard.stall_seconds=4", "grading.wall_seconds=2", "grading.cpu_seconds=2")
    done = subprocess.run(
        **command(*QUICK, *choice, *limits, PYTHONPATH=os.environ["PYTHONPATH"]),
        cwd=planted,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: nothing got on for 4 s (guard.stall_seconds) in ")
    assert re.search(where, line), line
    record = record_of(planted)
    assert record.status is Status.FAILED
    assert copy_of(planted).info.status == "FAILED"
    if len(choice) == 1:
        assert record.error == f"StalledError: {line.removeprefix('error: ')}"
        log = (record.folder / "trial.log").read_text()
        assert 'planted_faults.py", line' in log, "the stack"


SWEEP = ("-m", "name=planted", "seed=0,1,2", *QUICK, MINE, "budget.amount=6", "ray.retry_seconds=1")


@pytest.mark.commands
def test_fail_fast_then_retry_from_another_terminal(planted: Path) -> None:
    """Three seeds, two at a time; each reward raises at its third step, and none is retried.

    One has failed for good: the sweep ends before the third seed starts. Mended, `retry --failed`
    takes up the failed ones alone, from their checkpoints.
    """
    (planted / "fault").write_text("raise")
    first = ran(planted, "harness", *SWEEP, "ray.retries=0", "sweep.fail_fast=true")
    assert first.returncode == 1, first.stderr
    assert "trials did not finish (sweep.fail_fast=true)" in first.stderr
    assert len(first.stderr.splitlines()) == 1
    assert "; sweep.fail_fast=true ends the sweep" in first.stdout
    before = states(planted)
    failed = [trial for trial, record in before.items() if record.status is Status.FAILED]
    assert failed
    assert Status.FINISHED not in {record.status for record in before.values()}
    assert len(failed) < 3
    attempts = {trial: before[trial].attempts for trial in failed}
    assert {run.info.status for run in runs_of(planted, "planted")} <= {"FAILED", "KILLED"}

    (planted / "fault").unlink()
    again = ran(planted, "sweeps", "retry", "planted", "--failed")
    assert (again.returncode, again.stderr) == (0, ""), again.stdout
    assert again.stdout.startswith("harness -m name=planted ")
    after = states(planted)
    done = [trial for trial, record in after.items() if record.status is Status.FINISHED]
    assert done == failed
    assert all(after[trial].attempts == attempts[trial] + 1 for trial in failed)
    assert all(after[t].steps[2] == before[t].steps[2] for t in failed), "steps were made again"
    statuses = {run.data.tags["trial"]: run.info.status for run in runs_of(planted, "planted")}
    assert [statuses[trial] for trial in done] == ["FINISHED"] * len(done)
    assert "RUNNING" not in statuses.values()


def ran(work: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    told = command(*arguments, PYTHONPATH=os.environ["PYTHONPATH"])
    told["args"][2] = module
    return subprocess.run(**told, cwd=work, capture_output=True, text=True, timeout=240)


def states(work: Path) -> dict[str, Record]:
    """The records of the sweep's trials by name."""
    folders = sorted((work / "runs" / "checkpoints").glob("*"))
    found = {folder.name: read(folder) for folder in folders}
    return {name: record for name, record in found.items() if record is not None}
