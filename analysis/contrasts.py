"""The figure that sums a study up: every verdict with its interval, seeds and margins."""

import math
import re

import numpy as np
import polars as pl

from analysis import claims, names, text
from analysis.ablation import Relation
from analysis.drawing import Drawing, Panel, capitalised, mean
from analysis.findings import Finding
from analysis.forest import Row, forest
from analysis.quantity import Kind, Quantity
from analysis.stats import FloatArray

DIFFERENCES = "differences"
MOST_SAID = 8  # verdicts that an alternative text tells; more are not listened to


def forests(own: Drawing) -> list[Panel]:
    """One panel per quantity that was predicted or compared, the primary metric's first."""
    every = [*own.found.predicted, *own.found.compared]
    quantities = dict.fromkeys((f.metric, f.quantity.words) for f in every)
    order = sorted(quantities, key=lambda q: q != (own.study.primary, ""))
    panels = []
    for quantity in order:
        about = [f for f in every if (f.metric, f.quantity.words) == quantity]
        if any(not math.isnan(f.verdict.difference.value) for f in about):
            panels.append(_panel(own, about))
    return panels


def named(f: Finding) -> str:
    """What is compared, `held-out accuracy at equal tokens`."""
    return f"{names.name(f.metric)} {f.quantity.words}".rstrip()


def _panel(own: Drawing, about: list[Finding]) -> Panel:
    first = about[0]
    slug = re.sub(r"\W+", "_", f"{first.metric} {first.quantity.words}".rstrip())
    title = capitalised(named(first))
    said = [
        f"{_pair(own, f)} {text.difference(f.verdict.difference, f.metric)}, {f.reading}"
        for f in about
    ]
    more = f" and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    words = f"{title}, differences with their intervals: {'; '.join(said[:MOST_SAID])}{more}."
    is_ratio = first.quantity.kind is Kind.TIME
    axis = "ratio of times" if is_ratio else f"difference, {names.label(first.metric)}"

    return Panel(
        DIFFERENCES,
        f"{DIFFERENCES}_{slug}",
        words,
        lambda: forest(title, axis, _rows(own, about), own.ink, is_ratio),
    )


def _pair(own: Drawing, f: Finding) -> str:
    """`grpo − reinforce`; the variant alone where the baseline is everybody's."""
    word = own.ink[f.variant].word
    return word if f.baseline == own.study.baseline else f"{word} − {own.ink[f.baseline].word}"


def _rows(own: Drawing, about: list[Finding]) -> list[Row]:
    """The seeds of every baseline, then one row per verdict, each with its level."""
    read = claims.read(own.study, about[0].metric, about[0].quantity)
    of = {x: _seeds(read, x, about[0].quantity) for x in own.study.labels}
    rows = []
    for label in dict.fromkeys(f.baseline for f in about):
        points = _against(of[label], of[label])
        rows.append(Row(label, own.ink[label].word, "baseline", None, points, []))
    for f in about:
        d = f.verdict.difference
        reading = f"{f.reading} ({text.percent(d.level)})"
        points = _against(of[f.variant], of[f.baseline])
        rows.append(Row(f.variant, _pair(own, f), reading, d, points, signed_margins(f)))
    return rows


def _seeds(read: pl.DataFrame, label: str, quantity: Quantity) -> FloatArray:
    """Values of a variant; of times, the logarithms of those that were reached."""
    rows = read.filter((pl.col("variant") == label) & pl.col("reached")).sort("seed")
    values = rows["value"].to_numpy().astype(np.float64)
    return np.log(values[values > 0]) if quantity.kind is Kind.TIME else values


def _against(seeds: FloatArray, base: FloatArray) -> FloatArray:
    return seeds - mean(base) if len(base) else np.empty(0)


def signed_margins(f: Finding) -> list[float]:
    """Where the claim's margin lies on the axis of differences; none without a claim."""
    if f.prediction is None:
        return []
    margin = f.prediction.margin
    return {
        Relation.GREATER: [margin],
        Relation.LESS: [-margin],
        Relation.EQUAL: [-margin, margin],
    }[f.prediction.relation]
