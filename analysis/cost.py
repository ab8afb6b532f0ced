"""What a study took: trials, device-hours, tokens, money where a price is known."""

import math
from dataclasses import dataclass

import polars as pl

from analysis import text
from analysis.study import Study

SECONDS, TOKENS = "budget/seconds", "budget/tokens"


@dataclass(frozen=True)
class Cost:
    """Of the trials that have a result; NaN for what was not logged.

    Attributes:
        device_hours: training time of all ranks; evaluations and starts are not in it.
        price: in the currency of `ray.price_per_device_hour`; NaN where that is 0.
        wall_hours: from the first start to the last end, whatever ran in between.
    """

    trials: int
    device_hours: float
    tokens: float
    price: float
    wall_hours: float


def cost(study: Study, label: str | None = None) -> Cost:
    """Of one variant, or of the study."""
    done = study.finished if label is None else study.finished.filter(pl.col("variant") == label)
    used = {metric: _used(study, metric, label) for metric in (SECONDS, TOKENS)}
    hours = used[SECONDS] / 3600 * _number(study, "trainer", "ranks", 1)
    price = _number(study, "ray", "price_per_device_hour", 0)
    start, end = done["started_ms"].min(), done["ended_ms"].max()
    wall = (end - start) / 3.6e6 if isinstance(start, int) and isinstance(end, int) else math.nan
    money = hours * price if price else math.nan
    return Cost(len(done), hours, used[TOKENS], money, wall)


def _used(study: Study, metric: str, label: str | None) -> float:
    rows = study.metrics.filter(pl.col("metric") == metric)
    if label is not None:
        rows = rows.filter(pl.col("variant") == label)
    ends = rows.group_by("trial").agg(pl.col("value").max())["value"]
    return float(ends.sum()) if len(ends) else math.nan


def _number(study: Study, group: str, key: str, default: float) -> float:
    """A number of the stored config."""
    keys = study.config.get(group)
    value = keys.get(key, default) if isinstance(keys, dict) else default
    return float(value) if isinstance(value, int | float) else default


def sentence(study: Study) -> str:
    """`6 of 6 trials, 0.42 device-hours of training, 1.2 M sampled tokens`."""
    c = cost(study)
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
    rows = [_row(text.prose(label), cost(study, label)) for label in study.labels]
    rows.append(_row("all", cost(study)))
    device = study.config.get("trainer", {}).get("device", "") if study.config else ""
    method = (
        f"Of the trials that have a result, over all their attempts. Device-hours: training time "
        f"times the ranks of a trial (device: {text.code(device)}); evaluations, starts and "
        f"failed trials come on top. Price: {text.code('ray.price_per_device_hour')} times that. "
        f"Wall hours: from the first start to the last end."
    )
    header = ["variant", "trials", "device-hours", "sampled tokens", "price", "wall hours"]
    return "\n\n".join(["## Cost", text.table(header, rows), method])


def _row(name: str, c: Cost) -> list[str]:
    tokens = text.NONE if math.isnan(c.tokens) else f"{c.tokens:,.0f}"
    price = text.NONE if math.isnan(c.price) else f"{c.price:,.2f}"
    return [name, str(c.trials), _hours(c.device_hours), tokens, price, _hours(c.wall_hours)]


def _hours(hours: float) -> str:
    """Three significant digits: a tiny model takes seconds."""
    return text.NONE if math.isnan(hours) else f"{hours:.3g}"
