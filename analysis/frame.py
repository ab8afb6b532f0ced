"""Metric frames -> arrays over seeds, and curves on a common grid.

`metrics` is a frame with the columns of `analysis.reading.columns.METRICS`. Values that are not
finite, or so large that their variance is not, count as missing: they reduce n, which every table
shows.
"""

from enum import Enum

import numpy as np
import polars as pl

from analysis import stats
from analysis.ablation import Checkpoint, Primary
from analysis.stats import FloatArray

LARGEST = 1e150  # values beyond it have squares beyond the largest number: what has diverged
GRID_POINTS = 60  # enough for a smooth line at 4 inches; evaluations are far fewer


class Axis(Enum):
    """What a curve is drawn against; the value is the metric that holds it."""

    STEPS = "training/global_step"
    TOKENS = "budget/tokens"
    SECONDS = "budget/seconds"


def finite(metrics: pl.DataFrame) -> pl.DataFrame:
    """Only rows whose value is a number that statistics can be made of."""
    return metrics.filter(pl.col("value").is_finite() & (pl.col("value").abs() < LARGEST))


def results(metrics: pl.DataFrame, primary: Primary) -> pl.DataFrame:
    """Every metric at each trial's result.

    The result is the evaluation at the trial's final step, where its budget was spent; a trial
    whose primary metric is not a finite number there has none, whatever it was before. Under the
    rule `best` it is the evaluation where the primary metric is highest (the earliest on ties).
    Step 0 is the base model and never a result.

    Args:
        metrics: of finished trials, with the values that are not finite.

    Returns:
        Rows of `metrics`, one per trial and metric that is a finite number at that step.
    """
    rows = finite(metrics).filter((pl.col("metric") == primary.metric) & (pl.col("step") > 0))
    if primary.checkpoint is Checkpoint.LAST:
        ends = metrics.group_by("trial").agg(pl.col("step").max())
        chosen = rows.join(ends, on=["trial", "step"]).select("trial", "step")
    else:
        chosen = (
            rows.sort("value", "step", descending=[False, True])
            .unique("trial", keep="last", maintain_order=True)
            .select("trial", "step")
        )
    return finite(metrics.join(chosen, on=["trial", "step"])).sort("trial", "metric")


def values(rows: pl.DataFrame, metric: str, variant: str) -> FloatArray:
    """One metric of one variant, shape (n,), ordered by seed."""
    own = rows.filter((pl.col("metric") == metric) & (pl.col("variant") == variant))
    return own.sort("seed")["value"].to_numpy().astype(np.float64)


def common(
    rows: pl.DataFrame, metric: str, variant: str, baseline: str
) -> tuple[FloatArray, FloatArray]:
    """One metric of two variants at the seeds that have both, shape (n,) each, by seed."""
    known = rows.filter(pl.col("metric") == metric)
    own, base = (
        known.filter(pl.col("variant") == label).select("seed", "value")
        for label in (variant, baseline)
    )
    both = own.join(base, on="seed", suffix="_base").sort("seed")
    return both["value"].to_numpy(), both["value_base"].to_numpy()


def arms(
    rows: pl.DataFrame, metric: str, variant: str, baseline: str, paired: bool
) -> tuple[FloatArray, FloatArray]:
    """One metric of two variants as a test takes them: all seeds, or paired those in common."""
    if paired:
        return common(rows, metric, variant, baseline)
    return values(rows, metric, variant), values(rows, metric, baseline)


def base_values(metrics: pl.DataFrame, metric: str) -> FloatArray:
    """One metric of the base model (step 0), shape (seeds,).

    All variants of a seed start from the same base and the same draws; their mean counts once.
    """
    rows = finite(metrics).filter((pl.col("step") == 0) & (pl.col("metric") == metric))
    by_seed = rows.group_by("seed").agg(pl.col("value").mean()).sort("seed")
    return by_seed["value"].to_numpy().astype(np.float64)


def seed_lines(metrics: pl.DataFrame, metric: str, axis: Axis) -> pl.DataFrame:
    """One metric of every trial against steps, tokens or seconds.

    Returns:
        trial, variant, seed, x, value, end; `end` is the x where the trial's training ended,
        whether or not this metric has a value there.
    """
    own = finite(metrics.filter(pl.col("metric") == metric))
    if axis is Axis.STEPS:
        every = metrics.lazy().filter(pl.col("value").is_finite())
        ends = every.group_by("trial").agg(end=pl.col("step").max().cast(pl.Float64)).collect()
        own = own.with_columns(x=pl.col("step").cast(pl.Float64))
    else:
        clock = finite(metrics.filter(pl.col("metric") == axis.value))
        clock = clock.select("trial", "step", x=pl.col("value"))
        ends = clock.group_by("trial").agg(end=pl.col("x").max())
        own = own.join(clock, on=["trial", "step"])
    columns = ["trial", "variant", "seed", "x", "value", "end"]
    return own.join(ends, on="trial").select(columns).sort("trial", "x")


def on_grid(lines: pl.DataFrame) -> pl.DataFrame:
    """Every line interpolated linearly on one grid of GRID_POINTS that all lines share.

    The grid begins where the last line begins and ends where the shortest ends, so nothing is
    extrapolated. Same columns as `lines`; empty when the lines share no range.
    """
    spans = lines.group_by("trial").agg(first=pl.col("x").min(), last=pl.col("x").max())
    low, high = spans["first"].max(), spans["last"].min()
    if not isinstance(low, float) or not isinstance(high, float) or not low < high:
        return lines.clear()
    grid = np.linspace(low, high, GRID_POINTS)
    parts = []
    for (_,), line in sorted(lines.group_by("trial"), key=lambda item: str(item[0])):
        line = line.sort("x")
        columns = [pl.lit(line[0, name]).alias(name) for name in ("trial", "variant", "seed")]
        y = np.interp(grid, line["x"].to_numpy(), line["value"].to_numpy())
        frame = pl.DataFrame({"x": grid, "value": y}).with_columns(
            *columns, end=pl.lit(line[0, "end"])
        )
        # A literal takes the least type that holds it: seeds below 2^31 and above differ.
        parts.append(frame.select(pl.col(name).cast(kind) for name, kind in lines.schema.items()))
    return pl.concat(parts)


def mean_band(lines: pl.DataFrame, share: bool = False) -> pl.DataFrame:
    """Mean over seeds and its 95 % t interval at every x, per variant.

    Stops where the variant's shortest trial ended: beyond it the mean would change because
    seeds drop out.

    Args:
        lines: columns of `seed_lines`.
        share: whether the values lie in [0, 1]; the band then does as well.

    Returns:
        variant, x, mean, low, high, n; low and high are NaN where n < 2.
    """
    shared = lines.filter(pl.col("x") <= pl.col("end").min().over("variant"))
    rows = []
    for key, group in shared.sort("variant", "x", "seed").group_by(
        "variant", "x", maintain_order=True
    ):
        e = stats.mean_interval(group["value"].to_numpy(), share=share)
        rows.append((*key, e.mean, e.low, e.high, e.n))
    schema = {"variant": pl.String, "x": pl.Float64, "mean": pl.Float64}
    schema |= {"low": pl.Float64, "high": pl.Float64, "n": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def at_equal_tokens(metrics: pl.DataFrame, metric: str) -> tuple[float, pl.DataFrame]:
    """One metric where the trial with the fewest tokens ended.

    Returns:
        That number of tokens, and the rows of `on_grid` there (one per trial); NaN and no rows
        when the trials share no range.
    """
    grid = on_grid(seed_lines(metrics, metric, Axis.TOKENS))
    if grid.is_empty():
        return float("nan"), grid
    tokens = float(np.max(grid["x"].to_numpy()))
    return tokens, grid.filter(pl.col("x") == tokens)
