"""Stores that no sweep should have left: a report or a message that says what is missing.

Never a traceback, never a trial that silently is not there, and reading makes no store.
"""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import synthetic_store
from synthetic_store import Plan, Trial

from analysis import load, record
from analysis.__main__ import main
from analysis.findings import findings
from analysis.report import write
from analysis.revisions import manifest_path
from analysis.study import NO_RESULT, read_study
from harness.errors import ConfigError, StoreError
from harness.tracking import store

ARMS, ONE = ("reinforce", "grpo"), "one_seed"


def plan(name: str, seeds: int = 2, arms: tuple[str, ...] = ARMS, **trial: Any) -> Plan:
    """Small trials of 10 steps; seed s of arm i reaches .8 + .01 s + .1 i."""
    found = [
        Trial(arm, s, 0.8 + 0.01 * s + 0.1 * i, **{"steps": 10, **trial})
        for s in range(seeds)
        for i, arm in enumerate(arms)
    ]
    return Plan(name, found, synthetic_store.PREDICTIONS if arms == ARMS else [])


LOWEST = -1.7976931348623157e308  # MLflow's -inf
HALF = "run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'seed' AND value = '0')"
LATE = f"step > 0 AND {HALF}"
# Name -> (plan, what was done to the points of its runs, seeds with a result per arm).
STUDIES: dict[str, tuple[Plan, str, list[int]]] = {
    "nothing_ran": (plan("nothing_ran", status=None), "", [0, 0]),
    "one_seed": (plan("one_seed", seeds=1), "", [1, 1]),
    "one_arm": (plan("one_arm", arms=ARMS[:1]), "", [2]),
    "all_dead": (plan("all_dead", status="FAILED"), "", [0, 0]),
    "half": (plan("half"), f"DELETE FROM metrics WHERE key = 'eval/accuracy' AND {LATE}", [1, 1]),
    "half_of_another": (
        plan("half_of_another"), f"DELETE FROM metrics WHERE key = 'eval/kl' AND {HALF}", [2, 2]
    ),
    "all_nan": (plan("all_nan"), "UPDATE metrics SET is_nan = 1, value = 0 WHERE 1", [0, 0]),
    "infinite": (
        plan("infinite"),
        f"UPDATE metrics SET value = {LOWEST} WHERE key = 'eval/accuracy' AND {LATE}",
        [1, 1],
    ),
    "unequal": (plan("unequal"), f"DELETE FROM metrics WHERE step > 5 AND {HALF}", [1, 1]),
    "no_metrics": (plan("no_metrics"), "DELETE FROM metrics WHERE 1", [0, 0]),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("degenerate") / "runs"
    client = synthetic_store.write(folder, [made for made, _, _ in STUDIES.values()])
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        for name, (_, change, _) in STUDIES.items():
            experiment = client.get_experiment_by_name(name).experiment_id
            own = f"SELECT run_uuid FROM runs WHERE experiment_id = {experiment}"
            if change:
                db.execute(f"{change} AND run_uuid IN ({own})")
    return folder


@pytest.mark.parametrize("name", STUDIES)
def test_a_degenerate_study_says_how_many_results_it_has(runs: Path, name: str) -> None:
    made, _, expected = STUDIES[name]
    study = read_study(runs, name)

    assert [len(study.values("eval/accuracy", label)) for label in study.labels] == expected
    assert study.trials["trial"].to_list() == [t.name for t in made.trials], "all are listed"
    with_result = study.finished["trial"].to_list()
    assert len(with_result) == sum(expected)
    told = set(study.trials["status"]) - {"FINISHED"}
    assert told <= {NO_RESULT, "MISSING", "FAILED"}
    found = findings(study)
    assert f"= {expected[0]}" in write(study, found, set())
    assert json.loads(record.written(study, found))["results"][0]["n"] == expected[0]


@pytest.mark.parametrize("name", ["nothing_ran", "half", "all_nan"])
def test_its_report_is_written_and_names_what_is_missing(
    runs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = 0 in STUDIES[name][2]
    assert main(["report", name, "--runs", str(runs)]) == (1 if empty else 0)

    assert "Traceback" not in capsys.readouterr().err
    markdown = (runs / "reports" / name / "report.md").read_text("utf-8")
    trials = STUDIES[name][0].trials
    failures = markdown.split("\n## Failures\n")[1].split("\n## ")[0]
    assert len(re.findall(r"^\| `", failures, re.MULTILINE)) == len(trials) - sum(STUDIES[name][2])
    if name != "nothing_ran":
        because = {"half": "not there", "all_nan": "nan"}[name]
        assert f"at its final step, 10, it is {because}" in markdown
        assert "has no result" in markdown


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    """A store of one's own, with the study ONE."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def test_names_of_any_script_are_read_compared_and_exported(copy: Path, tmp_path: Path) -> None:
    runs = copy.rename(tmp_path / "r'u\"n s,_研究<b>")
    name = "an, *odd* <b>_it_ “研究” 'q'"
    client = store.open_store(runs)
    experiment = store.experiment_id(client, name, runs)
    for label in ("a'b", 'say "x", y', "<i>_u_</i>", "研究"):
        run = client.create_run(experiment, tags={"variant": label, "trial": label})
        client.log_metric(run.info.run_id, "eval/accuracy", 0.5, step=1)
        client.set_terminated(run.info.run_id)
    options = ["--runs", str(runs)]

    assert set(load(runs, name).metrics["variant"]) == {"a'b", 'say "x", y', "<i>_u_</i>", "研究"}
    assert main(["compare", name, "--by", "variant", *options]) == 0
    for kind in ("--csv", "--parquet", "--latex"):
        assert main(["export", name, kind, *options]) == 0
    assert len(list((runs / "exports" / name).iterdir())) == 5 + 5 + 1


# --- files ----------------------------------------------------------------------------------------


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


DAMAGE: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "empty": (lambda p: p.write_bytes(b""), ConfigError, "no MLflow store at .* it has no table"),
    "garbage": (lambda p: p.write_bytes(b"no database " * 99), StoreError, "not a database"),
    "cut": (lambda p: os.truncate(p, p.stat().st_size // 2), StoreError, "malformed"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), StoreError, "unable to open"),
    "gone": (lambda p: p.unlink(), ConfigError, "no MLflow store at"),
    "without metrics": (lambda p: sql(p, "DROP TABLE metrics"), ConfigError, "no table metrics"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_store_is_one_line_and_stays_as_it_is(copy: Path, kind: str) -> None:
    damage, error, words = DAMAGE[kind]
    damage(copy / "mlflow.db")
    before = sorted(copy.rglob("*"))
    with pytest.raises(error, match=words) as said:
        load(copy)
    assert "\n" not in str(said.value)
    assert sorted(copy.rglob("*")) == before, "nothing is made by reading"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody in the middle of a long commit."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield


def test_a_locked_store_is_one_line(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_S", 0.1)
    with locked(copy / "mlflow.db"), pytest.raises(StoreError, match=r"is locked.*end that one"):
        load(copy)
    assert len(load(copy, ONE).runs) == 2


def test_reading_does_not_lock_writers_out(copy: Path) -> None:
    with closing(sqlite3.connect(copy / "mlflow.db")) as db, db:
        db.execute("BEGIN IMMEDIATE")  # a writer that has not committed yet
        db.execute("DELETE FROM metrics WHERE key = 'eval/kl'")
        assert "eval/kl" in set(load(copy, ONE).metrics["metric"])
    assert "eval/kl" not in set(load(copy, ONE).metrics["metric"])


def test_an_older_schema_is_read_without_an_upgrade(copy: Path) -> None:
    """The columns that are read are those of MLflow 1.0."""
    before = load(copy, cached=False)
    sql(copy / "mlflow.db", "UPDATE alembic_version SET version_num = '451aebb31d03'")
    for index in ("index_metrics_run_uuid", "index_metrics_run_uuid_key_step"):
        sql(copy / "mlflow.db", f"DROP INDEX {index}")
    sql(copy / "mlflow.db", "ALTER TABLE runs DROP COLUMN deleted_time")

    after = load(copy)
    assert after.metrics.equals(before.metrics, null_equal=True)
    with pytest.raises(StoreError, match=r"of another MLflow.*mlflow db upgrade"):
        read_study(copy, ONE)


def test_a_schema_without_a_column_is_one_line(copy: Path) -> None:
    sql(copy / "mlflow.db", "ALTER TABLE metrics RENAME COLUMN is_nan TO other")
    with pytest.raises(StoreError, match="no such column: is_nan"):
        load(copy)


def test_a_deleted_experiment_says_how_to_bring_it_back(copy: Path) -> None:
    client = store.open_store(copy)
    client.delete_experiment(client.get_experiment_by_name(ONE).experiment_id)

    with pytest.raises(
        ConfigError, match=r"'one_seed' was deleted from .*mlflow experiments restore"
    ):
        load(copy, ONE)
    assert main(["report", ONE, "--runs", str(copy)]) == 2
    assert ONE not in set(load(copy).runs["experiment"])


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_truncated_manifest_is_one_line(
    copy: Path, left: float, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest_path(copy, ONE)
    os.truncate(path, int(path.stat().st_size * left))
    assert main(["report", ONE, "--runs", str(copy)]) == 2
    error = capsys.readouterr().err
    assert "holds no whole revision" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["report", "x"], ["compare", "x", "--by", "a"]])
def test_commands_make_nothing_in_an_empty_folder(tmp_path: Path, arguments: list[str]) -> None:
    assert main([*arguments, "--runs", str(tmp_path)]) == 2
    assert main(["export", "x", "--csv", "--runs", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
