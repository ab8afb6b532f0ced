"""What each trial contributes to a claim: one number, or a time that may be censored."""

import math
from collections.abc import Collection, Sequence

import numpy as np
import polars as pl

from analysis import frame, stats
from analysis.ablation import Prediction, Relation
from analysis.frame import Axis
from analysis.quantity import Kind, Quantity
from analysis.stats import Claim, FloatArray, Times
from analysis.study import Study
from analysis.units import limit

# Columns of what is read off each trial. `reached` and `end` are those of `stats.Times`; where the
# value is no time, `reached` is true and `end` NaN.
READ = {
    "variant": pl.String,
    "seed": pl.Int64,
    "value": pl.Float64,
    "reached": pl.Boolean,
    "end": pl.Float64,
}


def read(study: Study, metric: str, quantity: Quantity) -> pl.DataFrame:
    """One row per trial that has the quantity; columns READ."""
    if quantity.kind is Kind.RESULT:
        return valued(study.results.filter(pl.col("metric") == metric))
    lines = frame.seed_lines(study.metrics, metric, Axis[quantity.axis.upper()])
    if quantity.kind is Kind.TIME:
        return _times(lines, quantity.threshold)
    grid = frame.on_grid(lines)
    if quantity.kind is Kind.AT_EQUAL:
        return valued(grid.filter(pl.col("x") == pl.col("x").max()))
    rows = [
        (variant, seed, stats.mean_height(*_curve(line)))
        for (variant, seed), line in grid.group_by("variant", "seed", maintain_order=True)
    ]
    schema = {key: READ[key] for key in ("variant", "seed", "value")}
    return valued(pl.DataFrame(rows, schema=schema, orient="row"))


def valued(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of variant, seed and value as columns READ."""
    plain = rows.with_columns(reached=pl.lit(True), end=pl.lit(math.nan))
    return plain.select(pl.col(key).cast(kind) for key, kind in READ.items())


def _times(lines: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Where each line reaches the threshold, or where its trial ended."""
    rows = []
    for (variant, seed), line in lines.group_by("variant", "seed", maintain_order=True):
        end = float(line["end"].to_numpy()[0])
        when = stats.first_reached(*_curve(line), threshold)
        rows.append((variant, seed, min(when, end), math.isfinite(when), end))
    return pl.DataFrame(rows, schema=READ, orient="row")


def _curve(line: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
    return line["x"].to_numpy(), line["value"].to_numpy()


def at(rows: pl.DataFrame, seeds: Collection[int] | None) -> pl.DataFrame:
    """Rows of some seeds; of all where these are None."""
    return rows if seeds is None else rows.filter(pl.col("seed").is_in(list(seeds)))


def arms(
    rows: pl.DataFrame, variant: str, baseline: str, common: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of two variants by seed; only the seeds that both have, where `common`."""
    own, base = (
        rows.filter(pl.col("variant") == label).sort("seed") for label in (variant, baseline)
    )
    if not common:
        return own, base
    return own.join(base, on="seed", how="semi"), base.join(own, on="seed", how="semi")


def claim(
    rows: pl.DataFrame,
    subject: tuple[str, str, str],
    relation: Relation,
    margin: float,
    paired: bool,
) -> Claim:
    """The claim that a family decides.

    Args:
        rows: columns READ.
        subject: metric, variant and baseline.
        relation, margin: see Claim.
        paired: whether seeds are compared one by one.
    """
    metric, variant, baseline = subject
    own, base = arms(rows, variant, baseline, common=paired)
    if rows["end"].is_nan().all():
        x, y = (_numbers(arm, "value") for arm in (own, base))
        return Claim(relation, margin, x, y, paired, limit(metric))
    return stats.timed(relation, margin, times(own), times(base), paired)


def family(
    predictions: Sequence[Prediction],
    rows: Sequence[pl.DataFrame],
    paired: bool,
    seeds: Collection[int] | None,
) -> list[Claim]:
    """The claims of predictions, on some seeds or on all.

    Args:
        rows: of each prediction, columns READ.
    """
    return [
        claim(at(own, seeds), (p.metric, p.variant, p.baseline), p.relation, p.margin, paired)
        for p, own in zip(predictions, rows, strict=True)
    ]


def times(arm: pl.DataFrame) -> Times:
    """Times of one arm's rows."""
    return Times(_numbers(arm, "value"), arm["reached"].to_numpy(), _numbers(arm, "end"))


def _numbers(arm: pl.DataFrame, column: str) -> FloatArray:
    return arm[column].to_numpy().astype(np.float64)
