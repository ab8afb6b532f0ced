"""A report's copy in the store: one run for each name, in an experiment of their own.

It is no trial: it carries the tag REPORT, by which whoever reads trials passes it over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine import files
from harness.tracking import artifacts, store
from harness.tracking.address import store_path
from harness.tracking.mlflow import LOCK, LOCK_WAIT_S, NOTE, delete

EXPERIMENT = "reports"
# Tag of such a run; its value is the name of the ablation or grid.
REPORT = "report"


@dataclass(frozen=True)
class Copied:
    """What a report's run says.

    Attributes:
        name: of the ablation or grid, which is also the experiment of its trials.
        about: of that experiment, as Markdown; shown above its runs unless somebody wrote another.
        note: of the report, as Markdown.
        tags, metrics: of the run; every metric is finite.
        files: those of the report, texts by their names.
    """

    name: str
    about: str
    note: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    files: Mapping[str, str]


def publish(runs: Path, report: Copied) -> None:
    """Let the store have this report and no other one of its name; the same twice changes nothing.

    Raises:
        ConfigError: there is no store, or its experiment was deleted.
        StoreError: the store is locked or cannot be written.
    """
    with files.locked(runs / LOCK, LOCK_WAIT_S), store.one_line(runs):
        client = store.open_store(runs, create=False)
        _describe(client, report)
        experiment = store.experiment_id(client, EXPERIMENT, runs)
        found = _runs(client, experiment, report.name)
        if len(found) == 1 and _is_copy(found[0], report, runs):
            return
        for run in found:
            client.delete_run(run.info.run_id)
        _write(client, experiment, report)


def forget(runs: Path, name: str) -> None:
    """Delete the copy of a report that is thrown away.

    Raises:
        StoreError: the store cannot be written.
    """

    def copies(client: Any) -> list[Any]:
        found = client.get_experiment_by_name(EXPERIMENT)
        return _runs(client, found.experiment_id, name) if found else []

    delete(runs, copies)


def _runs(client: Any, experiment: str, name: str) -> list[Any]:
    return list(client.search_runs([experiment], f"tags.{REPORT} = '{name}'"))


def _describe(client: Any, report: Copied) -> None:
    """Say above the trials what they are about; a description of somebody's own stays."""
    trials = client.get_experiment_by_name(report.name)
    if trials is not None and NOTE not in trials.tags:
        client.set_experiment_tag(trials.experiment_id, NOTE, report.about)


def _tags(report: Copied) -> dict[str, str]:
    return {**report.tags, REPORT: report.name, NOTE: report.note}


def _is_copy(run: Any, report: Copied, runs: Path) -> bool:
    """Whether a run is whole and says what the report says."""
    uri, root = run.info.artifact_uri, store_path(runs).with_name("artifacts")
    return (
        run.info.status == "FINISHED"
        and run.data.metrics == report.metrics
        and _tags(report).items() <= run.data.tags.items()
        and all(artifacts.text_of(uri, root, n) == text for n, text in report.files.items())
        and artifacts.listed(uri, root) == sorted(report.files)
    )


def _write(client: Any, experiment: str, report: Copied) -> None:
    from mlflow.entities import Metric

    run = client.create_run(experiment, run_name=report.name, tags=_tags(report))
    now = run.info.start_time
    points = [Metric(key, value, now, 0) for key, value in report.metrics.items()]
    client.log_batch(run.info.run_id, metrics=points)
    for name, text in report.files.items():
        client.log_text(run.info.run_id, text, name)
    client.set_terminated(run.info.run_id)
