"""What the planned seeds can show, judged by the spread of finished trials."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis import stats
from analysis.text import number
from harness.config import identity
from harness.tracking.record import Record
from sweeps.estimate import shape
from sweeps.plan import Plan

# Below, no verdict is given.
FEWEST = stats.MIN_SEEDS_VERDICT


def lines(planned: Plan, records: Sequence[Record]) -> Iterator[str]:
    """One line per variant beside the baseline, and one for those of which nothing is known.

    The spread is that of finished trials of the variant's shape and budget, at any seed.
    """
    ablation, metric = planned.ablation, planned.ablation.primary.metric
    n = len(ablation.seeds)
    past = {label: _results(planned, label, records, metric) for label in ablation.labels}
    base = past[ablation.baseline]
    unknown = []
    for label in (label for label in ablation.labels if label != ablation.baseline):
        own = past[label]
        known = min(len(own), len(base)) > 1
        sds = (float(np.std(own, ddof=1)), float(np.std(base, ddof=1))) if known else (0.0, 0.0)
        found = stats.expected_detectable(sds, n, stats.ALPHA)
        if found > 0:
            yield (
                f"{label}: {n} seeds detect a difference of {number(found, metric)} in {metric} "
                f"from {ablation.baseline} with 80 % power, by the spread of {len(base)} and "
                f"{len(own)} finished seeds"
            )
        else:
            unknown.append(label)
    if n < FEWEST:
        yield f"{n} seeds detect nothing: a verdict needs {FEWEST} at least"
    elif unknown:
        yield (
            f"what {n} seeds can detect is known once two seeds of {ablation.baseline} and of the "
            f"variant have finished and differ; not yet of "
            f"{', '.join(unknown)}"
        )


def _results(planned: Plan, label: str, records: Sequence[Record], metric: str) -> list[float]:
    config = planned.variants[label]
    plain = identity(config)
    found = {
        record.config["seed"]: record.steps[record.last].metrics[metric]
        for record in records
        if record.finished
        and shape(record.config) == shape(plain)
        and record.config["budget"] == plain["budget"]
        and metric in record.steps[record.last].metrics
    }
    return list(found.values())
