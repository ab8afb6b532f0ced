"""Tune, be killed, continue, confirm: real trials under Ray, with Optuna and ASHA."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sweeps.journal import Attempt, Journal, State, path_of
from tests.conftest import SMALL, Here, command
from tests.sweeps.test_sweep import runs_of

TINY = (*SMALL, "budget.amount=10", "evaluation.pass_k=0", "evaluation.every=0.2")
ASKED = ("-m", "+ablation=length_bias", *TINY)
RATE = "trainer.optimizer.learning_rate"
TUNE = (*ASKED, "sweep.stage=tune", f"{RATE}=tag(log,interval(1e-4,3e-2))", "sweep.trials=12")
TRIALS, STOPPED, BEFORE_KILL = 24, 5, 6


def attempt(work: Path) -> Attempt | None:
    found = Journal(path_of(work / "runs", "length_bias")).attempts
    return found[-1] if found else None


@pytest.mark.chaos
def test_tune_killed_continued_and_confirmed_on_fresh_seeds(work: Path, here: Here) -> None:
    began = time.monotonic()
    log = (work / "driver.log").open("w")
    driver = subprocess.Popen(**command(*TUNE), cwd=work, stdout=log, stderr=log)
    while len(getattr(attempt(work), "ended", ())) < BEFORE_KILL:
        assert driver.poll() is None, (work / "driver.log").read_text()
        time.sleep(0.1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(4)  # a killed driver's trials live on for about two seconds
    before = attempt(work)
    assert before is not None

    again = here(*TUNE)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"24 trials (2 variants x 12), {len(before.ended)} ended before" in again.stdout
    tuned = attempt(work)
    assert tuned is not None
    assert before.ended.items() <= tuned.ended.items(), "what had ended was tried again"
    assert before.proposed.items() <= tuned.proposed.items()
    states = [ended.state for ended in tuned.ended.values()]
    assert len(states) == TRIALS
    assert states.count(State.STOPPED) >= STOPPED
    assert tuned.closed is not None
    runs = runs_of(work, "length_bias.tune")
    assert {run.data.tags["stage"] for run in runs} == {"tune"}
    assert {run.data.tags["seal"] for run in runs} == {tuned.seal}
    stopped = [run for run in runs if run.info.status == "KILLED"]
    assert len(stopped) == states.count(State.STOPPED)
    for run in stopped:
        assert re.match(r"Stopped: by the scheduler at \d0% of the b", run.data.tags["reason"])
    tuning_s = time.monotonic() - began

    used = here(*ASKED, "sweep.stage=confirm", "seed=0,10")
    assert used.returncode == 2
    assert "seed 0 was used in the tuning of length_bias" in used.stderr
    assert len(used.stderr.splitlines()) == 1

    confirmed = here(*ASKED, "sweep.stage=confirm", "seed=10,11,12")
    assert confirmed.returncode == 0, confirmed.stdout + confirmed.stderr
    report = (work / "runs" / "reports" / "length_bias" / "report.md").read_text()
    assert "| Equal tuning budget per arm, fresh seeds | OK | 12 trials of at most 10" in report
    results = runs_of(work, "length_bias")
    assert {run.data.tags["seed"] for run in results} == {"10", "11", "12"}
    assert {run.data.tags["stage"] for run in results} == {"confirm"}
    for run in results:
        label = run.data.tags["variant"]
        best = tuned.proposed[label, tuned.closed.winners[label]]
        assert run.data.params[RATE] == best.values[RATE]
    section = report.partition("## Tuning")[2].partition("\n## ")[0]
    print(again.stdout, section, confirmed.stdout)
    print(f"tuning {tuning_s:.0f} s, all {time.monotonic() - began:.0f} s")
