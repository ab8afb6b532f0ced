"""Real sweeps: real Ray, real MLflow, a real `kill -9` of the driver."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from harness.tracking.record import Status, read
from harness.tracking.store import open_store
from sweeps.__main__ import main as sweeps
from tests.conftest import SMALL, Here, command
from tests.processes import wait_for

SWEEP = ("-m", "+ablation=length_bias", "seed=0,1", *SMALL)


def runs_of(work: Path, experiment: str) -> list[Any]:
    client = open_store(work / "runs")
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def finals(work: Path) -> dict[str, int]:
    """When each finished trial wrote its final checkpoint."""
    paths = (work / "runs" / "checkpoints").glob("*/final/result.json")
    return {path.parents[1].name: path.stat().st_mtime_ns for path in paths}


@pytest.mark.commands
def test_kill_9_of_the_driver_in_mid_sweep_then_the_same_command_again(
    work: Path, here: Here
) -> None:
    log = (work / "driver.log").open("w")
    driver = subprocess.Popen(**command(*SWEEP), cwd=work, stdout=log, stderr=log)
    deadline = time.monotonic() + 200
    while not finals(work) and time.monotonic() < deadline:
        assert driver.poll() is None, (work / "driver.log").read_text()
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(4)  # a killed driver's trials live on for about two seconds
    before = finals(work)
    assert 1 <= len(before) < 4, "killed too early or too late to test anything"
    again = here(*SWEEP)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"4 trials (2 variants x 2 seeds), {len(before)} finished before" in again.stdout
    after = finals(work)
    assert len(after) == 4
    assert {name: after[name] for name in before} == before, "a finished trial ran again"
    runs = runs_of(work, "length_bias")
    assert sorted(run.data.tags["trial"] for run in runs) == sorted(after)
    assert {run.info.status for run in runs} == {"FINISHED"}
    report = (work / "runs" / "reports" / "length_bias" / "report.md").read_text()
    assert "seeds [0, 1, 2] replaced by [0, 1]" in report


@pytest.mark.commands
def test_failing_trials_are_retried_listed_and_do_not_stop_the_others(
    work: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faults are real: plug-ins of another package that die in their second rollout.

    One raises; the other ends its process without a word, and the driver says which trial it was.
    """
    package = work / "plugins" / "fragile"
    (package / "conf" / "algorithm").mkdir(parents=True)
    for name in ("__init__.py", "conf/__init__.py"):
        (package / name).touch()
    (package / "algorithm.py").write_text(FRAGILE)
    for name, leaves in (("fragile", "false"), ("leaving", "true")):
        text = f"_target_: fragile.algorithm.Fragile\ngroup_size: 4\nleaves: {leaves}\n"
        (package / "conf" / "algorithm" / f"{name}.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    search = "hydra.searchpath=[pkg://fragile.conf]"
    done = here("-m", "algorithm=grpo,fragile,leaving", search, *SMALL, "ray.retry_seconds=0.5")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 of 3 trials did not finish" in done.stderr
    assert "the planted fault" in done.stdout
    assert "its process ended by itself or was killed (ActorDiedError)" in done.stdout
    assert len(finals(work)) == 1
    (planned,) = (work / "runs" / "sweeps").glob("grid-*/manifest.jsonl")
    status = {run.data.tags["variant"]: run for run in runs_of(work, planned.parent.name)}
    assert status["grpo"].info.status == "FINISHED"
    assert status["fragile"].info.status == "FAILED"
    assert status["fragile"].data.tags["attempt"] == "2"
    (log,) = (work / "runs" / "checkpoints").glob("fragile__*/trial.log")
    assert log.read_text().count("the planted fault") >= 2
    assert str(log) in done.stdout
    (log,) = (work / "runs" / "checkpoints").glob("leaving__*/trial.log")
    assert log.read_text().count("starts") == 2
    assert str(log) in done.stdout
    report = work / "runs" / "reports" / planned.parent.name / "report.md"
    assert "INTERRUPTED" not in report.read_text()
    assert status["leaving"].info.status == "FAILED"
    assert "its process ended by itself or was killed" in status["leaving"].data.tags["reason"]
    assert len(done.stderr.splitlines()) == 1, "a trial's traceback belongs into its log"
    manifest = json.loads(planned.read_text())
    assert len(manifest["jobs"]) == 3
    assert {run.data.tags["seal"] for run in status.values()} == {manifest["seal"]}


@pytest.mark.commands
def test_a_cancelled_sweep_says_what_is_left_and_nothing_of_ray(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cancelled from another process before there is a checkpoint; no report is written."""
    sweep = ("-m", "algorithm=grpo", "seed=0,1", "name=mine", *SMALL, "budget.amount=400")
    driver = subprocess.Popen(
        **command(*sweep), cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    folder = work / "runs" / "checkpoints"
    wait_for(lambda: bool(list(folder.glob("*/record.jsonl"))) or driver.poll() is not None, 180)
    assert sweeps(["cancel", "mine", "--runs", str(work / "runs")]) == 0
    assert "the same command begins" in capsys.readouterr().out
    stdout, stderr = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert stderr.startswith("interrupted; the same command begins")
    assert len(stderr.splitlines()) == 1
    assert "_trial_" not in stdout, "Ray's own lines"
    assert stdout.splitlines()[-1].startswith("mine: ")
    assert not (work / "runs" / "reports").exists()
    found = [record for path in folder.iterdir() if (record := read(path)) is not None]
    assert found
    assert not {Status.RUNNING, Status.FINISHED} & {record.status for record in found}
    assert {run.info.status for run in runs_of(work, "mine")} == {"KILLED"}


@pytest.mark.chaos  # two clusters of Ray on two cores
def test_two_grids_at_once_report_each_its_own(work: Path) -> None:
    """In one folder, at one time; the store is there, so that only the grids can mix."""
    open_store(work / "runs")
    started = {
        algorithm: subprocess.Popen(
            **command("-m", f"algorithm={algorithm}", *SMALL, "budget.amount=1", *named),
            cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for algorithm, named in (("dr_grpo", ()), ("rloo", ("name=mine",)))
    }  # fmt: skip
    for algorithm, process in started.items():
        printed, _ = process.communicate(timeout=240)
        assert process.returncode == 0, printed
        (path,) = re.findall(r"^report: (.*)/report.html$", printed, re.MULTILINE)
        text = (Path(path) / "report.md").read_text()
        name = Path(path).name
        assert name == "mine" if algorithm == "rloo" else name.startswith("grid-")
        assert "| All planned trials finished | OK | 1 of 1 planned" in text
        assert f"`{algorithm}` reaches" in text
        assert "| No runs outside the plan | OK |" in text
        sealed = json.loads((work / "runs" / "sweeps" / name / "manifest.jsonl").read_text())
        assert printed.startswith(f"sealed {sealed['seal'][:8]}: 0 predictions, 1 variant x 1")
        (run,) = runs_of(work, name)
        assert run.data.tags["variant"] == algorithm
        assert run.data.tags["seal"] == sealed["seal"]


FRAGILE = """
import os
from dataclasses import dataclass

from harness.algorithms.dr_grpo import DrGrpo


@dataclass(frozen=True)
class Fragile:
    group_size: int = 4
    leaves: bool = False
    columns = frozenset({"old_logprobs_BT"})

    def rollout_plan(self, progress):
        if progress > 0 and self.leaves:
            os._exit(0)
        if progress > 0:
            raise RuntimeError("the planted fault")
        return DrGrpo(self.group_size).rollout_plan(progress)

    def advantages(self, batch):
        return DrGrpo(self.group_size).advantages(batch)

    def loss(self, minibatch):
        return DrGrpo(self.group_size).loss(minibatch)
"""
