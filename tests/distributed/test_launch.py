"""Trials of two ranks through the real command: exactness, and processes that are killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.trial import trial_folder
from tests.conftest import ROOT, SMALL, harness
from tests.processes import alive, equal, folder_of, pids, started, wait_for, weights

pytestmark = pytest.mark.distributed

TWO = (*SMALL, "algorithm=grpo", "evaluation.pass_k=0", "trainer.ranks=2")
# A trial that is long enough to be killed in the middle.
LONG = (*TWO, "budget.amount=60", "trainer.save_every=0.05", "evaluation.every=0.5")
ERROR_S, ORPHAN_S = 30.0, 10.0


@pytest.fixture(scope="module")
def uninterrupted(
    small_base: Path, composed: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    """Final weights of the long trial, left alone."""
    work = tmp_path_factory.mktemp("uninterrupted")
    shutil.copytree(small_base / "models", work / "runs" / "models")
    done = harness(work, *LONG, "tracking=none")
    assert done.returncode == 0, done.stdout + done.stderr
    return weights(folder_of(work, composed, *LONG))


def test_two_ranks_repeat_to_the_bit_and_equal_one_process_in_what_they_sample(
    work: Path, composed: Callable[..., Any]
) -> None:
    results = {}
    for name, extra in (("first", ()), ("second", ()), ("one", ("trainer.ranks=1",))):
        runs = f"runs={work / name}"
        (work / name).mkdir()
        os.symlink(work / "runs" / "models", work / name / "models")
        done = harness(work, *TWO, *extra, runs, "tracking=none")
        assert done.returncode == 0, done.stdout + done.stderr
        folder = trial_folder(composed(*TWO, *extra, runs, "tracking=none"))
        results[name] = (weights(folder), done.stdout.splitlines()[1:-1])
    assert equal(results["first"][0], results["second"][0])
    assert results["first"][1] == results["second"][1]
    # The first evaluation is of the base: the same responses whoever drew them.
    assert results["one"][1][0] == results["first"][1][0]


@pytest.mark.parametrize("victim", [0, 1])
def test_kill_9_of_a_rank_is_named_within_seconds_and_resumed_exactly(
    work: Path,
    composed: Callable[..., Any],
    uninterrupted: dict[str, torch.Tensor],
    victim: int,
) -> None:
    folder = folder_of(work, composed, *LONG)
    process = started(work, folder, *LONG)
    ranks = pids(folder)
    os.kill(ranks[victim], signal.SIGKILL)
    killed = time.monotonic()
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert time.monotonic() - killed < ERROR_S
    (line,) = [line for line in out.splitlines() if line.startswith("error:")]
    assert f"rank {victim} of 2 failed: its process was killed" in line
    wait_for(lambda: not any(map(alive, ranks)), ORPHAN_S)
    again = harness(work, *LONG, timeout=900)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumed after step" in (folder / "trial.log").read_text()
    assert equal(weights(folder), uninterrupted)


def test_an_error_in_one_rank_is_the_trials_error(
    work: Path, composed: Callable[..., Any], tmp_path: Path
) -> None:
    """A reward that raises on the second rank only, while the first waits for it."""
    (work / "faulty.py").write_text(
        "from dataclasses import dataclass\n"
        "import torch.distributed as dist\n"
        "from harness.rewards.binary import Binary\n"
        "@dataclass(frozen=True)\n"
        "class Faulty(Binary):\n"
        "    def score(self, graded):\n"
        "        if dist.is_initialized() and dist.get_rank() == 1:\n"
        "            raise ValueError('the real cause')\n"
        "        return super().score(graded)\n"
    )
    began = time.monotonic()
    done = harness(
        work, *TWO, "tracking=none", "reward._target_=faulty.Faulty", PYTHONPATH=f"{ROOT}:{work}"
    )
    assert done.returncode == 2  # it is tried on every rank before anything is made
    fault = "error: reward faulty.Faulty: score raised ValueError: the real cause"
    assert fault in done.stderr
    assert time.monotonic() - began < 120


@pytest.mark.parametrize("victim", ["trial", "driver"])
def test_kill_9_in_a_sweep_leaves_nothing_and_the_same_command_goes_on(
    work: Path,
    composed: Callable[..., Any],
    uninterrupted: dict[str, torch.Tensor],
    victim: str,
) -> None:
    arguments = ("-m", *LONG, "seed=0")
    folder = folder_of(work, composed, *LONG)
    process = started(work, folder, *arguments)
    ranks = pids(folder)
    trial = trial_of(ranks)
    os.kill(process.pid if victim == "driver" else trial, signal.SIGKILL)
    if victim == "driver":
        process.wait()
        wait_for(lambda: not any(map(alive, [*ranks, trial])), ORPHAN_S)
        again = harness(work, *arguments, timeout=900)
        assert again.returncode == 0, again.stdout + again.stderr
    else:  # Tune starts the trial again: ray.retries is 1
        wait_for(lambda: not any(map(alive, ranks)), ORPHAN_S)
        out = process.communicate(timeout=900)[0]
        assert process.returncode == 0, out
    log = (folder / "trial.log").read_text()
    assert "resumed after step" in log
    assert equal(weights(folder), uninterrupted)


def trial_of(ranks: list[int]) -> int:
    """The Tune trial: the worker beside the ranks, of the same raylet, whose command names it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in ranks:
            try:
                words, own = (entry / "cmdline").read_text(), parent(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if "ImplicitFunc" in words and own == parent(ranks[0]) and alive(int(entry.name)):
                return int(entry.name)
    raise AssertionError("no trial process")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_an_existing_cluster_is_used_and_left_running(
    work: Path, composed: Callable[..., Any]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    secret = {"RAY_AUTH_MODE": "token"}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = [f"--port={address.rpartition(':')[2]}", "--num-cpus=2", "--include-dashboard=false"]
    cluster = subprocess.Popen(
        [*start, *options, "--disable-usage-stats"],
        env=os.environ | secret,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: answers(address), 60)
        arguments = (*TWO, "tracking=none", f"ray.address={address}")
        done = harness(work, *arguments, **secret)
        assert done.returncode == 0, done.stdout + done.stderr
        assert cluster.poll() is None
        assert answers(address)
        assert weights(folder_of(work, composed, *arguments))
    finally:
        cluster.terminate()
        cluster.wait(60)


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
