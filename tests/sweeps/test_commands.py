"""`python -m sweeps`: what it shows, ends and takes away, on records written by our own writers."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.machine.files import locked
from harness.tracking import Names
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.record import CONFIG, LOCK, Status
from harness.tracking.store import open_store
from harness.tracking.writer import Writer
from sweeps import again
from sweeps.__main__ import main
from sweeps.driver import drivers, driving, interrupt, told
from sweeps.journal import FILE
from sweeps.plan import Plan
from sweeps.removal import size
from tests.conftest import ROOT
from tests.processes import wait_for
from tests.sweeps.test_manifest import Folder
from tests.sweeps.test_plan import planned


def trial(runs: Path, name: str, steps: int, status: Status | None, error: str = "") -> Path:
    """A record in which every step is one of four updates and gains a tenth."""
    folder = runs / "checkpoints" / name
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text('{"budget": {"unit": "updates", "amount": 4}}')
    writer = Writer(folder)
    writer.start({}, "")
    for step in range(steps + 1):
        measured = {"budget/updates": float(step), "perf/throughput": 1234.4}
        table = {"problem": ["1+1"], "score": [1.0]}
        writer.table(step, table)
        writer.step(step, measured | {"eval/accuracy": 0.4 + step / 10})
    if status is not None:
        writer.end(status, error)
    return folder


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    """Two that share a trial: both hold grpo."""
    grids = {"one": "algorithm=grpo,dr_grpo", "two": "algorithm=grpo,rloo"}
    return [planned(f"name={n}", g, "budget.amount=4", "seed=0") for n, g in grids.items()]


@pytest.fixture
def runs(tmp_path: Path, plans: list[Plan]) -> Path:
    folder = Folder(tmp_path / "runs")
    for plan in plans:
        folder.write(plan)
    return folder.runs


def names_of(runs: Path, name: str) -> list[str]:
    from sweeps.overview import newest

    return [job.trial for job in newest(runs, name).jobs]


def command(runs: Path, *arguments: str) -> int:
    return main([*arguments, "--runs", str(runs)])


def test_list_counts_trials_by_what_became_of_them(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grpo, dr_grpo = names_of(runs, "one")
    trial(runs, grpo, 4, Status.FINISHED)
    trial(runs, dr_grpo, 1, Status.FAILED, "RewardError: no")
    assert command(runs, "list") == 0
    one, two = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert "one" in one
    assert "1 finished, 1 failed" in one
    assert "1 finished, 1 waiting" in two


def test_status_says_where_each_trial_is(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three updates of four: 75 %; from .4 to .7; a failed one with its last line; .875 is 87 %."""
    grpo, dr_grpo = names_of(runs, "one")
    running = trial(runs, grpo, 3, None)
    trial(runs, dr_grpo, 1, Status.FAILED, "RewardError: no\nsecond line")
    with locked(running / LOCK, 0):
        assert command(runs, "status", "one") == 0
    question, header, first, second, failure, last = capsys.readouterr().out.splitlines()
    assert question == "one: grid: algorithm=grpo,dr_grpo"
    assert header.split()[:6] == ["trial", "state", "step", "done", "held-out", "change"]
    assert first.split() == f"{grpo} running 3 75% 0.700 +0.300 ▁▃▆█ 1,234".split()
    assert second.split() == f"{dr_grpo} failed 1 25% 0.500 +0.100 ▁█ 1,234".split()
    assert failure == f"{dr_grpo}  failed: RewardError: no second line"
    assert last == "one: 87% of 2 trials; 1 running, 1 failed; driven by nobody"


def test_a_sweep_that_is_not_sealed_is_listed_and_leaves_nothing(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with driving(runs, "new", print):
        assert command(runs, "list") == 0
        assert command(runs, "status", "new") == 0
        assert command(runs, "rm", "new", "--yes") == 2
        (row,) = [line for line in capsys.readouterr().out.splitlines() if "│ new" in line]
        assert "being prepared" in row
        assert f"process {os.getpid()} on {socket.gethostname()}" in row
    assert not (runs / "sweeps" / "new").exists()
    assert command(runs, "status", "new") == 2
    assert "no sweep 'new'" in capsys.readouterr().err


def test_cancel_is_ctrl_c_for_the_driver_and_for_nobody_else(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it\n"
        "from sweeps.driver import driving\n"
        "with driving(pathlib.Path(sys.argv[1]), 'one', print):\n"
        "    print('drives', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(runs)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"drives\n"
    own = f"process {process.pid} on {socket.gethostname()}"
    assert told(drivers(runs, "one")) == own
    assert command(runs, "rm", "one", "--yes") == 2
    assert "is driven by process" in capsys.readouterr().err
    assert command(runs, "cancel", "two") == 2
    assert "driven by nobody" in capsys.readouterr().err
    said: list[str] = []
    turn = threading.Event()

    def second() -> None:
        with driving(runs, "one", said.append):
            turn.set()

    waiting = threading.Thread(target=second)
    waiting.start()
    wait_for(lambda: bool(said), 20)
    assert said == [f"one: {own} drives it; this one waits for its end, and then does what is left"]
    (waits,) = [each for each in drivers(runs, "one") if each.waits]
    assert waits.process == os.getpid()
    assert not turn.is_set()
    os.kill(process.pid, signal.SIGINT)
    waiting.join(timeout=60)
    assert turn.is_set()
    assert process.wait(timeout=60) == -signal.SIGINT
    assert drivers(runs, "one") == []
    assert list((runs / "sweeps" / "one").glob("driver-*")) == []


def test_cancel_tells_what_the_same_command_will_do(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of two running trials has a checkpoint; the driver is this process, which notes it."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    grpo, dr_grpo = (trial(runs, name, 1, None) for name in names_of(runs, "one"))
    (grpo / "step_1").mkdir()
    try:
        with locked(grpo / LOCK, 0), locked(dr_grpo / LOCK, 0), driving(runs, "one", print):
            assert command(runs, "cancel", "one") == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
    first, second = capsys.readouterr().out.splitlines()
    assert first == (f"one: process {os.getpid()} is told to end as by Ctrl-C, its trials with it")
    assert second == (
        "the same command continues 1 trial at the last checkpoint and begins 1 trial anew, of "
        "which there is no checkpoint"
    )


def test_interrupt_ends_nobody_of_another_machine(runs: Path) -> None:
    folder = runs / "sweeps" / "one"
    with (
        locked(folder / "driver-elsewhere-1", 0),
        pytest.raises(ConfigError, match="process 1 on elsewhere: no process of this machine"),
    ):
        interrupt(runs, "one")


def test_retry_is_the_sweeps_own_command_for_what_is_missing(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What throws away, only looks or names the folder is left out; seeds are the plan's."""
    own = ["-m", "name=three", "algorithm=grpo,rloo", "seed=range(0,2)", "+x='a b'"]
    others = ["fresh=true", "runs=old", "dry_run=false", "++sweep.only=all"]
    monkeypatch.setattr(sys, "argv", ["harness", *own, *others])
    plan = planned("name=three", "algorithm=grpo,rloo", "budget.amount=4", "seed=0,1")
    Folder(runs).write(plan)
    done, failed, *rest = names_of(runs, "three")
    trial(runs, done, 4, Status.FINISHED)
    assert command(runs, "retry", "three", "--failed") == 2
    words = "sweep 'three' has no failed trial: 1 finished, 3 waiting; leave --failed out"
    assert words in capsys.readouterr().err
    trial(runs, failed, 2, Status.FAILED, "OSError: no room")
    kept = ["-m", "name=three", "algorithm=grpo,rloo", "seed=0,1", "+x='a b'", f"runs='{runs}'"]
    assert again.again(runs, "three", failed=True) == [*kept, "sweep.only=failed"]
    assert again.again(runs, "three", failed=False) == kept
    for name in rest:
        trial(runs, name, 4, Status.FINISHED)
    Writer(runs / "checkpoints" / failed).end(Status.FINISHED)
    assert command(runs, "retry", "three") == 2
    assert "has no trial without a result: 4 finished\n" in capsys.readouterr().err


@pytest.mark.parametrize("said", [[], ["name=four", "seed='0"]])
def test_a_plan_of_another_maker_is_not_retried(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", *said])
    Folder(runs).write(planned("name=four", "algorithm=grpo,rloo", "budget.amount=4", "seed=0"))
    assert command(runs, "retry", "four") == 2
    assert "its plan holds no command of a multirun" in capsys.readouterr().err
    assert command(runs, "retry", "nothing") == 2


def test_rm_takes_checkpoints_record_and_copy_and_leaves_what_others_use(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grpo, dr_grpo = names_of(runs, "one")
    for name in (grpo, dr_grpo):
        folder = trial(runs, name, 4, Status.FINISHED)
        MlflowTracking().publish(folder, runs, Names(name, name.split("__")[0], "one"))
        told = runs / "listeners" / "one" / name / "tensorboard"
        told.mkdir(parents=True)
        (told / "events").touch()
    assert command(runs, "rm", "one") == 2  # nobody is there to ask
    assert (runs / "checkpoints" / dr_grpo).is_dir()
    assert command(runs, "rm", "one", "--yes") == 0
    assert f"stays, since two uses it: {runs / 'checkpoints' / grpo}" in capsys.readouterr().out
    assert [path.name for path in (runs / "checkpoints").iterdir()] == [grpo]
    assert [path.name for path in (runs / "listeners" / "one").iterdir()] == [grpo]
    assert [path.name for path in (runs / "sweeps").iterdir()] == ["two"]
    client = open_store(runs)
    (experiment,) = [e for e in client.search_experiments() if e.name == "one"]
    left = client.search_runs([experiment.experiment_id])
    assert [run.data.tags["trial"] for run in left] == [grpo]
    assert command(runs, "rm", grpo, "--yes") == 0
    assert client.search_runs([experiment.experiment_id]) == []


@pytest.mark.parametrize("name", ["..", ".", "a/b", "nothing", "it's"])
def test_rm_of_what_is_no_trial_removes_nothing(
    runs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(runs.rglob("*"))
    assert command(runs, "rm", name, "--yes") == 2
    assert f"no sweep and no trial {name!r}" in capsys.readouterr().err
    assert sorted(runs.rglob("*")) == before


def test_a_running_trial_is_not_removed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grpo, _ = names_of(runs, "one")
    folder = trial(runs, grpo, 1, None)
    with locked(folder / LOCK, 0):
        assert command(runs, "rm", grpo, "--yes") == 2
    assert "runs now" in capsys.readouterr().err
    assert folder.is_dir()


def test_a_trial_that_a_driven_sweep_counts_on_is_not_removed(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tune has done with it: nobody would run it again, and the sweep would end without it."""
    grpo, _ = names_of(runs, "one")
    folder = trial(runs, grpo, 4, Status.FINISHED)
    with driving(runs, "two", print):
        assert command(runs, "rm", grpo, "--yes") == 2
    assert "two is driven by process" in capsys.readouterr().err
    assert folder.is_dir()
    assert command(runs, "rm", grpo, "--yes") == 0


@pytest.mark.parametrize("file", ["manifest.jsonl", FILE])
@pytest.mark.parametrize("text", ["", '{"event": "ope', '{"event": "other"}\n'])
def test_a_plan_that_cannot_be_read_hides_no_other_and_can_be_removed(
    runs: Path, file: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill in the first line, or a line that somebody wrote."""
    bad = runs / "sweeps" / "bad"
    bad.mkdir()
    (bad / file).write_text(text)
    kept = trial(runs, names_of(runs, "one")[0], 4, Status.FINISHED)
    assert command(runs, "list") == 0
    out = capsys.readouterr().out
    assert "1 finished, 1 waiting" in out
    assert str(bad / file) in out.replace("\n", "")
    assert command(runs, "du") == 0
    assert command(runs, "status", "bad") == 2
    assert command(runs, "retry", "bad") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(str(bad / file) in error for error in errors)
    assert command(runs, "rm", "bad", "--yes") == 0
    assert not bad.exists()
    assert kept.is_dir()


def test_du_counts_each_byte_once(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4 MB in a trial that two sweeps share, 2 MB in one that belongs to none."""
    grpo, _ = names_of(runs, "one")
    (trial(runs, grpo, 1, None) / "weights").write_bytes(bytes(4_000_000))
    (trial(runs, "mine__s0__1", 1, None) / "weights").write_bytes(bytes(2_000_000))
    assert command(runs, "du") == 0
    rows = {
        row.split("│")[1].strip(): row.split("│")[2].strip()
        for row in capsys.readouterr().out.splitlines()
        if row.startswith("│")
    }
    assert {key: rows[key] for key in ("one", "two", "single trials")} == {
        "one": "4.0",
        "two": "0.0",
        "single trials": "2.0",
    }
    assert size(runs / "checkpoints") >= 6_000_000


@pytest.mark.parametrize("arguments", [("list",), ("du",), ("status", "x"), ("cancel", "x")])
def test_an_empty_folder_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "runs", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
