"""A study without a store: what `read_study` would make of a plan, in milliseconds."""

from typing import Any

import polars as pl
import synthetic_store as store

from analysis import frame
from analysis.reading.columns import METRICS, RUNS
from analysis.revisions import History
from analysis.study import FINISHED, MISSING, Study

Point = tuple[str, int, float]


def study(plan: store.Plan, points: dict[str, list[Point]] | None = None, **changed: Any) -> Study:
    """Every trial with a status as its run.

    Args:
        plan: as for the store.
        points: trial -> (metric, step, value); the store's own by default.
        changed: fields of the study that differ.
    """
    manifest = store.manifest(plan)
    started = [t for t in plan.trials if t.status is not None]
    done = [t for t in started if t.status == FINISHED]
    numbers = {t.name: number for number, t in enumerate(plan.trials)}
    rows = [
        ("id", t.name, t.variant, t.seed, *point)
        for t in done
        for point in (store.metric_rows(t, numbers[t.name]) if points is None else points[t.name])
    ]
    metrics = pl.DataFrame(rows, schema=METRICS, orient="row").sort("trial", "metric", "step")
    runs = pl.DataFrame(
        [
            {
                **dict.fromkeys(RUNS, ""),
                **store.FACTS,
                "run_id": t.name,
                "trial": t.name,
                "variant": t.variant,
                "seed": t.seed,
                "status": t.status,
                "attempt": 1,
                "started_ms": store.STARTED_MS + numbers[t.name],
                "ended_ms": store.STARTED_MS + 1000,
                "seal": manifest.seal,
                "identity": f"{t.name} as planned",
                "git_commit": t.commit,
                "git_dirty": False,
                "config": "ab" * 32,
                **t.facts,
            }
            for t in started
        ],
        schema=RUNS,
    )
    jobs = [(j.trial, j.variant, j.seed, j.config_hash, j.identity) for j in manifest.called_jobs]
    columns = ["trial", "variant", "seed", "config_hash", "planned"]
    planned = pl.DataFrame(jobs, schema=columns, orient="row")
    trials = planned.join(runs.drop("variant", "seed"), on="trial", how="left")
    fields: dict[str, Any] = {
        "history": History([manifest], []),
        "trials": trials.with_columns(pl.col("status").fill_null(MISSING)),
        "metrics": metrics,
        "results": frame.results(metrics, plan.primary),
        "tables": {t.name: pl.DataFrame(store.table(t, t.steps)) for t in done},
        "config": {},
        "strangers": [],
        "runs": runs,
        "seals": {manifest.seal: plan.name},
    }
    return Study(**(fields | changed))
