"""A sweep of twelve trials that is killed, starved and cut off, and started again until it is done.

`pytest -m chaos -n 0 -s tests/sweeps/test_chaos.py` prints what it did, with the seed of it. The
clock of the machine is never touched.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.schema import METRICS
from tests.conftest import ROOT, SMALL, command
from tests.processes import alive, equal, wait_for, weights

pytestmark = pytest.mark.chaos

NAME = "chaos"
SWEEP = ("-m", "algorithm=grpo,dr_grpo", "seed=0,1,2,3,4,5", f"name={NAME}", *SMALL)
TRIALS = 12
# Enough for twelve trials with their checkpoints and the store, little enough to fill at once.
ROOM = "512m"
INJURIES = 12
PAUSE_S = (4.0, 20.0)  # between two of them: somewhere in the life of a trial
FULL_S, LOCKED_S, GONE_S = 4.0, 20.0, 60.0
SETTLED_S = 30.0  # a killed driver's trials live on for seconds

Point = tuple[str, str, int]
Injury = tuple[str, signal.Signals | None]
# Ctrl-C is for the driver.
KINDS: list[Injury] = [
    *(("driver", sign) for sign in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    *(("trial", sign) for sign in (signal.SIGKILL, signal.SIGTERM)),
    ("full", None),
    ("lock", None),
]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, so that it can be filled."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Torn:
    """One sweep and what is done to it."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.runs = work, work / "runs"
        self.draw = random.Random(seed)
        self.driver: subprocess.Popen[bytes] | None = None
        self.server: subprocess.Popen[bytes] | None = None
        self.done: list[str] = []
        self.deck: list[Injury] = []

    def start(self) -> None:
        log = (self.work / "driver.log").open("a")
        self.driver = subprocess.Popen(
            **command(*SWEEP), cwd=self.work, stdout=log, stderr=log, start_new_session=True
        )

    def serve(self) -> None:
        """`mlflow server` on the store, as someone who watches has it open."""
        store = f"sqlite:///{self.runs / 'mlflow.db'}"
        self.server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store),
                *("--port", "0", "--workers", "1"),
            ],
            cwd=self.work,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def away(self) -> None:
        """The server and all its workers."""
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
            self.server = None

    def running(self) -> list[int]:
        """Processes of trials that live."""
        logs = (self.runs / "checkpoints").glob("*/trial.log")
        found = [re.findall(r"process (\d+) starts", log.read_text()) for log in logs]
        return [int(own[-1]) for own in found if own and alive(int(own[-1]))]

    def hurt(self) -> None:
        """One injury, drawn; each kind comes once before any comes twice."""
        assert self.driver is not None
        trial = self.draw.choice(self.running() or [0])
        if not self.deck:
            self.deck = self.draw.sample(KINDS, len(KINDS))
        kind, sign = self.deck.pop()
        self.done.append(f"{sign.name} to {kind}" if sign else kind)
        print(f"  {self.done[-1]}", flush=True)
        if kind == "driver" and sign:
            os.kill(self.driver.pid, sign)
        elif kind == "trial" and sign and trial:
            with contextlib.suppress(ProcessLookupError):
                os.kill(trial, sign)
        elif kind == "full":
            self.fill()
        elif kind == "lock":
            self.lock()

    def fill(self) -> None:
        """No space left on the device, for some seconds."""
        filler = self.runs / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)
        time.sleep(FULL_S)
        filler.unlink()

    def lock(self) -> None:
        """Somebody else writes to the store and does not end."""
        store = self.runs / "mlflow.db"
        if store.exists():
            with contextlib.closing(sqlite3.connect(store, timeout=60)) as other:
                other.execute("BEGIN EXCLUSIVE")
                time.sleep(LOCKED_S)
                other.rollback()

    def survive(self) -> None:
        """Hurt it, start it again, until it is done."""
        gone_until = None
        while True:
            self.start()
            assert self.driver is not None
            while self.driver.poll() is None:
                pause = self.draw.uniform(*PAUSE_S)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.driver.wait(pause)
                    break
                if self.server is None and (self.runs / "mlflow.db").exists():
                    if gone_until is None or time.monotonic() > gone_until:
                        self.serve()
                elif len(self.done) == INJURIES // 2 and gone_until is None:
                    print("  mlflow server goes away", flush=True)
                    self.away()
                    gone_until = time.monotonic() + GONE_S
                if len(self.done) < INJURIES:
                    self.hurt()
            print(f"  ended with {self.driver.returncode}", flush=True)
            if self.driver.returncode == 0:
                return
            wait_for(lambda: not self.running(), SETTLED_S)


def points(store: Path) -> tuple[dict[str, str], dict[Point, float], list[Point]]:
    """Status of each trial's run, its deterministic metrics, and those that are there twice."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        trials = dict(db.execute("SELECT run_uuid, value FROM tags WHERE key = 'trial'"))
        # The report of a sweep has a run of its own, without the tag.
        every = db.execute("SELECT run_uuid, status FROM runs").fetchall()
        statuses = [(run, status) for run, status in every if run in trials]
        rows = db.execute("SELECT run_uuid, key, step, value, is_nan FROM metrics").fetchall()
    assert len(statuses) == len(set(trials.values())), "a trial has two runs"
    found: dict[Point, float] = {}
    twice = []
    for run, key, step, value, is_nan in rows:
        if run not in trials:
            continue
        point = (trials[run], key, step)
        if point in found:
            twice.append(point)
        if not METRICS[key].clock:
            found[point] = float("nan") if is_nan else value
    return {trials[run]: status for run, status in statuses}, found, twice


def test_a_torn_sweep_equals_an_undisturbed_one(small_base: Path, tmp_path: Path) -> None:
    seed = int(time.time())
    print(f"chaos seed {seed}")
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    shutil.copytree(small_base / "models", whole / "runs" / "models")
    done = subprocess.run(
        **command(*SWEEP), cwd=whole, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    torn.mkdir()
    with small_disk(torn / "runs"):
        shutil.copytree(small_base / "models", torn / "runs" / "models")
        sweep = Torn(torn, seed)
        try:
            sweep.survive()
        finally:
            sweep.away()
        log = (torn / "driver.log").read_text()
        assert "Traceback" not in log
        expected = points(whole / "runs" / "mlflow.db")
        survived = points(torn / "runs" / "mlflow.db")
        assert survived[0] == dict.fromkeys(expected[0], "FINISHED")
        assert len(survived[0]) == TRIALS
        assert survived[2] == []
        assert survived[1] == expected[1]
        for trial in expected[0]:
            own, other = (w / "runs" / "checkpoints" / trial for w in (torn, whole))
            assert equal(weights(own), weights(other)), trial
    print(f"  {len(sweep.done)} injuries, {len(survived[1])} deterministic points equal")


def test_a_cluster_of_two_nodes_loses_one_and_the_sweep_ends(work: Path) -> None:
    """Two nodes on this machine, one CPU each; one is killed while its trial runs."""
    script = work / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    address = process.stdout.readline().strip()
    try:
        arguments = ("-m", "algorithm=grpo", "seed=0,1,2,3", f"ray.address={address}", *SMALL)
        driver = subprocess.Popen(
            **command(*arguments, "name=nodes", "ray.retries=2"),
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        folder = work / "runs" / "checkpoints"
        started = lambda: len(list(folder.glob("*/step_*"))) >= 2  # noqa: E731
        wait_for(lambda: started() or driver.poll() is not None, 240)
        assert driver.poll() is None, driver.communicate()[0]
        print("kill", file=process.stdin, flush=True)
        printed, _ = driver.communicate(timeout=600)
        assert driver.returncode == 0, printed
    finally:
        process.stdin.close()
        process.wait(60)
    store = work / "runs" / "mlflow.db"
    statuses, _, twice = points(store)
    assert list(statuses.values()) == ["FINISHED"] * 4
    assert twice == []
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        attempts = [int(n) for (n,) in db.execute("SELECT value FROM tags WHERE key = 'attempt'")]
    assert max(attempts) > 1, "no trial was on the node that was killed"


CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
other = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(other, allow_graceful=False)
cluster.shutdown()
"""
