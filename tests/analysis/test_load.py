"""`analysis.load`: what comes out of a store, which attempt counts, and that a cache never lies."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import synthetic_store
from mlflow.entities import Metric
from polars.testing import assert_frame_equal
from synthetic_store import Plan, Trial

import analysis
from analysis import attempts, failures, frame, record
from analysis.ablation import Primary
from analysis.findings import findings
from analysis.reading import cache, columns, database, server, tidy
from analysis.reading.loader import Data, load
from analysis.reading.source import Run
from analysis.study import NO_RESULT, read_study
from harness.errors import ConfigError, StoreError
from harness.tracking import store

NAME = "loaded"
# The last one failed at step 10; the first two are the attempts of one trial.
TRIALS = [
    Trial("reinforce", 0, 0.8, steps=10),
    Trial("grpo", 0, 0.9, steps=20),
    Trial("grpo", 1, 0.9, status="FAILED", steps=10),
]
INF = float("inf")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("load") / "runs"
    client = synthetic_store.write(runs, [Plan(NAME, TRIALS)])
    experiment = client.get_experiment_by_name(NAME).experiment_id
    other = client.create_run(experiment, run_name="by hand").info.run_id
    points = [
        Metric("x", 1.0, 5, 0),
        Metric("x", 2.0, 9, 0),  # the same step, later
        Metric("x", float("nan"), 1, 1),
        Metric("x", INF, 1, 2),
        Metric("x", -INF, 1, 3),
        Metric("x", 0.1 + 0.2, 1, 4),
    ]
    client.log_batch(other, metrics=points)
    client.log_param(other, "seed", "7")
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def sql(runs: Path, *statements: str) -> None:
    with closing(sqlite3.connect(runs / "mlflow.db")) as db, db:
        for statement in statements:
            db.execute(statement)


def same(one: Data, other: Data) -> None:
    for name in ("runs", "metrics", "evals", "samples"):
        assert_frame_equal(getattr(one, name), getattr(other, name))


# --- what comes out -------------------------------------------------------------------------------


def test_one_call_gives_four_tidy_frames_and_writes_no_store(runs: Path) -> None:
    before = (runs / "mlflow.db").read_bytes()
    data = analysis.load(runs, NAME)

    assert dict(data.runs.schema) == {name: kind() for name, kind in columns.ATTEMPTS.items()}
    assert dict(data.metrics.schema) == {name: kind() for name, kind in columns.METRICS.items()}
    assert data.runs.select("trial", "seed", "status").rows() == [
        ("by hand", 7, "RUNNING"),
        ("grpo__s0__abababab", 0, "FINISHED"),
        ("grpo__s1__abababab", 1, "FAILED"),
        ("reinforce__s0__abababab", 0, "FINISHED"),
    ]
    # 24 prompts in the two tables of each of three trials; item 0 is wrong.
    assert dict(data.evals.schema) == {name: kind() for name, kind in columns.EVALS.items()}
    assert data.evals.shape[0] == data.samples.shape[0] == 3 * 2 * 24
    row = data.evals.row(0, named=True)
    assert (row["trial"], row["step"], row["item"], row["correct"]) == (
        *("grpo__s0__abababab", 0, 0, False),
    )
    assert data.samples[0, "response"].startswith("7-8=-1+3=2;")
    assert (runs / "mlflow.db").read_bytes() == before


def test_values_are_what_was_logged_to_the_bit(runs: Path) -> None:
    """The later record of a step; NaN, which MLflow keeps beside; ±inf, which it bends."""
    x = load(runs, NAME).metrics.filter(trial="by hand")["value"].to_list()

    assert x[0] == 2.0
    assert x[1] != x[1]
    assert x[2:] == [INF, -INF, 0.1 + 0.2]


SERVES = """
import os, sys
from mlflow.server import BACKEND_STORE_URI_ENV_VAR, app
from werkzeug.serving import make_server
os.environ[BACKEND_STORE_URI_ENV_VAR] = sys.argv[1]
running = make_server("127.0.0.1", 0, app, threaded=True)
print(running.server_port, flush=True)
running.serve_forever()
"""


@pytest.fixture(scope="module")
def mlflow_server(made: Path) -> Iterator[str]:
    """MLflow's own REST service in a process of its own, on a port of this machine."""
    command = [sys.executable, "-c", SERVES, f"sqlite:///{made / 'mlflow.db'}"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.mark.commands
def test_sql_and_server_agree(
    made: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PAGE", 3)  # of four runs
    one, other = load(made, NAME, cached=False), load(mlflow_server, NAME)

    same(one, other)
    with pytest.raises(ConfigError, match=r"'nope' is not in the MLflow store; valid: .*loaded"):
        load(mlflow_server, "nope")


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match=r"^http://127.0.0.1:9 cannot be used .*start the server"):
        load("http://127.0.0.1:9", NAME)


def test_all_experiments_or_several(runs: Path) -> None:
    assert_frame_equal(load(runs).metrics, load(runs, [NAME, "Default"]).metrics)


# --- which attempt counts -------------------------------------------------------------------------


def attempt(number: int, status: str, identity: str = "", **more: Any) -> Run:
    """A run of one trial; those with a higher number began later."""
    tags = {"trial": "t", "status": status, "identity": identity, "record": f"r{number}"}
    run = {"started_ms": number, "ended_ms": None, "uri": "", "experiment": "e"}
    run |= {"lifecycle": "active", "id": f"run {number}", "name": "t", "status": "RUNNING"}
    return Run(**{**run, "tags": tags, **more})


@pytest.mark.parametrize(
    ("made", "counts"),
    [
        ([("FINISHED", "a"), ("FINISHED", "a")], 0),  # a result is not taken back
        ([("FINISHED", "a"), ("FAILED", "a")], 0),
        ([("FINISHED", "a"), ("RUNNING", "a")], 0),
        ([("FAILED", "a"), ("FINISHED", "a"), ("FINISHED", "a")], 1),
        ([("FINISHED", "stale"), ("FINISHED", "plan")], 1),  # what the plan means
        ([("FINISHED", "stale"), ("FAILED", "plan")], 0),  # the content gate tells of it
        ([("FAILED", "plan"), ("KILLED", "a")], 1),  # none finished: the newest
    ],
)
def test_the_attempt_that_counts(made: list[tuple[str, str]], counts: int) -> None:
    runs = [attempt(i, *one) for i, one in enumerate(made)]
    found = tidy.attempts(reversed(runs), {"t": "plan"})

    assert len(found) == len(made), "all are kept"
    assert found.filter("counts")["run_id"].to_list() == [f"run {counts}"]


def test_deleted_attempts_are_shown_and_never_count() -> None:
    """One that was made anew from the same record is not an attempt of its own."""
    deleted = {"lifecycle": "deleted"}
    again = attempt(3, "FINISHED", id="anew", tags=attempt(2, "FINISHED").tags)
    runs = [attempt(1, "FINISHED", **deleted), attempt(2, "FINISHED", **deleted), again]
    found = tidy.attempts(runs)

    assert found.select("run_id", "lifecycle", "counts").rows() == [
        ("run 1", "deleted", False),
        ("anew", "active", True),
    ]


def test_namesakes_without_a_trial_are_not_attempts_of_one() -> None:
    runs = [attempt(i, "FINISHED", id=f"{i}" * 32, name="run", tags={}) for i in range(2)]
    found = tidy.attempts(runs)

    assert found["trial"].to_list() == ["run 00000000", "run 11111111"]
    assert found["counts"].all()


def test_seeds_that_no_integer_holds_are_none() -> None:
    tags = [{"seed": seed} for seed in ("9" * 30, "9" * 19, "-1", "", "x", "3")]
    runs = [attempt(i, "FINISHED", id=f"{i}", name=f"{i}", tags=t) for i, t in enumerate(tags)]
    assert tidy.attempts(runs)["seed"].to_list() == [columns.NO_SEED] * 5 + [3]


# --- the result -----------------------------------------------------------------------------------


def test_a_trial_that_ends_in_nan_has_no_result_and_is_told(runs: Path) -> None:
    """It had a finite accuracy at steps 0 and 10; the result is that of step 20 or none."""
    sql(runs, "UPDATE metrics SET is_nan = 1, value = 0 WHERE key = 'eval/accuracy' AND step = 20")
    study = read_study(runs, NAME)
    section = failures.section(study, findings(study))

    assert dict(study.trials.select("trial", "status").iter_rows()) == {
        "reinforce__s0__abababab": "FINISHED",
        "grpo__s0__abababab": NO_RESULT,
        "grpo__s1__abababab": "FAILED",
    }
    assert len(study.values("eval/accuracy", "grpo")) == 0
    assert "| grpo | 0 | NO RESULT | at its final step, 20, it is nan |" in section
    assert any("1 of 3 planned trials" in rule for rule in attempts.rules(study))


@pytest.mark.parametrize("end", [float("nan"), INF, None])
def test_a_result_is_the_value_at_the_final_step(end: float | None) -> None:
    rows = [("r", "t", "a", 0, "eval/accuracy", step, 0.5 + step / 100) for step in (0, 10)]
    rows += [("r", "t", "a", 0, "eval/kl", 20, 1.0)]
    rows += [] if end is None else [("r", "t", "a", 0, "eval/accuracy", 20, end)]
    metrics = pl.DataFrame(rows, schema=columns.METRICS, orient="row")

    assert frame.results(metrics, Primary()).is_empty()


def test_a_later_finished_run_is_listed_and_does_not_replace_the_first(runs: Path) -> None:
    client = store.open_store(runs)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    plan = synthetic_store.manifest(Plan(NAME, TRIALS))
    again = Trial("grpo", 0, 0.99, steps=20)
    later = synthetic_store.write_trial(client, experiment, plan, again, 9)
    study = read_study(runs, NAME)

    assert study.values("eval/accuracy", "grpo").tolist() == pytest.approx([0.9])
    shown = "\n".join(attempts.shown(study))
    lines = [line for line in shown.splitlines() if "`grpo__s0" in line]
    assert [line.rsplit("|", 2)[1].strip() for line in lines] == ["yes", "no"]
    assert later in lines[1]
    data = json.loads(record.written(study, findings(study)))
    assert [run["counts"] for run in data["attempts"]["grpo__s0__abababab"]] == [True, False]
    assert data["no_result"] == {}
    assert tidy.RULE in shown


# --- the cache ------------------------------------------------------------------------------------


def held(runs: Path) -> list[Path]:
    return sorted((runs / "cache").iterdir())


def test_a_hit_is_what_reading_gives_and_asks_for_no_point(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(runs, NAME)
    assert len(held(runs)) == 1
    fresh = load(runs, NAME, cached=False)
    monkeypatch.setattr(database.Database, "points", None)
    hit = load(runs, NAME)

    same(hit, first)
    same(hit, fresh)


CHANGES: dict[str, str] = {
    "a value in place": "UPDATE metrics SET value = 3 WHERE key = 'x' AND step = 4",
    "a point more": "INSERT INTO metrics SELECT key, 5, 2, run_uuid, 9, 0 FROM metrics "
    "WHERE key = 'x' AND step = 4",
    "a point less": "DELETE FROM metrics WHERE key = 'x' AND step = 4",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_commit_to_the_store_is_noticed(runs: Path, change: str) -> None:
    """Also one that changes neither counts nor ids, status, end time, size or time of the file."""
    before = load(runs, NAME)
    path = runs / "mlflow.db"
    stat = path.stat()
    sql(runs, change)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load(runs, NAME)

    same(after, load(runs, NAME, cached=False))
    assert not after.metrics.equals(before.metrics, null_equal=True)
    assert len(held(runs)) == 1, "that of the earlier state is gone"


def test_another_store_in_the_same_place_is_another(runs: Path, made: Path) -> None:
    load(runs, NAME)
    other = shutil.copy2(made / "mlflow.db", runs / "other")
    sql(runs, "DELETE FROM metrics")
    assert load(runs, NAME).metrics.is_empty()
    os.replace(other, runs / "mlflow.db")
    same(load(runs, NAME), load(made, NAME, cached=False))


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_a_store_whose_commits_pass_the_file_by_is_always_read(runs: Path, end: str) -> None:
    (runs / f"mlflow.db{end}").touch()
    assert cache._state(runs / "mlflow.db") == ""


def damaged(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])


@pytest.mark.parametrize(
    "damage", [damaged, lambda path: os.truncate(path, 50), lambda path: path.unlink()]
)
def test_a_damaged_cache_is_read_past_and_mended(
    runs: Path, damage: Callable[[Path], object]
) -> None:
    first = load(runs, NAME)
    (path,) = held(runs)
    damage(path)
    same(load(runs, NAME), first)
    assert path in held(runs)


def test_a_cache_that_cannot_be_written_costs_time_only(runs: Path) -> None:
    (runs / "cache").write_text("in the way")
    same(load(runs, NAME), load(runs, NAME, cached=False))


def test_readers_at_once_all_get_the_same(runs: Path) -> None:
    found: list[Data] = []
    threads = [threading.Thread(target=lambda: found.append(load(runs, NAME))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(one.points.equals(found[0].points, null_equal=True) for one in found)
    assert len(held(runs)) == 1


def test_what_changes_while_it_is_read_is_not_kept(runs: Path) -> None:
    def read() -> pl.DataFrame:
        sql(runs, "DELETE FROM metrics WHERE key = 'x'")
        return pl.DataFrame(schema=columns.POINTS)

    cache.kept(runs / "mlflow.db", "1", read)
    assert not (runs / "cache").exists()


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mysql://x/y", "sqlite+pysqlite:///x"])
def test_other_kinds_of_store_are_refused_by_name(uri: str) -> None:
    with pytest.raises(ConfigError, match="begins with sqlite, postgresql, http, https"):
        load(uri)


def test_passwords_are_not_shown() -> None:
    with pytest.raises((ConfigError, StoreError)) as error:
        load("postgresql://me:secret@127.0.0.1:1/mlflow")
    assert "secret" not in str(error.value)
    assert "me:***@127.0.0.1" in str(error.value)


def test_passwords_are_not_shown_in_what_a_server_says() -> None:
    """MLflow repeats the whole address."""
    said = "API request to https://me:secret@127.0.0.1:1/api/2.0 failed, see http://a.b:80/c@d"
    with pytest.raises(StoreError) as error, server.worded("https://me:***@127.0.0.1:1"):
        raise OSError(said)
    assert "secret" not in str(error.value)
    assert "https://me:***@127.0.0.1:1/api/2.0 failed, see http://a.b:80/c@d" in str(error.value)


def test_a_name_that_no_folder_has_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"NUL character, received 'a\\x00b'"):
        load("a\0b")


def test_a_moved_folder_finds_its_tables(runs: Path, tmp_path: Path) -> None:
    before = load(runs, NAME).evals
    moved = runs.rename(tmp_path / "it's moved 100%?#[x]")
    assert_frame_equal(load(moved, NAME).evals, before)


def test_a_study_of_searches_has_the_first_tables_too(runs: Path) -> None:
    assert read_study(runs, NAME).first_tables == {}
    searches = (
        "task:\n  _target_: harness.tasks.countdown.Countdown\n"
        "  template:\n    _target_: harness.tasks.templates.Compact\n"
    )
    for config in runs.glob("artifacts/*/*/artifacts/config.yaml"):
        config.write_text(config.read_text() + searches)
    study = read_study(runs, NAME)
    assert study.first_tables.keys() == study.tables.keys() != set()
    for trial, table in study.first_tables.items():
        # The response says which step it is of.
        assert "=12; 0 " in table["response"][0]
        assert "=12; 0 " not in study.tables[trial]["response"][0]


def test_the_signs_of_a_collapse_are_all_that_it_looks_at() -> None:
    """`Study.collapsed` passes on these metrics only."""
    from harness.measure import collapse

    asked: set[str] = set()

    class Asked(dict[str, float]):
        def __contains__(self, key: object) -> bool:
            asked.add(str(key))
            return super().__contains__(key)

        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

    for gradient in (0.0, 1.0):
        steps = [
            {"actor/grad_norm": gradient, "eval/accuracy": 0.0, "eval/kl": 9.0} for _ in range(9)
        ]
        steps[0]["eval/accuracy"] = 1.0
        collapse.of([(i, Asked(metrics)) for i, metrics in enumerate(steps)])
    assert asked == set(collapse.SIGNS)
