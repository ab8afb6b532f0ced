"""Eight trials write at once and lose no point, for the record: `pytest -m record -s -n 0`.

Trials write to their folders and to the store in sqlite beside them; nothing here writes to a
server, but reports are read from one, so the second test writes as any client of MLflow does.
"""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from analysis.reading.loader import Data, load
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.record import read
from tests.conftest import ROOT

pytestmark = pytest.mark.record

WRITERS, METRICS = 8, 40
# The first size is over in half a minute and says whether the second is worth its time.
SIZES = [25, 2_000]
# An empty database, as SQLAlchemy names it; its driver is no dependency of this project.
POSTGRES = "HARNESS_POSTGRES"
PATIENCE_S = 120.0  # until a server that has not answered is taken for dead

VALUES = f"{{f'actor/m{{i}}': (number + step / 7) / (i + 3) for i in range({METRICS})}}"
# What a trial does beside training: each step to its record, then to the store.
TRIAL = f"""
import sys
from pathlib import Path
from harness.tracking import Names
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.recording import recording

runs, steps, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
names = Names(f"grpo__s{{number}}__aa", "grpo", f"many_{{steps}}")
folder = runs / "checkpoints" / names.trial
folder.mkdir(parents=True)
(folder / "trial.json").write_text('{{"seed": %d}}' % number)
with recording(folder, runs, MlflowTracking(), names, {{}}, "") as run:
    for step in range(steps):
        run.log(step, {VALUES})
    run.finish()
    sys.exit("the copy stayed behind" if run.copy.lost else 0)
"""
CLIENT = f"""
import sys, time
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

server, steps, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = MlflowClient(server)
experiment = client.get_experiment_by_name(f"many_{{steps}}").experiment_id
tags = {{"trial": f"grpo__s{{number}}__aa", "variant": "grpo", "seed": str(number)}}
run = client.create_run(experiment, tags=tags, run_name=tags["trial"]).info.run_id
for step in range(steps):
    now = int(time.time() * 1000)
    metrics = {VALUES}
    client.log_batch(run, metrics=[Metric(k, v, now, step) for k, v in metrics.items()])
client.set_terminated(run)
"""


def written_at_once(program: str, place: str, steps: int) -> None:
    """Run every writer to its end; says what they took together."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program, place, str(steps)]
    writers = [subprocess.Popen([*command, str(n)], cwd=ROOT) for n in range(WRITERS)]
    assert [writer.wait() for writer in writers] == [0] * WRITERS
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = f"{time.monotonic() - began:.0f} s, CPU {cpu:.0f} s"
    print(f"\n{WRITERS} x {steps:,} batches of {METRICS}: {took}")


def read_back(store: str | Path, steps: int) -> Data:
    """Every point, each with the value that was written at its step."""
    began = time.process_time()
    data = load(store, f"many_{steps}", cached=False)
    print(f"{len(data.points):,} points read back: CPU {time.process_time() - began:.1f} s")
    assert sorted(data.runs["seed"]) == list(range(WRITERS))
    assert set(data.runs["status"]) == {"FINISHED"}
    for run_id, number in data.runs.select("run_id", "seed").iter_rows():
        own = data.points.filter(pl.col("run_id") == run_id).select("metric", "step", "value")
        expected = [
            (f"actor/m{i}", step, (number + step / 7) / (i + 3))
            for step in range(steps)
            for i in range(METRICS)
        ]
        assert sorted(own.iter_rows()) == sorted(expected)
    return data


@pytest.mark.parametrize("steps", SIZES)
def test_eight_trials_at_once_lose_no_point(tmp_path: Path, steps: int) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    MlflowTracking().prepare(runs, f"many_{steps}")
    written_at_once(TRIAL, str(runs), steps)
    data = read_back(runs, steps)
    for trial in data.runs["trial"]:
        record = read(runs / "checkpoints" / trial)
        assert record is not None
        assert len(record.steps) == steps


@contextmanager
def serving(database: str, folder: Path) -> Iterator[str]:
    """MLflow's server before a database; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ["--backend-store-uri", database, "--host", "127.0.0.1", "--port", port]
    command = [sys.executable, "-m", "mlflow", "server", *options, "--workers", "4"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE_S
        while not answers(int(port)):
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < until, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("steps", SIZES)
def test_eight_clients_of_a_server_on_postgresql_lose_no_point(tmp_path: Path, steps: int) -> None:
    if POSTGRES not in os.environ:
        pytest.skip(f"{POSTGRES} names no empty PostgreSQL database (postgresql://USER@HOST/NAME)")
    from mlflow.tracking import MlflowClient

    database = os.environ[POSTGRES]
    with serving(database, tmp_path) as address:
        MlflowClient(address).create_experiment(f"many_{steps}")
        written_at_once(CLIENT, address, steps)
        if steps == SIZES[0]:
            read_back(address, steps)
    read_back(database, steps)
