"""The store: made once, found where it lies, refused in one line. Real files, processes, kills."""

import os
import pickle
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric

from harness.errors import ConfigError, StoreError
from harness.tracking.address import store_path
from harness.tracking.store import experiment_id, one_line, open_store

ROOT = Path(__file__).resolve().parents[2]
OPENS = """
import sys
from pathlib import Path
from harness.tracking.store import experiment_id, open_store
print("begins", flush=True)
client = open_store(Path(sys.argv[1]))
number = experiment_id(client, "trials", Path(sys.argv[1]))
for i in range(int(sys.argv[2])):
    client.log_metric(client.create_run(number).info.run_id, "x", i)
"""
open_for_reading = partial(open_store, create=False)
OTHER_USER = 65534  # nobody


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a new store."""
    runs = tmp_path_factory.mktemp("made") / "runs"
    runs.mkdir()
    open_store(runs)
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of the new store, in a folder of its own."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def opener(runs: Path, count: int = 1) -> subprocess.Popen[str]:
    """A process that opens the store and makes runs in it."""
    return subprocess.Popen(
        [sys.executable, "-c", OPENS, str(runs), str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_run(runs: Path) -> tuple[Any, str]:
    client = open_store(runs)
    return client, client.create_run(experiment_id(client, "trials", runs)).info.run_id


def count(runs: Path) -> int:
    client = open_store(runs)
    return len(client.search_runs([experiment_id(client, "trials", runs)]))


def sql(runs: Path, *statements: str) -> list[Any]:
    with closing(sqlite3.connect(runs / "mlflow.db")) as db, db:
        return [db.execute(statement).fetchall() for statement in statements]


def line(error: pytest.ExceptionInfo[Any]) -> str:
    """The message, which is one line and survives a process border."""
    message = str(error.value)
    assert "\n" not in message
    assert str(pickle.loads(pickle.dumps(error.value))) == message
    return message


# --- made once and whole --------------------------------------------------------------------------


@pytest.mark.commands
def test_many_that_start_together_share_one_store(tmp_path: Path) -> None:
    processes = [opener(tmp_path / "runs") for _ in range(4)]
    (tmp_path / "runs").mkdir(exist_ok=True)
    ends = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ends
    assert [stderr for _, stderr in ends] == [""] * 4
    assert count(tmp_path / "runs") == 4


def test_a_kill_at_any_moment_of_the_making_leaves_a_folder_that_works(tmp_path: Path) -> None:
    killed_at_random(tmp_path, kills=3, seed=random.SystemRandom().randrange(1000))


@pytest.mark.chaos
def test_many_kills_at_random_moments_of_the_making(tmp_path: Path) -> None:
    killed_at_random(tmp_path, kills=20, seed=random.SystemRandom().randrange(1000))


def killed_at_random(tmp_path: Path, kills: int, seed: int) -> None:
    print("seed", seed)
    moments = random.Random(seed)
    runs = tmp_path / "runs"
    runs.mkdir()
    early = 0
    for _ in range(kills):
        process = opener(runs)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        while not list(runs.glob(".mlflow.db.new*")) and process.poll() is None:
            time.sleep(0.002)  # mlflow's import takes as long as it takes
        time.sleep(moments.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        early += not (runs / "mlflow.db").exists()
        if moments.random() < 0.5:
            for file in runs.glob("mlflow.db*"):
                file.unlink()
    print(f"{early} of {kills} kills in the making")
    client, run = one_run(runs)
    assert client.get_run(run).info.status == "RUNNING"
    assert not list(runs.glob(".mlflow.db.new*"))


HALF_MADE = {
    "empty": lambda path: path.write_bytes(b""),
    "without_tables": lambda path: sql(path.parent, "CREATE TABLE alembic_version (version_num)"),
    "in_migration": lambda path: sql(
        path.parent,
        "CREATE TABLE runs (run_uuid)",
        "CREATE TABLE experiments (name)",
        "CREATE TABLE alembic_version (version_num)",
        "INSERT INTO alembic_version VALUES ('451aebb31d03')",
    ),
}


@pytest.mark.parametrize("kind", HALF_MADE)
def test_a_half_made_store_without_runs_is_made_again(tmp_path: Path, kind: str) -> None:
    HALF_MADE[kind](tmp_path / "mlflow.db")
    with pytest.raises(ConfigError, match="no MLflow store"):
        open_store(tmp_path, create=False)
    one_run(tmp_path)
    assert count(tmp_path) == 1


def test_a_whole_schema_without_its_first_experiment_is_half_made(runs: Path) -> None:
    sql(runs, "DELETE FROM experiments")
    one_run(runs)
    assert count(runs) == 1


def test_the_journal_of_a_deleted_store_is_not_replayed_into_the_next(runs: Path) -> None:
    """A writer was killed in mid-transaction; the user deleted the store but not its journal."""
    writer = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "db.execute('PRAGMA cache_size = 1')\n"
        "db.execute('UPDATE experiments SET name = hex(zeroblob(200000))')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", writer, str(runs / "mlflow.db")], check=False)
    assert (runs / "mlflow.db-journal").stat().st_size > 512
    (runs / "mlflow.db").unlink()
    one_run(runs)
    assert count(runs) == 1
    assert sql(runs, "PRAGMA integrity_check") == [[("ok",)]]


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no MLflow store"):
        open_for_reading(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- damaged, foreign, full -----------------------------------------------------------------------


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)


def overwritten(path: Path) -> None:
    """All but the first page: the header is right."""
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:4096] + bytes(size - 4096))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [truncated, garbage, overwritten, folder])
@pytest.mark.parametrize("opened", [open_store, open_for_reading])
def test_a_damaged_store_that_held_runs_is_refused_in_one_line(
    runs: Path, damage: Callable[[Path], None], opened: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    one_run(runs)
    damage(runs / "mlflow.db")
    with pytest.raises(StoreError, match=r"mlflow\.db cannot be used") as error:
        opened(runs)
    assert ("move it away" in line(error)) or damage is folder
    assert capfd.readouterr() == ("", "")


def test_damage_that_is_met_later_is_one_line_too(
    runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client, run = one_run(runs)
    sql(runs, "DROP TABLE latest_metrics")
    with pytest.raises(StoreError, match=r"no such table.*move it away") as error, one_line(runs):
        client.log_metric(run, "x", 1.0)
    line(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("schema", ["451aebb31d03", "ffffffffffff"])
def test_another_schema_with_runs_is_refused_and_kept(runs: Path, schema: str) -> None:
    one_run(runs)
    sql(runs, f"UPDATE alembic_version SET version_num = '{schema}'")
    with pytest.raises(StoreError, match=f"{schema} of another MLflow.*mlflow db upgrade") as error:
        open_store(runs)
    line(error)
    assert sql(runs, "SELECT count(*) FROM runs") == [[(1,)]]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_no_room_to_make_the_store_is_one_line_and_the_next_start_works(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        file_size_limit(200_000),
        pytest.raises(StoreError, match="free some space") as error,
    ):
        open_store(tmp_path)
    line(error)
    assert capfd.readouterr() == ("", "")
    one_run(tmp_path)
    assert count(tmp_path) == 1


def test_no_room_to_write_is_one_line_and_the_store_goes_on(
    runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client, run = one_run(runs)
    points = [Metric(f"{'m' * 200}{i}", 1.0, 0, 0) for i in range(900)]
    with (
        file_size_limit((runs / "mlflow.db").stat().st_size),
        pytest.raises(StoreError, match="free some space") as error,
        one_line(runs),
    ):
        client.log_batch(run, points)
    line(error)
    assert capfd.readouterr() == ("", "")
    client.log_batch(run, points)
    assert len(client.get_run(run).data.metrics) == 900


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
@pytest.mark.parametrize("moved", [False, True])
def test_a_store_that_may_not_be_written_is_read_or_refused(made: Path, moved: bool) -> None:
    with tempfile.TemporaryDirectory() as home:
        runs = Path(shutil.copytree(made, Path(home) / "runs"))
        _, run = one_run(runs)
        if moved:
            runs = runs.rename(Path(home) / "elsewhere")
        for path in (Path(home), *Path(home).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.seteuid(OTHER_USER)
        try:
            if moved:
                with pytest.raises(StoreError, match="copy the folder to where you may") as error:
                    open_for_reading(runs)
                line(error)
            else:
                assert open_for_reading(runs).get_run(run).info.run_id == run
        finally:
            os.seteuid(0)


# --- many writers ---------------------------------------------------------------------------------


@pytest.mark.commands
def test_many_processes_write_at_once_and_lose_nothing(runs: Path) -> None:
    processes = [opener(runs, count=15) for _ in range(3)]
    ends = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, ends
    client = open_store(runs)
    found = client.search_runs([experiment_id(client, "trials", runs)])
    assert sorted(run.data.metrics["x"] for run in found) == sorted([*range(15)] * 3)


# --- deleted, replaced, moved, copied -------------------------------------------------------------


def test_a_store_that_was_deleted_is_noticed_when_it_is_opened_again(runs: Path) -> None:
    client, run = one_run(runs)
    client.log_metric(run, "x", 1.0)
    (runs / "mlflow.db").unlink()
    client, run = one_run(runs)
    client.log_metric(run, "x", 2.0)
    assert count(runs) == 1
    assert sql(runs, "SELECT value FROM metrics") == [[(2.0,)]]


def test_a_store_that_was_replaced_is_noticed_when_it_is_opened_again(
    runs: Path, made: Path
) -> None:
    one_run(runs)
    other = shutil.copy(made / "mlflow.db", runs / "other.db")
    os.replace(other, runs / "mlflow.db")
    assert count(runs) == 0
    one_run(runs)
    assert sql(runs, "SELECT count(*) FROM runs") == [[(1,)]]


ODD = ("a?b=c", "per%20cent%", "a#b", "a[b]c", "with space", "naïve-研究", "at@host:1", "q'uo\"te")


@pytest.mark.parametrize("name", ODD)
def test_folders_with_odd_names_hold_store_and_artifacts(
    made: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    runs = Path(shutil.copytree(made, tmp_path / name / "runs"))
    client, run = one_run(runs)
    client.log_text(run, "text", "a.txt")
    client = open_for_reading(runs)
    assert Path(client.download_artifacts(run, "a.txt")).read_text() == "text"
    assert (runs / "artifacts" / "trials" / run / "artifacts" / "a.txt").read_text() == "text"
    assert sql(runs, "SELECT count(*) FROM runs") == [[(1,)]]
    assert {path.name for path in tmp_path.iterdir()} == {name, "here"}
    assert list((tmp_path / "here").iterdir()) == []


def test_a_new_store_in_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    runs = tmp_path / "what? 100%" / "runs"
    runs.mkdir(parents=True)
    one_run(runs)
    assert {path.name for path in runs.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}
    assert [path.name for path in tmp_path.iterdir()] == ["what? 100%"]


@pytest.mark.parametrize("to", ["moved", "it's moved 100%?#[x]"])
def test_a_moved_folder_keeps_its_artifacts_and_writes_new_ones_where_it_is(
    runs: Path, tmp_path: Path, to: str
) -> None:
    client, run = one_run(runs)
    client.log_text(run, "old", "a.txt")
    (tmp_path / to).mkdir()
    there = runs.rename(tmp_path / to / "runs")
    client = open_for_reading(there)
    assert Path(client.download_artifacts(run, "a.txt")).read_text() == "old"
    client, second = one_run(there)
    for number in (run, second):
        client.log_text(number, "new", "b.txt")
    assert not runs.exists()
    assert (there / "artifacts" / "trials" / run / "artifacts" / "b.txt").exists()
    assert (there / "artifacts" / "trials" / second / "artifacts" / "b.txt").exists()


def test_a_copy_is_a_store_of_its_own(runs: Path, tmp_path: Path) -> None:
    client, run = one_run(runs)
    client.log_text(run, "old", "a.txt")
    copy = Path(shutil.copytree(runs, tmp_path / "copy"))
    open_store(copy).log_text(run, "copy's", "a.txt")
    open_store(runs).log_text(run, "original's", "a.txt")
    tail = Path("artifacts") / "trials" / run / "artifacts" / "a.txt"
    assert ((copy / tail).read_text(), (runs / tail).read_text()) == ("copy's", "original's")


@pytest.mark.parametrize(
    "update",
    [
        "UPDATE runs SET artifact_uri = 'file:///elsewhere/a'",
        "UPDATE runs SET artifact_uri = 'ftp://127.0.0.1:9/x'",
        "UPDATE runs SET artifact_uri = artifact_uri || '/../../../../x'",
        "UPDATE experiments SET artifact_location = 's3://bucket/x'",
    ],
)
def test_a_store_that_leads_out_of_its_folder_is_refused(runs: Path, update: str) -> None:
    one_run(runs)
    sql(runs, update)
    with pytest.raises(StoreError, match="outside of its folder") as error:
        open_store(runs)
    line(error)


def test_a_link_in_the_place_of_the_artifacts_is_refused(runs: Path, tmp_path: Path) -> None:
    client, run = one_run(runs)
    client.log_text(run, "text", "a.txt")
    (runs / "artifacts").rename(tmp_path / "mine")
    (runs / "artifacts").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match="outside of its folder"):
        open_store(runs)


# --- experiments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a%2Fb", 'it\'s "x" ?#[y]', "研究", ".hidden", "x; DROP TABLE"])
def test_experiments_with_odd_names_hold_runs_and_artifacts(runs: Path, name: str) -> None:
    client = open_store(runs)
    number = experiment_id(client, name, runs)
    assert experiment_id(client, name, runs) == number
    run = client.create_run(number).info.run_id
    client.log_text(run, "text", "a.txt")
    assert (runs / "artifacts" / name / run / "artifacts" / "a.txt").read_text() == "text"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x", "a\nb", "a\0b", "é" * 101])
def test_names_that_no_folder_can_have_are_refused(runs: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="also a folder's") as error:
        experiment_id(open_store(runs), name, runs)
    line(error)


def test_an_experiment_that_is_not_there_names_those_that_are(runs: Path) -> None:
    one_run(runs)
    with pytest.raises(ConfigError, match=r"'absent' is not in .*; valid: Default, trials"):
        experiment_id(open_store(runs), "absent", runs, create=False)


def test_a_deleted_experiment_is_refused_with_a_remedy_that_works(runs: Path) -> None:
    client, _ = one_run(runs)
    client.delete_experiment(experiment_id(client, "trials", runs))
    with pytest.raises(ConfigError, match="was deleted from") as error:
        one_run(runs)
    message = line(error)
    remedy = message.partition("bring it back: ")[2].partition(", or drop")[0]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(remedy, shell=True, env=environment, check=True, capture_output=True)
    assert count(runs) == 1


# --- the user's environment -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_URI", "http://localhost:5000"),
        ("MLFLOW_TRACKING_URI", "sqlite:///other/mlflow.db"),
        ("MLFLOW_TRACKING_URI", "file:///tmp/mlruns"),
        ("MLFLOW_RUN_ID", "abc"),
        ("MLFLOW_EXPERIMENT_NAME", "mine"),
        ("MLFLOW_EXPERIMENT_ID", "3"),
    ],
)
def test_settings_for_another_store_are_refused_before_anything_is_written(
    tmp_path: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}='{value}'.*unset it") as error:
        open_store(tmp_path)
    line(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri", ["sqlite:///runs/mlflow.db", "sqlite:///{path}", "sqlite:///./x/../runs/mlflow.db", ""]
)
def test_the_address_of_this_store_is_no_other(
    runs: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(path=store_path(runs)))
    one_run(runs)
    assert count(runs) == 1
