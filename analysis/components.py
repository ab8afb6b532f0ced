"""Variance of one arm's result split into seeds, prompts and sampling, from the stored tables."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import stats
from analysis.study import Study

# Metrics that are a share of responses -> the column of the tables that says which.
COLUMNS = {
    "eval/accuracy": "correct",
    "eval/truncated": "truncated",
    "eval/behaviour/well_formatted": "formatted",
}
ACCURACY, AT_K = "eval/accuracy", "eval/avg_at_k"
SAMPLES, RIGHT = "samples", "samples_right"  # columns of a table at an end of training


@dataclass(frozen=True)
class Parts:
    """Variance of one arm's result, in squared units of the metric.

    Attributes:
        seed: between training seeds, beyond what responses explain; at least 0.
        prompt, interaction, sampling: as in `stats.VarianceSplit`, at least 0. The interaction is
            NaN where each prompt has one response: `sampling` holds it then.
        prompts, samples: that the metric was measured with.
    """

    seed: float
    prompt: float
    interaction: float
    sampling: float
    prompts: int
    samples: int

    def noise(self, prompts: int, samples: int) -> float:
        """Variance that prompts and responses leave in one trial's result."""
        own = 0.0 if math.isnan(self.interaction) else self.interaction
        return (own + self.sampling / samples) / prompts


def parts(study: Study, metric: str, variant: str) -> Parts | None:
    """The split of one arm; None where its tables do not hold the metric or are too few."""
    table = _counts(study, metric, variant)
    if table is None:
        return None
    counts, k = table
    found = stats.split(counts, k)
    values = study.values(metric, variant)
    if math.isnan(found.sampling) or len(values) < 2:
        return None
    samples = k if metric == AT_K else 1
    above = [max(x, 0.0) for x in (found.prompt, found.sampling)]
    interaction = found.interaction if math.isnan(found.interaction) else max(found.interaction, 0)
    whole = Parts(0.0, above[0], interaction, above[1], counts.shape[1], samples)
    seed = max(float(np.var(values, ddof=1)) - whole.noise(counts.shape[1], samples), 0.0)
    return Parts(seed, above[0], interaction, above[1], counts.shape[1], samples)


def _counts(study: Study, metric: str, variant: str) -> tuple[NDArray[np.int_], int] | None:
    """Right responses, (seeds, prompts), among how many."""
    trials = study.finished.filter(pl.col("variant") == variant).sort("seed")["trial"]
    tables = [study.tables[trial] for trial in trials if trial in study.tables]
    columns = [RIGHT] if metric in (ACCURACY, AT_K) else []
    columns += [COLUMNS[metric]] if metric in COLUMNS else []
    for column in columns:
        if not tables or any(column not in table.columns for table in tables):
            continue
        rows = [table.sort("item")[column].cast(pl.Int64).to_numpy() for table in tables]
        sizes = {1} if column != RIGHT else {n for table in tables for n in set(table[SAMPLES])}
        if len(sizes) == 1 and len({len(row) for row in rows}) == 1 and len(rows[0]):
            return np.stack(rows), sizes.pop()
    return None
