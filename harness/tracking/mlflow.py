"""MLflow on sqlite: a copy of the trials' records, one experiment per ablation, one run per trial.

A copy is made from the record alone, whatever of it is there already, so that a store that was
lost, moved or cut short is made whole by publishing again.
"""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import digest
from harness.errors import StoreError
from harness.machine import files, shown
from harness.tracking import Names, artifacts, params, store
from harness.tracking.address import check_environment, store_path
from harness.tracking.record import Record, Status, read

log = logging.getLogger(__name__)

# MLflow refuses more in one call.
MAX_PARAMS, MAX_METRICS = 100, 1000
LARGEST = sys.float_info.max
# Whoever makes a run holds this lock: two at once would make two. A copy takes seconds.
LOCK, LOCK_WAIT_S = "mlflow.lock", 120.0
# A run's config, for people and for the report.
CONFIG_FILE = "config.yaml"
# The description that MLflow shows of a run or an experiment.
NOTE = "mlflow.note.content"
# Where MLflow's page of a run looks for tables.
TABLES_TAG = "mlflow.loggedArtifacts"

# Metric, step, time in ms, value as MLflow stores it.
Point = tuple[str, int, int, float | None]


@dataclass(frozen=True)
class MlflowTracking:
    """The store `runs/mlflow.db`."""

    def check(self, runs: Path) -> None:
        check_environment(store_path(runs))

    def prepare(self, runs: Path, experiment: str) -> None:
        store.experiment_id(store.open_store(runs), experiment, runs)

    def publish(self, folder: Path, runs: Path, names: Names) -> None:
        _published(folder, runs, names)

    def follow(self, folder: Path, runs: Path, names: Names) -> "Following":
        run_id = _published(folder, runs, names, begins=True)
        return Following(runs, store.open_store(runs), run_id)


class Following:
    """A run that grows with its trial.

    A store that fails in the meantime does not end the training: the record has everything, and
    the copy is made complete when the trial ends.
    """

    def __init__(self, runs: Path, client: Any, run_id: str) -> None:
        self.runs = runs
        self.client = client
        self.run_id = run_id
        self.lost = False

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        if self.lost:
            return
        try:
            with store.one_line(self.runs):
                _log_points(self.client, self.run_id, _points(step, metrics, time_ms))
        except StoreError as error:
            self.lost = True
            log.warning("MLflow's copy stays behind from step %d on: %s", step, error)


def forget(runs: Path, trial: str) -> None:
    """Delete the copies of a record that is thrown away, in every experiment.

    Raises:
        StoreError: the store cannot be written.
    """

    def copies(client: Any) -> list[Any]:
        experiments = [each.experiment_id for each in client.search_experiments()]
        own = client.search_runs(experiments, f"tags.trial = '{trial}'")
        return [*own, *client.search_runs(experiments, f"tags.origin = '{trial}'")]

    delete(runs, copies)


def delete(runs: Path, found: Callable[[Any], Iterable[Any]]) -> None:
    """Delete the runs that are found in the store; nothing where there is none.

    Raises:
        StoreError: the store cannot be written.
    """
    if not store_path(runs).exists():
        return
    with files.locked(runs / LOCK, LOCK_WAIT_S), store.one_line(runs):
        client = store.open_store(runs)
        for run in found(client):
            client.delete_run(run.info.run_id)


def _published(folder: Path, runs: Path, names: Names, begins: bool = False) -> str:
    """Make the run of a record complete; returns its id, "" for a folder without a record.

    Args:
        begins: nobody adds to the record meanwhile.
    """
    with files.locked(runs / LOCK, LOCK_WAIT_S):
        record = read(folder)
        if record is None:
            return ""
        with store.one_line(runs):
            client = store.open_store(runs)
            experiment = store.experiment_id(client, names.experiment, runs)
            run = _run_of(client, experiment, record, names)
            there = _stored_points(runs, run.info.run_id)
            if not _is_copy(there, record, begins):
                client.delete_run(run.info.run_id)
                run, there = _run_of(client, experiment, record, names), set()
            _complete(client, run, record, names, there)
            _copy_files(client, run.info.run_id, record, runs)
            _close(client, run, record)
            return str(run.info.run_id)


def _is_copy(there: set[Point], record: Record, begins: bool) -> bool:
    """Whether a run holds nothing but what the record says.

    It may hold steps of a record that was damaged since, which the trial makes again; MLflow
    cannot take them back. What is newer than the record was when it was read may be news.
    """
    still = begins or record.status is not Status.RUNNING
    own = set(_expected(record))
    return all(point in own for point in there if still or point[1] <= record.last)


def _expected(record: Record) -> Iterator[Point]:
    for step, made in record.steps.items():
        for key, value in made.metrics.items():
            yield key, step, made.time_ms, _kept(value)


def _kept(value: float) -> float | None:
    """A value as MLflow's tables hold it: NaN beside the numbers, ±inf as the largest of them."""
    return None if math.isnan(value) else max(-LARGEST, min(LARGEST, value))


def _complete(client: Any, run: Any, record: Record, names: Names, there: set[Point]) -> None:
    """Add to a run what it lacks of a record."""
    _describe(client, run, record, names)
    points = (
        point
        for step, made in record.steps.items()
        for point in _points(step, made.metrics, made.time_ms)
        if (point.key, step, made.time_ms, _kept(point.value)) not in there
    )
    _log_points(client, run.info.run_id, points)


def _run_of(client: Any, experiment: str, record: Record, names: Names) -> Any:
    """The record's one run; those of records that were thrown away are deleted."""
    found = client.search_runs([experiment], f"tags.trial = '{names.trial}'")
    own = [run for run in found if run.data.tags.get("record") == record.id]
    for run in found:
        if run not in own[:1]:
            client.delete_run(run.info.run_id)
    if own:
        return own[0]
    return client.create_run(
        experiment,
        start_time=record.started_ms,
        tags={"trial": names.trial, "record": record.id},
        run_name=names.trial,
    )


def _describe(client: Any, run: Any, record: Record, names: Names) -> None:
    """Tags under which the run is found, and params for the UI."""
    from mlflow.entities import Param, RunTag

    labels, sweep = _section(record, "labels"), _section(record, "sweep")
    deciding = params.deciding(record)
    origin = record.folder.name
    tags = {
        **record.facts,  # first: no fact takes the place of what follows
        **{key: str(labels.get(key, "")) for key in ("algorithm", "task", "model")},
        "trial": names.trial,
        "record": record.id,
        "variant": names.variant,
        "seed": str(deciding.get("seed", "")),
        "ablation": names.ablation,
        "seal": record.seal,
        "config_hash": digest(deciding),
        "group_hash": digest({k: v for k, v in deciding.items() if k != "seed"}),
        "identity": record.identity,
        "attempt": str(record.attempts),
        "status": record.status.value,
        "reason": record.error,
        "stage": str(sweep.get("stage", "")),
        "warnings": "; ".join(record.warnings.values()),
        "origin": "" if origin == names.trial else origin,
        "accepted_as": " ".join(record.accepted),
        "accepted": "; ".join(dict.fromkeys(c for cs in record.accepted.values() for c in cs)),
        TABLES_TAG: json.dumps([{"path": _table_name(s), "type": "table"} for s in record.tables]),
    }
    if NOTE not in run.data.tags:  # it may be somebody's own by now
        tags[NOTE] = _note(record, names)
    tags = {key: shown.storable(value) for key, value in tags.items()}
    new = [RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    columns = params.of(record, names).items()
    entries = [Param(key, value) for key, value in columns if key not in run.data.params]
    client.log_batch(run.info.run_id, tags=new)
    for start in range(0, len(entries), MAX_PARAMS):
        client.log_batch(run.info.run_id, params=entries[start : start + MAX_PARAMS])


def _note(record: Record, names: Names) -> str:
    """What a run is, and where all of it lies."""
    seed = params.deciding(record).get("seed", "")
    return (
        f"`{shown.line(names.variant)}` at seed {seed} of `{names.experiment}`, copied from the "
        f"record in `checkpoints/{shown.line(record.folder.name)}`."
    )


def _section(record: Record, name: str) -> dict[str, Any]:
    """A part of a record's config; empty where there is none."""
    found = record.config.get(name)
    return found if isinstance(found, dict) else {}


def _points(step: int, metrics: Mapping[str, float], time_ms: int) -> Iterator[Any]:
    from mlflow.entities import Metric

    return (Metric(key, value, time_ms, step) for key, value in metrics.items())


def _log_points(client: Any, run_id: str, points: Iterable[Any]) -> None:
    """Writing a point that is there already changes nothing."""
    waiting = list(points)
    for start in range(0, len(waiting), MAX_METRICS):
        client.log_batch(run_id, metrics=waiting[start : start + MAX_METRICS])


def _stored_points(runs: Path, run_id: str) -> set[Point]:
    """Every point of a run.

    Asked of the file: MLflow's own way is one query per metric, and thirty times as long.
    """
    query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?"
    with store.connected(store_path(runs)) as db:
        return {
            (str(key), int(step), int(ms), None if nan else float(value))
            for key, step, ms, value, nan in db.execute(query, (run_id,))
        }


def _table_name(step: int) -> str:
    return f"eval/step_{step:06d}.json"


def _copy_files(client: Any, run_id: str, record: Record, runs: Path) -> None:
    """The config, the texts and the tables, as artifacts that say what the record says."""
    texts = {path.name: path for path in record.texts}
    uri = client.get_run(run_id).info.artifact_uri  # checked when the store was opened
    root = store_path(runs).with_name("artifacts")
    for name, path in {**texts, **{_table_name(s): p for s, p in record.tables.items()}}.items():
        text = path.read_bytes().decode()
        if artifacts.text_of(uri, root, name) != text:
            client.log_text(run_id, text, name)
    artifacts.path_of(uri, root, CONFIG_FILE)
    client.log_dict(run_id, record.config, CONFIG_FILE)


def _close(client: Any, run: Any, record: Record) -> None:
    """MLflow's status and times; it has no word for interrupted."""
    status = Status.KILLED if record.status is Status.INTERRUPTED else record.status
    if status is Status.RUNNING:
        client.update_run(run.info.run_id, status=status.value)
        return
    newest = record.steps[record.last].time_ms if record.steps else record.started_ms
    ended = record.ended_ms or newest
    if (run.info.status, run.info.end_time) != (status.value, ended):
        client.set_terminated(run.info.run_id, status.value, ended)
