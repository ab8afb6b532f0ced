"""What training ended with in trials of other plans, before a plan was written.

Asked of the store's file in one query: the trials of every plan under a runs folder may be
thousands. Runs that were deleted since count as well: they had been seen.
"""

from pathlib import Path

import polars as pl

from analysis.manifest import Manifest
from harness.tracking.address import store_path
from harness.tracking.store import connected

COLUMNS = {
    "experiment": pl.String,
    "trial": pl.String,
    "record": pl.String,
    "seed": pl.Int64,
    "ended_ms": pl.Int64,
    "metric": pl.String,
    "value": pl.Float64,
}
# What training logs at each step, without clocks: beginnings of the metrics' names.
TRAINED = ("actor/", "critic/")
QUERY = """
SELECT e.name, trial.value, COALESCE(record.value, ''), CAST(seed.value AS INTEGER), r.end_time,
    m.key, m.value
FROM latest_metrics m
JOIN runs r ON r.run_uuid = m.run_uuid
JOIN experiments e ON e.experiment_id = r.experiment_id
JOIN tags trial ON trial.run_uuid = r.run_uuid AND trial.key = 'trial'
JOIN tags seed ON seed.run_uuid = r.run_uuid AND seed.key = 'seed'
LEFT JOIN tags record ON record.run_uuid = r.run_uuid AND record.key = 'record'
WHERE e.name <> ? AND r.status = 'FINISHED' AND r.end_time < ? AND NOT m.is_nan
AND (m.key LIKE ? OR m.key LIKE ?)
ORDER BY e.name, trial.value, r.run_uuid, m.key
"""


def ended_before(runs: Path, manifest: Manifest) -> pl.DataFrame:
    """Last values of TRAINED of finished trials of other experiments, with columns COLUMNS.

    Without predictions there is nothing to fit, and nothing is read.
    """
    rows = []
    if manifest.ablation.predictions:
        values = (manifest.ablation.name, manifest.created_ms, *(f"{name}%" for name in TRAINED))
        with connected(store_path(runs)) as db:
            rows = db.execute(QUERY, values).fetchall()
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
