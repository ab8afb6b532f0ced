"""One ablation as loaded: its plan, its trials and their numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from analysis import elsewhere, frame, looks
from analysis.comparing import Comparison, comparison
from analysis.looks import Look
from analysis.manifest import Manifest
from analysis.reading import files, tidy
from analysis.reading.columns import ATTEMPTS, METRICS, RUNS
from analysis.reading.files import Files
from analysis.reading.loader import Data, load
from analysis.reading.records import publish
from analysis.reading.source import Run
from analysis.revisions import History, read_revisions, seals
from analysis.skills import searches
from analysis.stats import FloatArray
from harness.measure import collapse
from harness.measure.collapse import Collapse
from harness.tracking import store
from harness.tracking.record import RECORD

MISSING = "MISSING"
NO_RESULT = "NO RESULT"
FINISHED = "FINISHED"

TRIALS = {
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "config_hash": pl.String,
    "planned": pl.String,
}


@dataclass(frozen=True)
class Study:
    """Everything a report is made of.

    Attributes:
        history: every revision of the manifest, oldest first.
        trials: one row per trial that the plan calls for, in the manifest's order: TRIALS, then
            the columns of `columns.RUNS` that describe the run that counts. `status` is MLflow's,
            MISSING for a trial without a run and NO RESULT for a finished one whose primary metric
            is not a number where the trial ended.
        metrics: columns of `columns.METRICS`, finished trials only.
        results: `frame.results` of `metrics`.
        tables: trial -> its last evaluation table.
        first_tables: trial -> its first evaluation table, of a study of searches only.
        config: resolved config of the first finished trial; empty if none was stored.
        strangers: trials in the store that no revision of the manifest plans.
        runs: columns `columns.RUNS`, one row per trial in the store, planned or not.
        seals: seal of every revision under the runs folder -> name of its ablation or grid.
        gone: planned trials whose own record is not on the disk.
        elsewhere: `elsewhere.ended_before` the plan was last changed; without predictions nothing.
        looks: earlier reports on a part of the results (`analysis.looks`).
        attempts: columns `columns.ATTEMPTS`, every run of every trial in the store.
    """

    history: History
    trials: pl.DataFrame
    metrics: pl.DataFrame
    results: pl.DataFrame
    tables: dict[str, pl.DataFrame]
    config: dict[str, Any]
    strangers: list[str]
    runs: pl.DataFrame
    seals: dict[str, str]
    gone: set[str] = field(default_factory=set)
    elsewhere: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=elsewhere.COLUMNS))
    looks: list[Look] = field(default_factory=list)
    attempts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ATTEMPTS))
    first_tables: dict[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """The plan as it is now: its newest revision."""
        return self.history.revisions[-1]

    @property
    def labels(self) -> list[str]:
        """Labels of the variants, in the file's order."""
        return self.manifest.ablation.labels

    @property
    def baseline(self) -> str:
        """Label of the baseline."""
        return self.manifest.ablation.baseline

    @property
    def others(self) -> list[str]:
        """Labels of the variants that are not the baseline."""
        return [label for label in self.labels if label != self.baseline]

    @property
    def primary(self) -> str:
        """Key of the primary metric."""
        return self.manifest.ablation.primary.metric

    @property
    def finished(self) -> pl.DataFrame:
        """Rows of `trials` that have a result."""
        return self.trials.filter(pl.col("status") == FINISHED)

    @cached_property
    def collapsed(self) -> dict[str, Collapse]:
        """Finished trials in which learning was killed, with what was seen; they have results."""
        found = {trial: collapse.of(self._signs.get(trial, [])) for trial in self.finished["trial"]}
        return {trial: fallen for trial, fallen in found.items() if fallen is not None}

    @cached_property
    def _signs(self) -> dict[str, list[tuple[int, dict[str, float]]]]:
        """Trial -> (step, metrics) in order, of the metrics that tell a collapse."""
        steps: dict[str, dict[int, dict[str, float]]] = {}
        own = self.metrics.filter(pl.col("metric").is_in(collapse.SIGNS)).sort("trial", "step")
        for trial, step, metric, value in own.select(
            "trial", "step", "metric", "value"
        ).iter_rows():
            steps.setdefault(trial, {}).setdefault(step, {})[metric] = value
        return {trial: list(of.items()) for trial, of in steps.items()}

    @property
    def paired(self) -> bool:
        """Whether the plan says that seeds are compared one by one."""
        return self.manifest.ablation.paired

    def values(self, metric: str, variant: str) -> FloatArray:
        """Results of one metric, shape (n,), ordered by seed."""
        return frame.values(self.results, metric, variant)

    def common(self, metric: str, variant: str, baseline: str) -> tuple[FloatArray, FloatArray]:
        """Results of two variants at the seeds that have both, shape (n,) each, by seed."""
        return frame.common(self.results, metric, variant, baseline)

    def arms(self, metric: str, variant: str, baseline: str) -> tuple[FloatArray, FloatArray]:
        """Results of two variants as the declared test takes them, all seeds or common ones."""
        return frame.arms(self.results, metric, variant, baseline, self.paired)


def compare(study: Study, metric: str, variant: str) -> Comparison:
    """A variant against the ablation's baseline, on one metric."""
    own, base = study.arms(metric, variant, study.baseline)
    return comparison(study.values(metric, variant), own, base, metric, study.paired)


def read_study(runs: Path, name: str) -> Study:
    """Load an ablation from its manifest and the MLflow store under `runs`, once it is complete.

    Raises:
        ConfigError: no manifest, no store, or no such experiment.
        StoreError: the store is damaged, of another MLflow, or cannot be written.
    """
    history = read_revisions(runs, name)
    manifest = history.revisions[-1]
    publish(runs, history)
    store.open_store(runs, create=False)  # refuses one that is not this MLflow's
    data = load(runs, name, planned={job.trial: job.identity for job in manifest.jobs})
    counted = data.runs.filter("counts").select(list(RUNS))
    trials = _planned(manifest, counted)
    finished = trials.filter(pl.col("status") == FINISHED)
    # The plan, not the tags, says which variant and seed a trial is.
    metrics = tidy.metrics(data.points, finished)
    results = frame.results(metrics, manifest.ablation.primary)
    config = _config(data, finished)
    empty = (pl.col("status") == FINISHED) & ~pl.col("trial").is_in(results["trial"].to_list())
    return Study(
        history=history,
        trials=trials.with_columns(
            status=pl.when(empty).then(pl.lit(NO_RESULT)).otherwise(pl.col("status"))
        ),
        metrics=metrics,
        results=results.select(list(METRICS)),
        tables=_tables(data, finished, files.last_table),
        config=config,
        strangers=sorted(set(counted["trial"]) - history.trials),
        runs=counted,
        seals=seals(runs),
        gone=_gone(runs, manifest),
        elsewhere=elsewhere.ended_before(runs, manifest),
        looks=looks.recorded(runs, name),
        attempts=data.runs,
        first_tables=_tables(data, finished, files.first_table) if searches(config) else {},
    )


def _gone(runs: Path, manifest: Manifest) -> set[str]:
    """Planned trials whose record is not on the disk: those that never ran, and lost ones."""
    records = {job.trial: runs / "checkpoints" / job.record / RECORD for job in manifest.jobs}
    return {trial for trial, path in records.items() if not path.is_file()}


def _tables(
    data: Data, finished: pl.DataFrame, which: Callable[[Files, Run], pl.DataFrame | None]
) -> dict[str, pl.DataFrame]:
    """Trial -> one of its evaluation tables, of those that have any."""
    rows = finished.select("trial", "run_id").iter_rows()
    read = {trial: which(data.files, data.stored[run_id]) for trial, run_id in rows}
    return {trial: table for trial, table in read.items() if table is not None}


def _config(data: Data, finished: pl.DataFrame) -> dict[str, Any]:
    """The first finished trial's; empty if there is none."""
    if finished.is_empty():
        return {}
    return files.config(data.files, data.stored[finished[0, "run_id"]])


def _planned(manifest: Manifest, counted: pl.DataFrame) -> pl.DataFrame:
    """Every planned trial with what the store says of its run."""
    planned = pl.DataFrame(
        [(j.trial, j.variant, j.seed, j.config_hash, j.identity) for j in manifest.called_jobs],
        schema=TRIALS,
        orient="row",
    )
    found = counted.drop("variant", "seed")
    trials = planned.join(found, on="trial", how="left", maintain_order="left")
    return trials.with_columns(pl.col("status").fill_null(MISSING))
