"""`kill -9` at random moments of a trial's life: the numbers, the weights and the record survive.

Each round starts in an empty folder and kills the trial in every phase that writes something:
while the base model is built, the store is made, a step is recorded, MLflow's copy is written, a
checkpoint is written. Five kills run in CI; `pytest -m chaos -n 0 -s` does twenty.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.trial import trial_folder
from tests.conftest import SMALL, Here, command
from tests.processes import equal, weights
from tests.test_exactness import recorded, stored

TRIAL = (*SMALL, "model.warm_up.steps=150", "budget.amount=16", "trainer.save_every=0.125")
# Longest wait after a phase has begun, and for it to begin.
DELAY_S, PATIENCE_S = 0.25, 120


def phases(runs: Path, folder: Path) -> dict[str, Callable[[], bool]]:
    """What can be seen of a trial from outside -> whether it is under way."""
    record = folder / "record.jsonl"
    before = record.stat().st_size if record.exists() else 0
    return {
        "base": lambda: bool(list((runs / "models").glob(".*.new"))),
        "store": lambda: bool(list(runs.glob(".mlflow.db.new-*"))),
        "record": lambda: record.exists() and record.stat().st_size > before,
        "copy": lambda: (runs / "mlflow.db-journal").exists(),
        "checkpoint": lambda: bool(list(folder.glob(".step_*.new"))),
    }


def killed_in(phase: str, runs: Path, folder: Path, work: Path, delay_s: float) -> None:
    begun = phases(runs, folder)[phase]
    victim = subprocess.Popen(
        **command(*TRIAL), cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + PATIENCE_S
    while not begun():
        assert victim.poll() is None, f"the trial ended before {phase}"
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    time.sleep(delay_s)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()


def survives(work: Path, composed: Callable[..., Any], here: Here, seed: int) -> None:
    print(f"chaos seed {seed}")
    draw = random.Random(seed)
    runs = work / "runs"
    config = composed(*TRIAL, f"runs={runs}")
    folder = trial_folder(config)
    for phase in ("base", "store", *draw.sample(["record", "copy", "checkpoint"], 3)):
        delay_s = draw.choice([0.0, draw.uniform(0, DELAY_S)])
        print(f"  kill -9 {delay_s * 1000:.0f} ms into {phase}")
        killed_in(phase, runs, folder, work, delay_s)
    done = here(*TRIAL)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    whole = composed(*TRIAL, f"runs={work / 'whole'}", "tracking=none")
    uninterrupted = recorded(whole)  # builds its own base as well
    run, survived = stored(runs, config)
    assert run.info.status == "FINISHED"
    assert int(run.data.tags["attempt"]) >= 2
    assert survived == uninterrupted
    assert equal(weights(folder), weights(trial_folder(whole)))


@pytest.mark.commands
def test_five_kills(tmp_path: Path, composed: Callable[..., Any], here: Here) -> None:
    survives(tmp_path, composed, here, seed=int(time.time()))


@pytest.mark.chaos
@pytest.mark.parametrize("turn", range(4))
def test_twenty_kills(tmp_path: Path, composed: Callable[..., Any], here: Here, turn: int) -> None:
    survives(tmp_path, composed, here, seed=int(time.time()) + turn)
