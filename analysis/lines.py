"""Metric frames -> what a curve shows: a thin line per seed, a mean, a band. No drawing here.

A study may hold millions of points and a panel is 250 pixels wide: what would not be seen is left
out before anything is computed from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis import frame
from analysis.frame import Axis
from analysis.stats import FloatArray
from analysis.units import floor, is_share

POINTS = 60  # of a mean and its band; evaluations are far fewer
BUCKETS = 60  # of a seed's line: two points each, its smallest and largest, so that spikes stay

Line = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Curve:
    """One variant in one panel.

    Attributes:
        seeds: x and value of every trial, each shape (k,); none for a variant in the background.
        x, mean, low, high: mean over seeds and its 95 % interval, shapes (k,); NaN without one.
        n: seeds behind the mean's last point.
    """

    label: str
    seeds: list[Line]
    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    n: int


@dataclass(frozen=True)
class Point:
    """One evaluation of one variant: mean tokens used so far, mean of the metric over seeds."""

    label: str
    tokens: float
    value: float


def by_metric(metrics: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The finite rows of every metric, so that a panel need not read those of the others."""
    return {
        str(key[0]): rows
        for key, rows in frame.finite(metrics).partition_by("metric", as_dict=True).items()
    }


def has(parts: Mapping[str, pl.DataFrame], metric: str, axis: Axis) -> bool:
    """Whether a value of the metric is known together with its place on the axis."""
    if metric not in parts or axis is Axis.STEPS:
        return metric in parts
    clock = parts.get(axis.value)
    on = ["trial", "step"]
    return clock is not None and not parts[metric].join(clock, on=on, how="semi").is_empty()


def curves(
    parts: Mapping[str, pl.DataFrame], metric: str, axis: Axis, labels: list[str], bright: list[str]
) -> list[Curve]:
    """Curves of one metric, in the order of `labels`; variants without a value are left out.

    Args:
        parts: `by_metric` of a study's metrics.
        labels: all variants.
        bright: those with seeds and a band; the others are means in the background.
    """
    if metric not in parts:
        return []
    # Tokens are logged at every step: with them a line is known to end where its trial did.
    names = dict.fromkeys([metric, axis.value, Axis.TOKENS.value])
    own = [parts[name] for name in names if name in parts]
    lines = frame.seed_lines(pl.concat(own), metric, axis)
    shared = _fewer(lines) if axis is Axis.STEPS else frame.on_grid(lines)
    return [
        curve
        for label in labels
        if (curve := _curve(lines, shared, metric, label, label in bright)) is not None
    ]


def _curve(
    lines: pl.DataFrame, shared: pl.DataFrame, metric: str, label: str, bright: bool
) -> Curve | None:
    own = lines.filter(pl.col("variant") == label)
    if own.is_empty():
        return None
    mine = shared.filter(pl.col("variant") == label)
    if bright:
        band = frame.mean_band(mine, is_share(metric))
    else:
        mine = mine.filter(pl.col("x") <= pl.col("end").min())
        band = mine.group_by("x").agg(pl.col("value").mean().alias("mean"), n=pl.len()).sort("x")
        band = band.with_columns(low=pl.lit(float("nan")), high=pl.lit(float("nan")))
    trials = own.sort("seed", "x").partition_by("trial", maintain_order=True) if bright else []
    low = np.maximum(band["low"].to_numpy(), floor(metric))
    return Curve(
        label,
        [thinned(t["x"].to_numpy(), t["value"].to_numpy()) for t in trials],
        band["x"].to_numpy(),
        band["mean"].to_numpy(),
        low,
        band["high"].to_numpy(),
        int(band["n"][-1]) if len(band) else 0,
    )


def _fewer(lines: pl.DataFrame) -> pl.DataFrame:
    """The rows at POINTS of the x that there are, evenly spaced; first and last among them."""
    every = lines["x"].unique().sort()
    if len(every) <= POINTS:
        return lines
    kept = every.gather(np.linspace(0, len(every) - 1, POINTS).round().astype(int))
    return lines.filter(pl.col("x").is_in(kept.implode()))


def thinned(x: FloatArray, y: FloatArray) -> Line:
    """A line through the smallest and the largest value of each of BUCKETS pieces."""
    if len(x) <= 2 * BUCKETS:
        return x, y
    kept = {0, len(x) - 1}
    for piece in np.array_split(np.arange(len(x)), BUCKETS):
        kept |= {int(piece[y[piece].argmin()]), int(piece[y[piece].argmax()])}
    chosen = np.array(sorted(kept))
    return x[chosen], y[chosen]


def points(parts: Mapping[str, pl.DataFrame], metric: str, labels: list[str]) -> list[Point]:
    """Every evaluation after the base against the tokens sampled so far, means over seeds.

    An evaluation counts that all trials of its variant have.
    """
    clock = parts.get(Axis.TOKENS.value)
    if metric not in parts or clock is None:
        return []
    tokens = clock.select("trial", "step", tokens=pl.col("value"))
    rows = parts[metric].filter(pl.col("step") > 0).join(tokens, on=["trial", "step"])
    trials = rows.group_by("variant").agg(trials=pl.col("trial").n_unique())
    means = (
        rows.group_by("variant", "step")
        .agg(pl.col("tokens").mean(), pl.col("value").mean(), n=pl.len())
        .join(trials, on="variant")
        .filter(pl.col("n") == pl.col("trials"))
        .sort("tokens", "variant", "step")
    )
    found = means.select("variant", "tokens", "value").iter_rows()
    return [Point(*row) for row in found if row[0] in labels]


def sparse(found: list[Point]) -> list[Point]:
    """At most POINTS of each variant, evenly spaced, the last among them."""
    kept = []
    for label in dict.fromkeys(point.label for point in found):
        own = [point for point in found if point.label == label]
        last, count = len(own) - 1, min(POINTS, len(own))
        kept += [own[last - i * len(own) // count] for i in range(count)]
    return kept


def front(found: list[Point]) -> list[Point]:
    """The points that no other beats with as few tokens, in the order of tokens."""
    kept: list[Point] = []
    for point in sorted(found, key=lambda p: (p.tokens, -p.value)):
        if not kept or point.value > kept[-1].value:
            kept.append(point)
    return kept
