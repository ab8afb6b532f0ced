"""What the planned seeds can show, judged by the spread of finished trials."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from analysis import stats
from analysis.changes import named
from analysis.designs import of_results, subjects
from analysis.power import RATE, simulated
from analysis.text import exact, number, signed
from harness.config import IDENTITY_IRRELEVANT, digest, group_hash
from harness.tracking.record import Record
from sweeps.plan import Plan

# Below, no verdict is given.
FEWEST = stats.MIN_SEEDS_VERDICT


def lines(planned: Plan, records: Sequence[Record]) -> Iterator[str]:
    """One line per variant beside the baseline, and one for those of which nothing is known.

    The spread is that of finished trials of the variant's shape and budget, at any seed.
    """
    ablation, metric = planned.ablation, planned.ablation.primary.metric
    n = len(ablation.seeds)
    known = _results(records, metric)
    past = {
        label: list(known.get(group_hash(config), {}).values())
        for label, config in planned.variants.items()
    }
    base = past[ablation.baseline]
    unknown = []
    for label in (label for label in ablation.labels if label != ablation.baseline):
        own = past[label]
        enough = min(len(own), len(base)) > 1
        sds = (float(np.std(own, ddof=1)), float(np.std(base, ddof=1))) if enough else (0.0, 0.0)
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
    yield from _errors(planned, records)


def _errors(planned: Plan, records: Sequence[Record]) -> Iterator[str]:
    """One line per prediction of which something is known: how often it is called supported.

    The report's own self-test, at the planned seeds, by the spread of finished trials.
    """
    ablation = planned.ablation
    results = {}
    for metric, label in subjects(ablation.on_results):
        found = _results(records, metric).get(group_hash(planned.variants[label]), {})
        results[metric, label] = dict(sorted(found.items()))
    design = of_results(ablation, results, ablation.seeds)
    for number_of, chance in enumerate(simulated(design).chances, start=1):
        p = chance.prediction
        if any(map(math.isnan, chance.false)):
            continue
        normal, _, variant = chance.false
        yield (
            f"prediction {number_of} ({named(p)} {p.relation.value}, margin "
            f"{exact(p.margin, p.metric)}): called supported in {_percent(normal)} of studies if "
            f"it is just false ({_percent(variant)} if one in {1 / RATE:g} seeds of the variant "
            f"collapses), in {_percent(chance.found[0])} if the difference is "
            f"{signed(chance.true, p.metric)}"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _results(records: Sequence[Record], metric: str) -> dict[str, dict[int, float]]:
    """Last value of a metric of finished trials: hash of what the variant is -> seed -> value."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        last = record.steps[record.last].metrics if record.finished else {}
        if metric in last and "seed" in record.config:  # a damaged config says nothing
            own = {k: v for k, v in record.config.items() if k not in IDENTITY_IRRELEVANT}
            seed = own.pop("seed")
            found.setdefault(digest(own), {})[seed] = last[metric]
    return found
