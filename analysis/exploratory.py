"""Beside the predictions: every pair of variants, all parts together, prompt by prompt."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from analysis import fixed, stats, text
from analysis.stats import Difference, Estimate, FloatArray, Simultaneous
from analysis.study import Study
from analysis.units import ordered
from harness.schema import KINDS

if TYPE_CHECKING:
    from analysis.findings import Findings

BOOTSTRAP_SEED = 0  # a report that is built again has the same intervals
SOLVED = 1.0  # what an accuracy falls short of
SEVERAL = 2  # parts that make an aggregate, variants that make a family
# Variants up to which every pair is compared: 15 pairs are a table that is read, and scipy takes a
# quarter of a second for the studentised range of each.
FEW = 6


@dataclass(frozen=True)
class Pair:
    """Two variants on the primary metric, the later minus the earlier.

    Attributes:
        among_all: with all pairs' intervals (Games and Howell); None beyond FEW variants.
        against_baseline: with all variants' intervals against it (Dunnett); None for pairs without
            the baseline.
        g: Hedges' g.
        bounds: its 95 % interval.
    """

    variant: str
    baseline: str
    among_all: Simultaneous | None
    against_baseline: Simultaneous | None
    g: float
    bounds: tuple[float, float]


def pairs(study: Study) -> list[Pair]:
    """Every pair of variants, those with the baseline first; none where there is only one.

    Beyond FEW variants the pairs with the baseline only.
    """
    if len(study.others) < SEVERAL:
        return []
    labels = [study.baseline, *study.others]
    arms = [study.values(study.primary, label) for label in labels]
    joint = stats.dunnett(arms[1:], arms[0])
    return [
        Pair(
            labels[j],
            labels[i],
            among_all,
            joint[j - 1] if i == 0 else None,
            stats.hedges_g(arms[j], arms[i]),
            stats.hedges_g_interval(arms[j], arms[i]),
        )
        for (i, j), among_all in _among_all(tuple(map(tuple, arms)))
    ]


@lru_cache(maxsize=1)  # the page and report.json ask for the same
def _among_all(
    arms: tuple[tuple[float, ...], ...],
) -> list[tuple[tuple[int, int], Simultaneous | None]]:
    """Pairs of arms by their places, the baseline's first."""
    if len(arms) > FEW:
        return [((0, j), None) for j in range(1, len(arms))]
    return sorted(stats.games_howell([np.array(arm) for arm in arms]).items())


@dataclass(frozen=True)
class Whole:
    """One variant on all parts of a mixture, or on all difficulties.

    Attributes:
        iqm: interquartile mean of the accuracies over seeds and parts.
        gap: how far they fall short of 1 on average.
        improvement: chance that a seed of it is better than one of the baseline, on average over
            the parts; NaN for the baseline itself.
    """

    variant: str
    iqm: Estimate
    gap: float
    improvement: float


def kinds(study: Study) -> list[str]:
    """The parts of a mixture if results have several, otherwise the difficulties."""
    known = ordered(study.results["metric"])
    for prefix in reversed(KINDS):
        found = [metric for metric in known if metric.startswith(prefix)]
        if len(found) >= SEVERAL:
            return found
    return []


def wholes(study: Study) -> list[Whole]:
    """Every variant that has seeds with all parts; none where there are no parts."""
    metrics = kinds(study)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    scores = {label: _scores(study, label, metrics) for label in study.labels if metrics}
    known = {label: table for label, table in scores.items() if table.size}
    base = known.get(study.baseline)
    return [
        Whole(
            label,
            stats.iqm_interval(table, rng),
            stats.optimality_gap(table, SOLVED),
            math.nan
            if base is None or label == study.baseline
            else stats.probability_of_improvement(table, base),
        )
        for label, table in known.items()
    ]


def _scores(study: Study, label: str, metrics: list[str]) -> FloatArray:
    """(seeds, parts) of the seeds that have them all."""
    own = study.results.filter((pl.col("variant") == label) & pl.col("metric").is_in(metrics))
    rows = [
        dict(zip(seed["metric"], seed["value"], strict=True))
        for _, seed in own.sort("seed").group_by("seed", maintain_order=True)
    ]
    whole = [[row[m] for m in metrics] for row in rows if len(row) == len(metrics)]
    return np.array(whole, dtype=np.float64).reshape(len(whole), len(metrics))


def by_prompt(study: Study) -> dict[str, Difference]:
    """Variant -> its last held-out accuracy minus the baseline's, prompts as clusters.

    Only variants whose trials have the same prompts as the baseline's.
    """
    tables = {label: _graded(study, label) for label in study.labels}
    base = tables[study.baseline]
    if base is None:
        return {}
    return {
        label: stats.by_prompt(own[1], base[1])
        for label in study.others
        if (own := tables[label]) is not None and own[0] == base[0]
    }


def _graded(study: Study, label: str) -> tuple[list[int], FloatArray] | None:
    """The prompts' numbers, and (seeds, prompts) of grades; None where trials differ in prompts."""
    trials = study.finished.filter(pl.col("variant") == label).sort("seed")["trial"]
    found = [study.tables[t].sort("item") for t in trials if t in study.tables]
    items = {tuple(table["item"]) for table in found}
    if len(items) != 1:
        return None
    grades = [table["correct"].cast(pl.Float64).to_numpy() for table in found]
    return list(items.pop()), np.stack(grades)


def plain(study: Study) -> dict[str, Any]:
    """For report.json."""
    return {
        "pairs": [fixed.plain(pair) for pair in pairs(study)],
        "parts": [fixed.plain(whole) for whole in wholes(study)],
        "by_prompt": {label: fixed.plain(d) for label, d in by_prompt(study).items()},
    }


def section(study: Study, found: "Findings") -> str:
    """What was not predicted and is not decided; "" where verdicts are barred or nothing is."""
    if not study.others or found.barred:
        return ""
    parts = [part for part in (_pairs(study), _wholes(study), _prompts(study)) if part]
    note = "Nothing here was predicted, and no verdict is taken from it."
    return "\n\n".join(["## Exploratory comparisons", note, *parts]) if parts else ""


def _pairs(study: Study) -> str:
    metric, found = study.primary, pairs(study)
    if not found:
        return ""
    every = len(study.labels) <= FEW
    rows = [
        [
            text.prose(f"{p.variant} − {p.baseline}"),
            *((_simultaneous(p.among_all, metric), _p(p.among_all)) if every else ()),
            _simultaneous(p.against_baseline, metric),
            f"{text.plain(p.g, 2)} [{', '.join(text.plain(bound, 2) for bound in p.bounds)}]",
        ]
        for p in found
    ]
    joint = ["all pairs [95 %]", "p (all pairs)"] if every else []
    header = ["difference", *joint, "against the baseline [95 %]", "g [95 %]"]
    if every:
        title = "### Every pair"
        method = (
            "All pairs: Games and Howell, intervals that hold together, unequal spreads allowed. "
            "Against the baseline: Dunnett, likewise, for equal spreads."
        )
    else:
        title = "### Against the baseline"
        method = (
            f"Dunnett: intervals that hold together, for equal spreads. All pairs are compared up "
            f"to {FEW} variants."
        )
    method += " g: Hedges' g with the interval of the noncentral t, for equal spreads."
    note = f"{text.code(metric)}, over seeds. {method}"
    return "\n\n".join([title, text.table(header, rows), note])


def _p(s: Simultaneous | None) -> str:
    return text.p_value(None if s is None or math.isnan(s.p) else s.p)


def _simultaneous(s: Simultaneous | None, metric: str) -> str:
    if s is None:
        return ""
    n, nan = (0, 0), math.nan
    return text.difference(Difference(s.value, s.low, s.high, nan, nan, s.p, n), metric)


def _wholes(study: Study) -> str:
    rows = [
        [
            text.prose(w.variant),
            text.estimate(w.iqm, study.primary),
            str(w.iqm.n),
            text.number(w.gap, study.primary),
            text.NONE if math.isnan(w.improvement) else f"{w.improvement:.2f}",
        ]
        for w in wholes(study)
    ]
    if not rows:
        return ""
    header = ["variant", "IQM [95 %]", "n", "gap to 1", "better than the baseline"]
    method = (
        f"Accuracy on {text.codes(kinds(study))}. IQM: mean of the middle half of all seeds and "
        f"parts, with the percentile interval of {stats.RESAMPLES:,} bootstraps that draw seeds "
        f"within each part; below some ten seeds it is too narrow. Gap: how far accuracy falls "
        f"short of 1. Better: chance that a seed beats one of the baseline, on average over parts."
    )
    return "\n\n".join(["### All parts together", text.table(header, rows), method])


def _prompts(study: Study) -> str:
    metric = "eval/accuracy"
    rows = [
        [text.prose(f"{label} − {study.baseline}"), text.difference(d, metric), str(d.n[0])]
        for label, d in by_prompt(study).items()
    ]
    if not rows:
        return ""
    method = (
        "The last evaluations' graded responses: shares of right ones over the seeds, compared "
        "prompt by prompt. The interval is over other prompts with these seeds, where all others "
        "on this page are over other seeds with these prompts; a claim about both needs both."
    )
    header = ["difference", "accuracy [95 %]", "prompts"]
    return "\n\n".join(["### Prompt by prompt", text.table(header, rows), method])
