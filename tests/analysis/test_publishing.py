"""A report's copy in the store: one run, never among the trials; the same twice is once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as store
from mlflow import MlflowClient

from analysis.__main__ import main
from analysis.publishing import copied, published
from analysis.reading.loader import load
from analysis.revisions import manifest_path, read_revisions
from harness.errors import ConfigError
from harness.tracking import reports
from harness.tracking.store import connected

NAME = store.SOUND.name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("published") / "runs"
    store.write(runs, [store.SOUND])
    published(runs, NAME)
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A store of its own; opening it moves the addresses of its artifacts to where it lies."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def stored(runs: Path, experiment: str = reports.EXPERIMENT) -> list[Any]:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def files(run: Any) -> dict[str, bytes]:
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_store_has_page_figures_verdicts_and_numbers(made: Path) -> None:
    (run,) = stored(made)
    folder = made / "reports" / NAME
    assert files(run) == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"report.html", "report.json", "eval_accuracy_steps.svg"} <= files(run).keys()
    metrics = run.data.metrics
    # Planted in synthetic_store: grpo .87, .88, .89 and reinforce .80, .81, .82.
    assert metrics["result grpo"] == pytest.approx(0.88)
    assert metrics["result reinforce"] == pytest.approx(0.81)
    assert (metrics["seeds grpo"], metrics["seeds reinforce"]) == (3, 3)
    assert metrics["prediction 1/value"] == pytest.approx(0.07)
    assert metrics["prediction 1/low"] < 0.07 < metrics["prediction 1/high"]
    assert metrics["verdicts/supported"] >= 1
    assert metrics["gates/OK"] > metrics["gates/WARN"]
    assert (run.info.status, run.info.run_name) == ("FINISHED", NAME)
    seal = read_revisions(made, NAME).revisions[-1].seal
    assert (run.data.tags["report"], run.data.tags["seal"]) == (NAME, seal)
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("Does dividing the advantage by the group's spread help?")
    assert "1. `grpo` against `reinforce` on `eval/accuracy`, greater: **supported**" in note


def test_what_the_trials_are_about_stands_above_them(made: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{made / 'mlflow.db'}")
    about = client.get_experiment_by_name(NAME).tags["mlflow.note.content"]
    assert "Does dividing the advantage" in about
    assert "*Group by* `variant`" in about


def test_a_report_is_no_trial(made: Path) -> None:
    trials = {trial.name for trial in store.SOUND.trials}
    assert set(load(made).runs["trial"]) == trials
    assert load(made, reports.EXPERIMENT).runs.is_empty()
    assert set(load(made).points["run_id"]) == {run.info.run_id for run in stored(made, NAME)}


def test_published_twice_is_the_same_run(runs: Path) -> None:
    reports.publish(runs, copied(runs / "reports" / NAME))
    (first,) = stored(runs)
    reports.publish(runs, copied(runs / "reports" / NAME))
    (again,) = stored(runs)
    assert again.info.run_id == first.info.run_id
    assert again.data.metrics == first.data.metrics


def lose_a_file(runs: Path) -> None:
    next(runs.glob("artifacts/reports/*/artifacts/report.html")).unlink()


def change_a_file(runs: Path) -> None:
    next(runs.glob("artifacts/reports/*/artifacts/report.json")).write_text("{}")


def add_a_file(runs: Path) -> None:
    next(runs.glob("artifacts/reports/*/artifacts")).joinpath("old.svg").write_text("")


def change_a_number(runs: Path) -> None:
    with connected(runs / "mlflow.db") as db:
        db.execute("UPDATE latest_metrics SET value = 9 WHERE key = 'result grpo'")
        db.commit()


def leave_it_half_made(runs: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    client.update_run(stored(runs)[0].info.run_id, status="RUNNING")


def add_another(runs: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    client.create_run(stored(runs)[0].info.experiment_id, tags={"report": NAME})


@pytest.mark.parametrize(
    "change",
    [lose_a_file, change_a_file, add_a_file, change_a_number, leave_it_half_made, add_another],
    ids=lambda change: change.__name__,
)
def test_another_report_takes_the_place_of_the_one_that_is_there(runs: Path, change: Any) -> None:
    folder = runs / "reports" / NAME
    reports.publish(runs, copied(folder))
    whole = files(stored(runs)[0])
    before = stored(runs)[0].info.run_id
    change(runs)
    reports.publish(runs, copied(folder))
    (run,) = stored(runs)
    assert run.info.run_id != before
    assert run.info.status == "FINISHED"
    assert run.data.metrics["result grpo"] == pytest.approx(0.88)
    assert files(run) == whole


def test_a_description_of_somebodys_own_stays(runs: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(NAME).experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", "mine")
    reports.publish(runs, copied(runs / "reports" / NAME))
    assert client.get_experiment_by_name(NAME).tags["mlflow.note.content"] == "mine"


def test_a_store_is_never_made_for_a_report(runs: Path) -> None:
    (runs / "mlflow.db").unlink()
    with pytest.raises(ConfigError, match="no MLflow store at"):
        reports.publish(runs, copied(runs / "reports" / NAME))
    assert not (runs / "mlflow.db").exists()


def test_a_locked_store_is_one_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another program writes, and does not end."""
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "1")
    with connected(runs / "mlflow.db") as db:
        db.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("harness.tracking.store.BUSY_S", 0.1)
        assert main(["report", NAME, "--runs", str(runs)]) == 1
    said = capsys.readouterr().err.strip()
    assert "is locked" in said
    assert "end that one; the same command then continues" in said
    assert "\n" not in said


def test_the_copy_goes_with_the_sweep_that_it_is_of(runs: Path) -> None:
    from sweeps.removal import removal, remove

    reports.publish(runs, copied(runs / "reports" / NAME))
    remove(runs, removal(runs, NAME))
    assert stored(runs) == []
    assert not (runs / "reports" / NAME).exists()
    assert not manifest_path(runs, NAME).exists()


def test_labels_in_any_characters_they_may_have_are_metrics_apart(
    runs: Path, tmp_path: Path
) -> None:
    odd = ["a=b+c", "a.b.c", "größe", "."]
    data = json.loads((runs / "reports" / NAME / "report.json").read_text())
    data["results"] = [{"variant": label, "mean": 0.5, "n": 2} for label in odd]
    (tmp_path / "report.json").write_text(json.dumps(data))
    reports.publish(runs, copied(tmp_path))
    found = stored(runs)[0].data.metrics
    keys = {"result a:b c", "result a.b.c", "result größe", "result ."}
    assert {key for key in found if key.startswith("result ")} == keys


def test_what_is_no_number_is_left_out(runs: Path, tmp_path: Path) -> None:
    """A withheld verdict has no p, a variant without a result no mean."""
    data = json.loads((runs / "reports" / NAME / "report.json").read_text())
    data["predictions"][0] |= {"p": None, "verdict": "withheld"}
    data["withheld"] = "trust gate FAIL: All planned trials finished"
    (tmp_path / "report.json").write_text(json.dumps(data))
    made = copied(tmp_path)
    assert "prediction 1/p" not in made.metrics
    assert "prediction 2/p" in made.metrics
    assert made.metrics["verdicts/withheld"] == 1
    assert "No verdict is given: trust gate FAIL" in made.note
