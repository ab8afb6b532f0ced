"""Faults of the machine: killed Ray, no room, many starts at once. Each ends in one line."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError, TrialsFailedError
from harness.machine.cluster import LOCK, OURS, check_address, ray_cluster
from harness.machine.files import locked
from tests.conftest import ROOT, SMALL, Here, command
from tests.processes import wait_for
from tests.sweeps.test_sweep import runs_of

# A driver that has a cluster and does nothing but look after it.
DRIVER = """
import os, sys, time
from harness.errors import TrialsFailedError
from harness.machine.cluster import check_alive, ray_cluster
try:
    with ray_cluster(None):
        from ray._private import worker
        print(worker._global_node.get_session_dir_path(), flush=True)
        if sys.argv[1] == "leave":
            import ray
            print(ray.get(ray.remote(lambda: os.nice(0)).remote()))
            lost = ray.remote(max_retries=0)(lambda: 1 / 0).remote()
            time.sleep(3)
            del lost  # a failure that nobody waited for: as of a trial while its sweep is ended
            time.sleep(1)
        while sys.argv[1] == "stay":
            check_alive()
            time.sleep(0.1)
except TrialsFailedError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def sessions() -> Iterator[Path]:
    """Where Ray keeps its sessions; a short name, because sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        yield Path(home) / "ray"


def driver(
    sessions: Path, what: str, started: Callable[[], object] | None = None
) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(sessions.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, what],
        preexec_fn=started,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def session_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def child(process: subprocess.Popen[str], name: str) -> int:
    """Process id of a driver's own child."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        before, _, after = text.rpartition(")")
        if int(after.split()[1]) == process.pid and before.partition("(")[2] == name:
            return int(stat.parent.name)
    raise AssertionError(f"no {name}")


def left(sessions: Path) -> set[str]:
    return {path.name for path in sessions.glob("session_2*")}


# --- Ray ------------------------------------------------------------------------------------------


@pytest.mark.commands
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_killed_process_of_ray_is_one_line_and_leaves_no_folder(
    sessions: Path, name: str
) -> None:
    process = driver(sessions, "stay")
    session = session_of(process)
    assert (session / OURS).exists()
    os.kill(child(process, name), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stdout == ""
    assert len(stderr.splitlines()) == 1
    assert f"Ray's {name} (process " in stderr
    assert not session.exists()


def in_the_background() -> None:
    """What `harness -m ... &` in a script inherits: SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.commands
@pytest.mark.parametrize("started", [None, in_the_background])
def test_sigterm_is_ctrl_c_and_no_page_of_rays(
    sessions: Path, started: Callable[[], object] | None
) -> None:
    """As a scheduler ends a job; Ray would print a stack and abort, and leave its processes."""
    process = driver(sessions, "stay", started)
    session = session_of(process)
    process.terminate()
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, "", "")
    assert not session.exists()


@pytest.mark.commands
def test_a_closed_terminal_is_ctrl_c_and_takes_no_process_of_rays(sessions: Path) -> None:
    """Told to the whole group of processes, and by the shell again."""
    process = driver(sessions, "stay", os.setpgrp)
    session = session_of(process)
    os.killpg(process.pid, signal.SIGHUP)
    os.kill(process.pid, signal.SIGHUP)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, "", "")
    assert not session.exists()


@pytest.mark.chaos  # the same without a sweep around it is above
def test_a_raylet_that_is_killed_in_mid_sweep_is_one_line(
    work: Path, composed: Callable[..., Any], sessions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(sessions.parent))
    sweep = ("-m", "seed=0", *SMALL, "budget.amount=400", "tracking=none")
    process = subprocess.Popen(
        **command(*sweep), cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    steps = work / "runs" / "checkpoints"
    wait_for(lambda: bool(list(steps.glob("*/step_*"))) or process.poll() is not None, 180)
    os.kill(child(process, "raylet"), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 1
    assert len(stderr.splitlines()) == 1, stderr
    assert "Ray's raylet (process " in stderr
    assert "The same command continues" in stderr
    assert "(raylet)" not in stdout
    assert left(sessions) == set()


@pytest.mark.commands
def test_a_cluster_of_ours_leaves_nothing_and_clears_up_after_a_killed_driver(
    sessions: Path,
) -> None:
    process = driver(sessions, "stay")
    killed = session_of(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert killed.exists()
    foreign, living = sessions / "session_2_foreign", sessions / "session_2_living"
    for folder in (foreign, living):
        folder.mkdir()
    (living / OURS).touch()
    with locked(living / LOCK, 0):
        following = driver(sessions, "leave")
        stdout, stderr = following.communicate(timeout=60)
    assert (following.returncode, stderr) == (0, "")
    session, niceness = stdout.split()
    assert not Path(session).exists()
    assert int(niceness) == os.nice(0), "a trial in a sweep is as nice as one alone"
    assert left(sessions) == {foreign.name, living.name}


def test_a_cluster_that_only_the_environment_names_is_refused_before_anything_starts(
    work: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    done = here("-m", "seed=0,1", *SMALL)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "set ray.address=auto to use that one, or unset RAY_ADDRESS" in done.stderr
    assert {path.name for path in (work / "runs").iterdir()} == {"models"}


def test_a_cluster_that_both_name_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    check_address("10.0.0.1:6379")
    with pytest.raises(ConfigError, match="unset RAY_ADDRESS"):
        check_address(None)


@pytest.mark.chaos  # Ray gives up after half a minute
def test_a_ray_that_does_not_start_is_one_line() -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(TrialsFailedError, match="cannot be started") as error:
            ray_cluster(None).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(error.value)


# --- no room --------------------------------------------------------------------------------------


@pytest.mark.commands
def test_a_limit_on_file_sizes_is_one_line_and_the_same_command_then_works(
    work: Path, here: Here
) -> None:
    """200,000 bytes: the trial's config has room, the store has not."""
    limited = subprocess.run(
        **command(*SMALL, "budget.amount=2"),
        cwd=work,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    assert limited.returncode == 1
    assert len(limited.stderr.splitlines()) == 1, limited.stderr
    assert "raise the limit on file sizes (ulimit -f)" in limited.stderr
    done = here(*SMALL, "budget.amount=2")
    assert done.returncode == 0, done.stderr
    assert [run.info.status for run in runs_of(work, "trials")] == ["FINISHED"]


# --- together in a new folder ---------------------------------------------------------------------


def together(work: Path, count: int) -> None:
    """Single trials, all started at once in a folder without a store."""
    processes = [
        subprocess.Popen(
            **command(*SMALL, "budget.amount=2", f"seed={seed}"),
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(count)
    ]
    ends = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, ends
    assert [stderr for _, stderr in ends] == [""] * count
    runs = runs_of(work, "trials")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.tags["seed"] for run in runs) == [str(seed) for seed in range(count)]


@pytest.mark.commands
def test_single_trials_that_start_together_in_a_new_folder_all_finish(work: Path) -> None:
    together(work, 3)


@pytest.mark.chaos
@pytest.mark.parametrize("turn", range(3))
def test_six_single_trials_that_start_together_in_a_new_folder_all_finish(
    work: Path, turn: int
) -> None:
    together(work, 6)
