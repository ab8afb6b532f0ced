"""One ablation as loaded: its plan, its trials and their numbers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from analysis import elsewhere, frame, load, looks, stats
from analysis.ablation import Manifest
from analysis.looks import Look
from analysis.revisions import History
from analysis.stats import Difference, Estimate, FloatArray
from analysis.units import estimate, limit
from harness.measure import collapse
from harness.measure.collapse import Collapse
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
        trials: one row per planned trial in the manifest's order: TRIALS, then the columns of
            `load.RUNS` that describe its run. `status` is MLflow's, MISSING for a trial without
            a run and NO RESULT for a finished one that never evaluated the primary metric.
        metrics: columns of `load.METRICS`, finished trials only.
        results: `frame.results` of `metrics`.
        tables: trial -> its last evaluation table.
        config: resolved config of the first finished trial; empty if none was stored.
        strangers: trials in the store that no revision of the manifest plans.
        runs: columns `load.RUNS`, one row per trial in the store, planned or not.
        seals: seal of every revision under the runs folder -> name of its ablation or grid.
        gone: planned trials whose own record is not on the disk.
        elsewhere: `elsewhere.ended_before` the plan was last changed; without predictions nothing.
        looks: earlier reports on a part of the results (`analysis.looks`).
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

    @property
    def collapsed(self) -> dict[str, Collapse]:
        """Finished trials in which learning was killed, with what was seen; they have results."""
        found = {trial: collapse.of(self._history(trial)) for trial in self.finished["trial"]}
        return {trial: fallen for trial, fallen in found.items() if fallen is not None}

    def _history(self, trial: str) -> list[tuple[int, dict[str, float]]]:
        """(step, metrics) of a trial, in order."""
        steps: dict[int, dict[str, float]] = {}
        own = self.metrics.filter(pl.col("trial") == trial).sort("step")
        for step, metric, value in own.select("step", "metric", "value").iter_rows():
            steps.setdefault(step, {})[metric] = value
        return list(steps.items())

    @property
    def paired(self) -> bool:
        """Whether the plan says that seeds are compared one by one."""
        return self.manifest.ablation.paired

    def values(self, metric: str, variant: str) -> FloatArray:
        """Results of one metric, shape (n,), ordered by seed."""
        return frame.values(self.results, metric, variant)

    def common(self, metric: str, variant: str, baseline: str) -> tuple[FloatArray, FloatArray]:
        """Results of two variants at the seeds that have both, shape (n,) each, by seed."""
        rows = self.results.filter(pl.col("metric") == metric)
        own, base = (
            rows.filter(pl.col("variant") == label).select("seed", "value")
            for label in (variant, baseline)
        )
        both = own.join(base, on="seed", suffix="_base").sort("seed")
        return both["value"].to_numpy(), both["value_base"].to_numpy()

    def arms(self, metric: str, variant: str, baseline: str) -> tuple[FloatArray, FloatArray]:
        """Results of two variants as the declared test takes them, all seeds or common ones."""
        if self.paired:
            return self.common(metric, variant, baseline)
        return self.values(metric, variant), self.values(metric, baseline)


@dataclass(frozen=True)
class Comparison:
    """One metric of one variant, beside the baseline.

    Attributes:
        difference: variant minus baseline.
        g: Hedges g; NaN without spread.
        detectable: smallest true difference that 80 % of such studies would find with this test
            alone at .05; NaN if unknown.
    """

    estimate: Estimate
    difference: Difference
    g: float
    detectable: float


def compare(study: Study, metric: str, variant: str) -> Comparison:
    """A variant against the ablation's baseline, on one metric."""
    own, base = study.arms(metric, variant, study.baseline)
    test = stats.paired if study.paired else stats.welch
    return Comparison(
        estimate(study.values(metric, variant), metric),
        test(own, base, limit=limit(metric)),
        stats.hedges_g(own, base),
        stats.detectable(own, base, stats.ALPHA, study.paired).value,
    )


def read_study(runs: Path, name: str) -> Study:
    """Load an ablation from its manifest and the MLflow store under `runs`, once it is complete.

    Raises:
        ConfigError: no manifest, no store, or no such experiment.
    """
    history = load.read_revisions(runs, name)
    manifest = history.revisions[-1]
    load.publish(runs, history)
    client = load.open_store(runs)
    experiment = load.load_experiment(client, name, runs)
    trials = _planned(manifest, experiment)
    finished = trials.filter(pl.col("status") == FINISHED)
    # The plan, not the tags, says which variant and seed a trial is.
    metrics = experiment.metrics.drop("variant", "seed").join(
        finished.select("trial", "variant", "seed"), on="trial"
    )
    results = frame.results(metrics, manifest.ablation.primary)
    empty = (pl.col("status") == FINISHED) & ~pl.col("trial").is_in(results["trial"].to_list())
    run_ids = dict(zip(finished["trial"], finished["run_id"], strict=True))
    read = {trial: load.last_table(client, run_id, runs) for trial, run_id in run_ids.items()}
    return Study(
        history=history,
        trials=trials.with_columns(
            status=pl.when(empty).then(pl.lit(NO_RESULT)).otherwise(pl.col("status"))
        ),
        metrics=metrics.select(list(load.METRICS)),
        results=results.select(list(load.METRICS)),
        tables={trial: table for trial, table in read.items() if table is not None},
        config=load.run_config(client, next(iter(run_ids.values())), runs) if run_ids else {},
        strangers=sorted(set(experiment.runs["trial"]) - history.trials),
        runs=experiment.runs,
        seals=load.seals(runs),
        gone=_gone(runs, manifest),
        elsewhere=elsewhere.ended_before(runs, manifest),
        looks=looks.recorded(runs, name),
    )


def _gone(runs: Path, manifest: Manifest) -> set[str]:
    """Planned trials whose record is not on the disk: those that never ran, and lost ones."""
    records = {job.trial: runs / "checkpoints" / job.record / RECORD for job in manifest.jobs}
    return {trial for trial, path in records.items() if not path.is_file()}


def _planned(manifest: Manifest, experiment: load.Experiment) -> pl.DataFrame:
    """Every planned trial with what the store says of its run."""
    planned = pl.DataFrame(
        [(j.trial, j.variant, j.seed, j.config_hash, j.identity) for j in manifest.jobs],
        schema=TRIALS,
        orient="row",
    )
    found = experiment.runs.drop("variant", "seed")
    trials = planned.join(found, on="trial", how="left", maintain_order="left")
    return trials.with_columns(pl.col("status").fill_null(MISSING))
