"""What a study took: trials, device-hours, tokens, money where a price is known."""

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis import text
from analysis.fixed import plain
from analysis.study import Study

SECONDS, TOKENS = "budget/seconds", "budget/tokens"
# Of each step; its evaluation is part of its time, but for step 0, which has no other.
STEP, TESTING = "timing_s/step", "timing_s/testing"
# Of step 0 alone: before its evaluation, and what other trials had spent on the same one.
START, SHARED = "timing_s/start", "timing_s/testing_shared"


@dataclass(frozen=True)
class Cost:
    """Of the trials that have a result; NaN for what was not logged.

    Attributes:
        device_hours: training time of all ranks; evaluations and starts are not in it.
        price: in the currency of `ray.price_per_device_hour`; NaN where that is 0.
        wall_hours: from the first start to the last end, whatever ran in between.
        evaluating: share of the trials' time, starts included, that evaluations took.
        shared_seconds: that they did not spend on the base's evaluation, since others had.
    """

    trials: int
    device_hours: float
    tokens: float
    price: float
    wall_hours: float
    evaluating: float
    shared_seconds: float


def costs(study: Study) -> dict[str | None, Cost]:
    """Of every variant, and under None of the study."""
    used = _used(study)
    return {label: _cost(study, used, label) for label in (*study.labels, None)}


def _used(study: Study) -> pl.DataFrame:
    """What every trial used: trial, variant, metric, value."""
    rows = study.metrics.filter(pl.col("metric").is_in([SECONDS, TOKENS]))
    return rows.group_by("trial", "variant", "metric").agg(pl.col("value").max())


def _cost(study: Study, used: pl.DataFrame, label: str | None) -> Cost:
    own = pl.lit(value=True) if label is None else pl.col("variant") == label
    done, used = study.finished.filter(own), used.filter(own)
    hours = _sum(used, SECONDS) / 3600 * _number(study, "trainer", "ranks", 1)
    price = _number(study, "ray", "price_per_device_hour", 0)
    start, end = done["started_ms"].min(), done["ended_ms"].max()
    wall = (end - start) / 3.6e6 if isinstance(start, int) and isinstance(end, int) else math.nan
    money = hours * price if price else math.nan
    times = study.metrics.filter(own).sort("trial", "metric", "step")
    return Cost(
        len(done), hours, _sum(used, TOKENS), money, wall, _evaluating(times), _all(times, SHARED)
    )


def _evaluating(times: pl.DataFrame) -> float:
    """Share of evaluations in the time of some trials; NaN without times."""
    steps, first = _all(times, STEP), times.filter(pl.col("step") == 0)
    whole = steps + _all(first, START) + _all(first, TESTING)
    return _all(times, TESTING) / whole if whole > 0 else math.nan


def _all(times: pl.DataFrame, metric: str) -> float:
    return float(times.filter(pl.col("metric") == metric)["value"].sum())


def _sum(used: pl.DataFrame, metric: str) -> float:
    """In the order of the trials, so that rounding is the same every time."""
    ends = used.filter(pl.col("metric") == metric).sort("trial")["value"]
    return float(ends.sum()) if len(ends) else math.nan


def _number(study: Study, group: str, key: str, default: float) -> float:
    """A number of the stored config."""
    keys = study.config.get(group)
    value = keys.get(key, default) if isinstance(keys, dict) else default
    return float(value) if isinstance(value, int | float) else default


def sentence(study: Study) -> str:
    """`6 of 6 trials, 0.42 device-hours of training, 1.2 M sampled tokens`."""
    c = costs(study)[None]
    parts = [f"{c.trials} of {len(study.trials)} trials have a result"]
    if not math.isnan(c.device_hours):
        parts.append(f"{_hours(c.device_hours)} device-hours of training")
    if not math.isnan(c.tokens):
        parts.append(f"{c.tokens:,.0f} sampled tokens")
    if not math.isnan(c.price):
        parts.append(f"{c.price:,.2f} at the price given")
    return ", ".join(parts)


def section(study: Study) -> str:
    """Per variant and in all."""
    rows = [
        _row("all" if label is None else text.prose(label), c) for label, c in costs(study).items()
    ]
    device = study.config.get("trainer", {}).get("device", "") if study.config else ""
    method = (
        f"Of the trials that have a result, over all their attempts. Device-hours: training time "
        f"times the ranks of a trial (device: {text.code(device)}); evaluations, starts and "
        f"failed trials come on top. Price: {text.code('ray.price_per_device_hour')} times that. "
        f"Wall hours: from the first start to the last end. Evaluating: share of evaluations in "
        f"the time of trials. The evaluation of a base is made once and shared: "
        f"{costs(study)[None].shared_seconds:,.0f} s of trials were spared by that."
    )
    header = [
        *("variant", "trials", "device-hours", "sampled tokens", "price", "wall hours"),
        "evaluating",
    ]
    return "\n\n".join(["## Cost", text.table(header, rows), method])


def _row(name: str, c: Cost) -> list[str]:
    tokens = text.NONE if math.isnan(c.tokens) else f"{c.tokens:,.0f}"
    price = text.NONE if math.isnan(c.price) else f"{c.price:,.2f}"
    share = text.NONE if math.isnan(c.evaluating) else f"{c.evaluating:.0%}"
    hours = (_hours(c.device_hours), tokens, price, _hours(c.wall_hours))
    return [name, str(c.trials), *hours, share]


def _hours(hours: float) -> str:
    """Three significant digits: a tiny model takes seconds."""
    return text.NONE if math.isnan(hours) else f"{hours:.3g}"


def data(study: Study) -> dict[str, Any]:
    """The table for programs."""
    known = costs(study)
    return {
        "variants": [{"variant": label, **plain(known[label])} for label in study.labels],
        "all": plain(known[None]),
    }
