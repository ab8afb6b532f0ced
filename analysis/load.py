"""MLflow and manifest -> tidy polars frames. The only module that imports mlflow."""

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from analysis.revisions import History, manifest_path, read_history
from harness.errors import ConfigError, StoreError
from harness.machine.provenance import FACTS
from harness.tracking import Names, artifacts, store
from harness.tracking.mlflow import CONFIG_FILE, MlflowTracking

# The files of a local store are not even copied; a bar per file would bury the summary.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

PAGE = 1000  # MLflow's own default; a larger page only moves the memory peak
# What is raised by reading a file that is not what was written.
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
NO_SEED = -1  # of a run without a usable seed tag; seeds themselves are never negative

RUNS = {
    "run_id": pl.String,
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "status": pl.String,
    "attempt": pl.Int64,
    "started_ms": pl.Int64,
    "ended_ms": pl.Int64,
    "seal": pl.String,
    "identity": pl.String,
    "accepted": pl.String,
    "accepted_as": pl.String,
    "origin": pl.String,
    "git_commit": pl.String,
    "git_dirty": pl.Boolean,
    "config": pl.String,
    **dict.fromkeys(FACTS, pl.String),
}
METRICS = {
    "run_id": pl.String,
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "metric": pl.String,
    "step": pl.Int64,
    "value": pl.Float64,
}


@dataclass(frozen=True)
class Experiment:
    """One MLflow experiment.

    Attributes:
        runs: columns RUNS, one row per trial (its newest attempt), sorted by trial.
        metrics: columns METRICS, one row per run, metric and step. NaN and ±inf stay as logged.
    """

    runs: pl.DataFrame
    metrics: pl.DataFrame


def read_revisions(runs: Path, name: str) -> History:
    """The manifest that the sweep wrote before its first trial, with all its revisions.

    Raises:
        ConfigError: there is none, and which there are; or the file holds something else.
    """
    path = manifest_path(runs, name)
    history = read_history(path)
    if not history.revisions:
        found = sorted(p.parent.name for p in (runs / "sweeps").glob("*/manifest.jsonl"))
        what = "holds no whole revision" if path.exists() else "does not exist"
        raise ConfigError(
            f"a report needs the manifest of its sweep, {path} {what}; "
            f"run the ablation or grid first or pass --runs; valid: {', '.join(found) or 'none'}"
        )
    return history


def seals(runs: Path) -> dict[str, str]:
    """Seal of every revision under `runs` -> name of its ablation or grid; damaged ones left out.

    A damaged manifest of another question is that question's business.
    """
    found = {}
    for path in sorted((runs / "sweeps").glob("*/manifest.jsonl")):
        try:
            revisions = read_history(path).revisions
        except ConfigError:
            continue
        found.update({manifest.seal: path.parent.name for manifest in revisions})
    return found


def publish(runs: Path, history: History) -> None:
    """Make the store's copy of the record of every trial complete that some revision plans.

    Trials without a record are left as they are.
    """
    runs = runs.expanduser().absolute()
    tracking = MlflowTracking()
    jobs = {job.trial: job for manifest in history.revisions for job in manifest.jobs}
    for job in jobs.values():
        folder = runs / "checkpoints" / job.record
        if folder.is_dir():
            name = history.revisions[-1].ablation.name
            tracking.publish(folder, runs, Names(job.trial, job.variant, name))


def open_store(runs: Path) -> MlflowClient:
    """Client of the store in `runs`.

    Raises:
        ConfigError: there is no store (MLflow itself would create an empty one).
        StoreError: it is damaged.
    """
    return store.open_store(runs, create=False)


def load_experiment(client: MlflowClient, name: str, runs: Path) -> Experiment:
    """All runs of one experiment with their metric histories.

    A step that was logged twice (a resumed trial) keeps its latest record; a trial that has
    several runs keeps its newest attempt.

    Raises:
        ConfigError: unknown or deleted experiment; names the experiments of the store.
    """
    records = _all_runs(client, store.experiment_id(client, name, runs, create=False))
    rows = pl.DataFrame([_run_row(run) for run in records], schema=RUNS, orient="row")
    newest = rows.sort("trial", "attempt", "started_ms", "run_id").unique(
        "trial", keep="last", maintain_order=True
    )
    kept = set(newest["run_id"])
    parts = [_history(client, run) for run in records if run.info.run_id in kept]
    metrics = pl.concat([pl.DataFrame(schema=METRICS), *parts])
    return Experiment(newest, metrics.sort("trial", "metric", "step"))


def _all_runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _integer(text: str, missing: int) -> int:
    return int(text) if text.isdecimal() else missing


def _run_row(run: Run) -> list[Any]:
    """One row of RUNS."""
    tags = run.data.tags
    return [
        run.info.run_id,
        tags.get("trial", run.info.run_name),
        tags.get("variant", ""),
        _integer(tags.get("seed", ""), NO_SEED),
        tags.get("status", run.info.status),  # MLflow has no word for interrupted
        _integer(tags.get("attempt", ""), 0),
        run.info.start_time,
        run.info.end_time,
        tags.get("seal", ""),
        tags.get("identity", ""),
        tags.get("accepted", ""),
        tags.get("accepted_as", ""),
        tags.get("origin", ""),
        tags.get("git_commit", ""),
        tags.get("git_dirty", "").lower() in ("true", "1"),
        tags.get("config_hash", ""),
        *(tags.get(name, "") for name in FACTS),
    ]


def _history(client: MlflowClient, run: Run) -> pl.DataFrame:
    """Every metric of one run; columns METRICS."""
    run_id, trial, variant, seed = _run_row(run)[:4]
    rows = [
        (run_id, trial, variant, seed, key, m.step, m.value, m.timestamp)
        for key in sorted(run.data.metrics)
        for m in client.get_metric_history(run_id, key)
    ]
    frame = pl.DataFrame(rows, schema={**METRICS, "timestamp": pl.Int64}, orient="row")
    largest = sys.float_info.max  # MLflow stores ±inf as the largest finite number
    value = pl.col("value")
    return (
        frame.with_columns(
            pl.when(value.abs() >= largest)
            .then(value.sign() * float("inf"))
            .otherwise(value)
            .alias("value")
        )
        .sort("metric", "step", "timestamp", "value")
        .unique(["metric", "step"], keep="last", maintain_order=True)
        .drop("timestamp")
    )


def last_table(client: MlflowClient, run_id: str, runs: Path) -> pl.DataFrame | None:
    """The last evaluation's table of one run, one row per held-out prompt; None if there is none.

    Columns: item, problem, difficulty, prompt, response, correct, length, truncated.

    Raises:
        StoreError: it is damaged, or a link.
    """
    names = artifacts.listed(client, run_id, runs, "eval")
    if not names:
        return None
    try:
        data = json.loads(artifacts.text_of(client, run_id, runs, names[-1]) or "")
        if not data["data"]:
            return None
        columns = zip(*data["data"], strict=True)
        return pl.DataFrame(dict(zip(data["columns"], columns, strict=True)), strict=False)
    except (*DAMAGED, pl.exceptions.PolarsError) as error:
        raise _damaged(client, run_id, runs, names[-1]) from error


def run_config(client: MlflowClient, run_id: str, runs: Path) -> dict[str, Any]:
    """The resolved config of one run; empty if the run stored none.

    Raises:
        StoreError: it is damaged, or a link.
    """
    if CONFIG_FILE not in artifacts.listed(client, run_id, runs):
        return {}
    try:
        text = artifacts.text_of(client, run_id, runs, CONFIG_FILE)
        plain = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
        if not isinstance(plain, dict) or not plain:
            raise ValueError("no mapping")
    except (*DAMAGED, YAMLError, OmegaConfBaseException) as error:
        raise _damaged(client, run_id, runs, CONFIG_FILE) from error
    return {str(key): value for key, value in plain.items()}


def _damaged(client: MlflowClient, run_id: str, runs: Path, name: str) -> StoreError:
    """A trial's folder would have mended the file: there is none any more."""
    path = artifacts.path_of(client, run_id, runs, name)
    return StoreError(
        f"{path} is damaged, and the folder of its trial is gone, from which it would be published "
        f"again; bring that folder back, or run the trial again with fresh=true"
    )
