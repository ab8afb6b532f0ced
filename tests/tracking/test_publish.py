"""MLflow's copy of a record: complete, whatever was there; the same twice. Real stores."""

import json
import math
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from harness.errors import StoreError
from harness.machine.files import locked
from harness.tracking import Names
from harness.tracking.mlflow import MlflowTracking
from harness.tracking.record import CONFIG, LOCK, Status, read
from harness.tracking.store import open_store
from harness.tracking.writer import Writer

NAMES = Names("grpo__s0__aa", "grpo", "question")
METRICS = {f"actor/m{i}": i / 3 for i in range(40)}
STEPS = 9


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store; making one takes as long as a whole test."""
    runs = tmp_path_factory.mktemp("empty") / "runs"
    runs.mkdir()
    open_store(runs)
    return runs / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, empty: Path) -> Path:
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(empty, runs)
    return runs


@pytest.fixture
def folder(runs: Path) -> Path:
    """A finished trial: 9 steps of 41 metrics, evaluated at every third."""
    folder = runs / "checkpoints" / "grpo__s0__aa"
    folder.mkdir(parents=True)
    writer = Writer(folder)
    labels = {"algorithm": "grpo", "task": "countdown", "model": "tiny"}
    writer.text(CONFIG, json.dumps({"labels": labels, "seed": 3, "budget": {"amount": 8}}))
    writer.start({"torch": "2.13"}, seal="5ea1")
    writer.text("prompt.txt", "Q1 2=3?")
    for step in range(STEPS):
        metrics = {**METRICS, "actor/kl": math.nan if step == 4 else math.inf}
        if step % 3 == 0:
            writer.table(step, {"item": [0, 1], "response": ["A1+2!", "naïve \u202e"]})
            metrics["eval/accuracy"] = step / 10
        writer.step(step, metrics)
    writer.end(Status.FINISHED)
    return folder


def content(runs: Path, experiment: str = "question") -> dict[str, Any]:
    """All that the store says of the experiment's one run, but for ids that it makes up."""
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    points = {
        (key, point.step): (repr(point.value), point.timestamp)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    }
    files = {
        file.path: Path(client.download_artifacts(run.info.run_id, file.path)).read_bytes()
        for where in (None, "eval")
        for file in client.list_artifacts(run.info.run_id, where)
        if not file.is_dir
    }
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    return {
        "points": points, "files": files, "tags": tags, "params": run.data.params,
        "status": run.info.status, "times": (run.info.start_time, run.info.end_time),
    }  # fmt: skip


def publish(runs: Path, folder: Path, names: Names = NAMES) -> None:
    MlflowTracking().publish(folder, runs, names)


def test_a_copy_has_all_that_the_record_has(runs: Path, folder: Path) -> None:
    publish(runs, folder)
    made, record = content(runs), read(folder)
    assert record is not None
    assert len(made["points"]) == STEPS * 41 + 3
    assert made["points"]["eval/accuracy", 6] == ("0.6", record.steps[6].time_ms)
    assert made["points"]["actor/kl", 4][0] == "nan"
    assert sorted(made["files"]) == [
        "config.yaml",
        *(f"eval/step_{step:06d}.json" for step in (0, 3, 6)),
        "prompt.txt",
    ]
    assert json.loads(made["files"]["eval/step_000003.json"])["data"][1] == [1, "naïve \u202e"]
    assert (made["tags"]["seal"], made["tags"]["torch"], made["tags"]["seed"]) == (
        "5ea1", "2.13", "3",
    )  # fmt: skip
    assert made["status"] == "FINISHED"
    assert made["times"] == (record.started_ms, record.ended_ms)


CONFIGURED = {
    "labels": {"algorithm": "grpo"},
    "seed": 3,
    "budget": {"amount": 8, "unit": "updates"},
    "reward": {"_target_": "harness.rewards.binary.Binary"},
    "task": {"_target_": "harness.tasks.countdown.Countdown", "counts": [3, 4]},
}


@pytest.mark.parametrize(
    ("labels", "named", "expected"),
    [
        # A trial without a plan: whoever looks finds every key.
        (
            {},
            None,
            {
                "seed": "3", "algorithm": "grpo", "budget.amount": "8", "budget.unit": "updates",
                "task.counts.0": "3", "task.counts.1": "4",
            },
        ),
        # Of a plan: what differs; a key that only another variant has is no column of this one.
        (
            {"differing": ["budget.amount", "algorithm.clip_low", "reward._target_"]},
            None,
            {"seed": "3", "budget.amount": "8", "reward": "Binary"},
        ),
        # Variants that differ in nothing.
        ({"differing": []}, None, {"seed": "3"}),
        # Published under another plan, which says what differs there.
        (
            {"differing": ["budget.amount"]},
            ("budget.unit",),
            {"seed": "3", "budget.unit": "updates"},
        ),
        # A folder may be anybody's.
        (
            {"differing": 7},
            (),
            {"seed": "3"},
        ),
    ],
)  # fmt: skip
def test_params_are_what_differs_between_the_trials_of_a_plan(
    runs: Path,
    folder: Path,
    labels: dict[str, Any],
    named: tuple[str, ...] | None,
    expected: dict[str, str],
) -> None:
    config = {**CONFIGURED, "labels": {"algorithm": "grpo", **labels}}
    (folder / CONFIG).write_text(json.dumps(config))
    publish(runs, folder, Names(folder.name, "grpo", "question", named))
    assert content(runs)["params"] == {"variant": "grpo", **expected}


def test_publishing_twice_changes_nothing(runs: Path, folder: Path) -> None:
    publish(runs, folder)
    first = content(runs)
    publish(runs, folder)
    assert content(runs) == first


def remove_store(runs: Path) -> None:
    (runs / "mlflow.db").unlink()
    shutil.rmtree(runs / "artifacts")


def remove_run(runs: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("question").experiment_id])
    client.delete_run(run.info.run_id)


def remove_points(runs: Path) -> None:
    """As a store that was replaced in mid-run: the first steps are gone."""
    with sqlite3.connect(runs / "mlflow.db") as connection:
        gone = connection.execute("DELETE FROM metrics WHERE step < 4").rowcount
    assert gone > 100
    connection.close()


def change_a_value(runs: Path) -> None:
    with sqlite3.connect(runs / "mlflow.db") as connection:
        query = "UPDATE metrics SET value = .99 WHERE key = 'eval/accuracy' AND step = 6"
        assert connection.execute(query).rowcount == 1
    connection.close()


def add_a_point(runs: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("question").experiment_id])
    client.log_metric(run.info.run_id, "eval/accuracy", 0.99, step=100)


def remove_files(runs: Path) -> None:
    shutil.rmtree(next((runs / "artifacts").glob("*/*")))


def cut_a_table(runs: Path) -> None:
    next(runs.glob("artifacts/*/*/artifacts/eval/step_000003.json")).write_text('{"col')


def change_a_table(runs: Path) -> None:
    """To other results in as many bytes."""
    table = next(runs.glob("artifacts/*/*/artifacts/eval/step_000003.json"))
    table.write_bytes(table.read_bytes().replace(b"A1+2", b"A2+1"))


def garble_the_config(runs: Path) -> None:
    next(runs.glob("artifacts/*/*/artifacts/config.yaml")).write_bytes(b"\xff: [\0")


def leave_it_running(runs: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("question").experiment_id])
    client.update_run(run.info.run_id, status="RUNNING")
    client.set_tag(run.info.run_id, "variant", "something else")


@pytest.mark.parametrize(
    "loss",
    [
        *(remove_store, remove_run, remove_points, change_a_value, add_a_point),
        *(remove_files, cut_a_table, change_a_table, garble_the_config, leave_it_running),
    ],
    ids=lambda loss: loss.__name__,
)
def test_what_a_store_has_lost_is_published_again(runs: Path, folder: Path, loss: Any) -> None:
    publish(runs, folder)
    whole = content(runs)
    loss(runs)
    publish(runs, folder)
    assert content(runs) == whole


@pytest.mark.parametrize("name", ["config.yaml", "prompt.txt", "eval/step_000003.json", "eval"])
def test_a_link_where_an_artifact_should_be_is_not_followed(
    runs: Path, folder: Path, tmp_path: Path, name: str
) -> None:
    publish(runs, folder)
    mine = tmp_path / "mine"
    path = next(runs.glob(f"artifacts/*/*/artifacts/{name}"))
    path.rename(mine)
    before = mine.read_bytes() if mine.is_file() else sorted(mine.iterdir())
    path.symlink_to(mine)
    with pytest.raises(StoreError, match=r"is a link to .*move it away") as refused:
        publish(runs, folder)
    assert "\n" not in str(refused.value)
    assert (mine.read_bytes() if mine.is_file() else sorted(mine.iterdir())) == before


def test_a_record_can_be_in_several_experiments_and_names_its_origin(
    runs: Path, folder: Path
) -> None:
    publish(runs, folder)
    publish(runs, folder, Names("full__s0__aa", "full", "another question"))
    first, second = content(runs), content(runs, "another question")
    assert first["points"] == second["points"]
    assert first["tags"]["origin"] == ""
    assert second["tags"]["origin"] == "grpo__s0__aa"
    assert (second["tags"]["variant"], second["tags"]["ablation"]) == ("full", "another question")


def test_a_trial_that_was_started_over_replaces_its_old_run(runs: Path, folder: Path) -> None:
    publish(runs, folder)
    for path in (folder / "record.jsonl", *(folder / "tables").iterdir()):
        path.unlink()
    writer = Writer(folder)
    writer.start({}, "")
    writer.step(0, {"actor/m0": 7.0})
    writer.end(Status.FAILED, "it broke")
    publish(runs, folder)
    made = content(runs)
    assert {key: value for key, (value, _) in made["points"].items()} == {("actor/m0", 0): "7.0"}
    assert made["status"] == "FAILED"


def test_a_step_that_is_made_again_replaces_what_was_published_of_it(
    runs: Path, folder: Path
) -> None:
    """A line of the record is lost after it was published; MLflow cannot change a point."""
    publish(runs, folder)
    lines = (folder / "record.jsonl").read_text().splitlines(keepends=True)
    (folder / "record.jsonl").write_text("".join(x for x in lines if '"step": 8,' not in x))
    Writer(folder).start({}, "")
    following = MlflowTracking().follow(folder, runs, NAMES)
    time_ms = Writer(folder).step(8, {"actor/m0": 7.0})
    following.step(8, {"actor/m0": 7.0}, time_ms)
    Writer(folder).end(Status.FINISHED)
    publish(runs, folder)
    made = content(runs)
    assert {key: value for key, value in made["points"].items() if key[1] == 8} == {
        ("actor/m0", 8): ("7.0", time_ms)
    }
    assert made["status"] == "FINISHED"


def test_what_a_running_trial_adds_meanwhile_is_no_reason_to_begin_again(
    runs: Path, folder: Path
) -> None:
    """A report publishes while the trial writes: the store can be ahead of the record it read."""
    with locked(folder / LOCK, 0):
        Writer(folder).start({}, "")
        following = MlflowTracking().follow(folder, runs, NAMES)
        following.step(9, {"actor/m0": 9.0}, 1)
        publish(runs, folder)
        assert ("actor/m0", 9) in content(runs)["points"]
    publish(runs, folder)
    assert ("actor/m0", 9) not in content(runs)["points"], "nobody works on it: the record is all"


def test_no_fact_takes_the_place_of_a_name(runs: Path, folder: Path) -> None:
    Writer(folder).start({"trial": "x", "seal": "forged", "identity": "forged"}, "")
    publish(runs, folder)
    tags = content(runs)["tags"]
    assert (tags["trial"], tags["seal"], tags.get("identity", "")) == ("grpo__s0__aa", "5ea1", "")


def test_an_interrupted_trial_is_not_running(runs: Path, folder: Path) -> None:
    Writer(folder).start({}, "")
    publish(runs, folder)
    made = content(runs)
    assert (made["status"], made["tags"]["status"]) == ("KILLED", "INTERRUPTED")
    assert made["tags"]["attempt"] == "2"


def test_a_hostile_config_is_data(runs: Path, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    target = {"_target_": "os.system", "command": f"touch {canary}"}
    (folder / CONFIG).write_text(json.dumps({"labels": ["x"], "task": target, "seed": target}))
    publish(runs, folder)
    assert "os.system" in content(runs)["files"]["config.yaml"].decode()
    assert not canary.exists()
