"""Eight trials write to one store at once, for the record: `pytest -m record -s -n 0`."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from analysis.reading.loader import load
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.record import read
from tests.conftest import ROOT

pytestmark = pytest.mark.record

WRITERS, STEPS, METRICS = 8, 2_000, 40
# What a trial does beside training: each step to its record, then to the store.
TRIAL = f"""
import sys
from pathlib import Path
from harness.tracking import Names
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.recording import recording

runs, number = Path(sys.argv[1]), int(sys.argv[2])
names = Names(f"grpo__s{{number}}__aa", "grpo", "many")
folder = runs / "checkpoints" / names.trial
folder.mkdir(parents=True)
(folder / "trial.json").write_text('{{"seed": %d}}' % number)
with recording(folder, runs, MlflowTracking(), names, {{}}, "") as run:
    for step in range({STEPS}):
        run.log(step, {{f"actor/m{{i}}": (number + step / 7) / (i + 3) for i in range({METRICS})}})
    run.finish()
    sys.exit("the copy stayed behind" if run.copy.lost else 0)
"""


def test_eight_trials_at_once_lose_no_point_of_640_000(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    MlflowTracking().prepare(runs, "many")
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    trials = [
        subprocess.Popen([sys.executable, "-c", TRIAL, str(runs), str(number)], cwd=ROOT)
        for number in range(WRITERS)
    ]
    assert [trial.wait() for trial in trials] == [0] * WRITERS
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = f"{time.monotonic() - began:.0f} s, CPU {cpu:.0f} s"
    print(f"{WRITERS} x {STEPS} batches of {METRICS}: {took}")

    began = time.process_time()
    data = load(runs, "many", cached=False)
    print(f"read back: CPU {time.process_time() - began:.1f} s")
    assert len(data.points) == WRITERS * STEPS * METRICS
    for run_id, trial in data.runs.select("run_id", "trial").iter_rows():
        record = read(runs / "checkpoints" / trial)
        assert record is not None
        written = {(k, s): v for s, made in record.steps.items() for k, v in made.metrics.items()}
        own = data.points.filter(pl.col("run_id") == run_id)
        stored = {(k, s): v for k, s, v in own.select("metric", "step", "value").iter_rows()}
        assert stored == written
    assert set(data.runs["status"]) == {"FINISHED"}
