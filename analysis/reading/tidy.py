"""Stored runs and points -> tidy frames; pure functions.

**Which value of a step counts.** A resumed trial logs a step again: the latest record counts.

**Which attempt of a trial counts.** The first that finished: a result that is there is not taken
back by a later one, whatever that says, and not by one that failed. Where the plan says what the
trial is by content, attempts of that content come first. Where none finished, the newest stands for
the trial. Deleted runs never count.
"""

import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from analysis.reading.columns import ATTEMPTS, METRICS, NO_SEED, POINTS, RUNS
from analysis.reading.source import ACTIVE, DELETED, Run
from harness.config import MAX_SEED
from harness.machine.provenance import FACTS

FINISHED = "FINISHED"
RULE = (
    "Of several runs of one trial the first that finished counts, of the planned content where one "
    "has it; if none finished, the newest stands for the trial"
)
LARGEST = sys.float_info.max  # MLflow stores ±inf as the largest finite number
DIGITS = 20  # one more than the largest 64-bit number has
SHORT = 8  # characters of a run's id that tell namesakes apart


def points(raw: pl.DataFrame, run_id: str) -> pl.DataFrame:
    """One value per metric and step of one run, sorted by both; NaN and ±inf as they were logged.

    Args:
        raw: columns RAW.
        run_id: of the run.

    Returns:
        Columns POINTS.
    """
    value = pl.col("value")
    real = (
        pl.when(pl.col("is_nan"))
        .then(float("nan"))
        .when(value.abs() >= LARGEST)
        .then(value.sign() * float("inf"))
        .otherwise(value)
    )
    rows = raw.with_columns(real.alias("value")).sort("metric", "step", "timestamp", "value")
    again = (pl.col("metric") == pl.col("metric").shift(-1)) & (
        pl.col("step") == pl.col("step").shift(-1)
    )
    latest = rows.filter(~again.fill_null(False))
    return latest.with_columns(run_id=pl.lit(run_id)).select(list(POINTS))


def attempts(runs: Iterable[Run], planned: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Every run of some experiments, one row each.

    Args:
        runs: as stored. Of a deleted run that was only made anew from the same record nothing is
            kept.
        planned: trial -> identity that the plan gives it.

    Returns:
        Columns ATTEMPTS, sorted by experiment, trial and start.
    """
    runs = list(runs)
    shared = _namesakes(runs)
    rows = pl.DataFrame([_row(run, shared) for run in runs], schema=RUNS, orient="row")
    rows = rows.sort(
        *("experiment", "trial", "started_ms", "attempt", "run_id"),
        nulls_last=True,
        maintain_order=True,
    )
    rows = _without_copies(rows)
    chosen = _chosen(rows, planned or {})
    return rows.with_columns(counts=pl.col("run_id").is_in(chosen)).select(list(ATTEMPTS))


def _without_copies(rows: pl.DataFrame) -> pl.DataFrame:
    """Of several runs with one record the active one, else the newest."""
    key = ["experiment", "trial", "record"]
    known = rows.filter(pl.col("record") != "")
    deleted = known.filter(pl.col("lifecycle") == DELETED)
    active = known.filter(pl.col("lifecycle") == ACTIVE)
    left = deleted.join(active, on=key, how="anti").unique(key, keep="last")
    gone = set(deleted["run_id"]) - set(left["run_id"])
    return rows.filter(~pl.col("run_id").is_in(gone))


def _chosen(rows: pl.DataFrame, planned: Mapping[str, str]) -> list[str]:
    """Ids of the runs that count, one per experiment and trial."""
    best: dict[tuple[str, str], tuple[tuple[Any, ...], str]] = {}
    active = rows.filter(pl.col("lifecycle") == ACTIVE)
    for place, row in enumerate(active.iter_rows(named=True)):
        wanted = planned.get(row["trial"], "")
        finished = row["status"] == FINISHED
        own = finished and wanted in (row["identity"], *row["accepted_as"].split())
        # Rows come in the order of their start.
        rank = (finished, own, -place if finished else place)
        key = (row["experiment"], row["trial"])
        best[key] = max(best.get(key, (rank, row["run_id"])), (rank, row["run_id"]))
    return [run_id for _, run_id in best.values()]


def metrics(points: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Points with the labels of their runs.

    Args:
        points: columns POINTS; of runs that are not in `runs` nothing is kept.
        runs: with run_id, trial, variant and seed.

    Returns:
        Columns METRICS, in the order of `points`.
    """
    labels = runs.select("run_id", "trial", "variant", "seed")
    if set(points["run_id"].unique()) - set(labels["run_id"]):
        points = points.filter(pl.col("run_id").is_in(labels["run_id"].to_list()))
    joined = points.join(labels, on="run_id", how="left", maintain_order="left")
    return joined.select(list(METRICS))


def together(frames: Sequence[pl.DataFrame], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Frames below each other, each with those of the columns that it has; the rest is null."""
    same = [frame.select(_as(frame, *column) for column in schema.items()) for frame in frames]
    return pl.concat([pl.DataFrame(schema=dict(schema)), *same])


def _as(frame: pl.DataFrame, name: str, kind: Any) -> pl.Expr:
    column = pl.col(name) if name in frame.columns else pl.lit(None)
    return column.cast(kind, strict=False).alias(name)


def _integer(text: str, missing: int) -> int:
    number = int(text) if text.isdecimal() and len(text) < DIGITS else missing
    return number if number <= MAX_SEED else missing


def _name(run: Run) -> str:
    """What a run without a trial is called."""
    return run.name or run.tags.get("mlflow.runName", "") or run.id


def _namesakes(runs: Iterable[Run]) -> set[tuple[str, str]]:
    """(experiment, name) that several runs without a trial have: they are no attempts of one."""
    names = Counter((run.experiment, _name(run)) for run in runs if "trial" not in run.tags)
    return {name for name, count in names.items() if count > 1}


def _row(run: Run, shared: Container[tuple[str, str]]) -> list[Any]:
    """One row of RUNS."""
    tags, name = run.tags, _name(run)
    if (run.experiment, name) in shared:
        name = f"{name} {run.id[:SHORT]}"
    return [
        run.id,
        tags.get("trial", name),
        tags.get("variant", run.params.get("variant", "")),
        _integer(tags.get("seed", run.params.get("seed", "")), NO_SEED),
        tags.get("status", run.status),  # MLflow has no word for interrupted
        _integer(tags.get("attempt", ""), 0),
        run.started_ms,
        run.ended_ms,
        tags.get("seal", ""),
        tags.get("identity", ""),
        tags.get("accepted", ""),
        tags.get("accepted_as", ""),
        tags.get("origin", ""),
        tags.get("git_commit", ""),
        tags.get("git_dirty", "").lower() in ("true", "1"),
        tags.get("config_hash", ""),
        *(tags.get(name, "") for name in FACTS),
        tags.get("record", ""),
        run.experiment,
        run.lifecycle,
    ]
