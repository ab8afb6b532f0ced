"""How many seeds do I need? A pilot's spread -> power and resolution for numbers of seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from scipy import special

from analysis import figures, frame, labels, stats
from analysis.ablation import Prediction, Relation
from analysis.drawing import Panel
from analysis.findings import expected
from analysis.names import name
from analysis.power import Chance, Scene, plan_power
from harness.errors import ConfigError

SEEDS = (3, 4, 5, 7, 10, 15)  # what is planned in practice


def spreads(results: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """Standard deviation over seeds of every variant, and how well it is known.

    Example:
        >>> ablation = analysis.read("runs", "length_bias")
        >>> analysis.spreads(ablation.results, ["eval/accuracy"])

    Args:
        results: variant, seed, metric and value, as in `.results` of `analysis.read`.
        metrics: keys.

    Returns:
        metric, variant, n, sd, low, high: the 95 % interval of a normal distribution's standard
        deviation (chi-squared, n - 1 degrees of freedom). Three seeds know it to [.52 sd, 6.3 sd].
        The variant "all" has them together, each weighing by its degrees of freedom.
    """
    rows = []
    for metric in metrics:
        own = results.filter(pl.col("metric") == metric)
        arms = {
            label: frame.values(own, metric, label)
            for label in own["variant"].unique(maintain_order=True)
        }
        squares = {x: float(np.var(arm, ddof=1)) for x, arm in arms.items() if len(arm) > 1}
        rows += [
            _spread(metric, x, len(arms[x]), square, len(arms[x]) - 1)
            for x, square in squares.items()
        ]
        df = sum(len(arms[x]) - 1 for x in squares)
        if df:
            pooled = sum(square * (len(arms[x]) - 1) for x, square in squares.items()) / df
            rows.append(_spread(metric, "all", sum(len(arms[x]) for x in squares), pooled, df))
    return pl.DataFrame(rows, schema=SPREADS, orient="row")


SPREADS = {"metric": pl.String, "variant": pl.String, "n": pl.Int64}
SPREADS |= dict.fromkeys(("sd", "low", "high"), pl.Float64)


def _spread(metric: str, label: str, n: int, square: float, df: int) -> tuple[object, ...]:
    tail = (1 - stats.LEVEL) / 2
    least, most = (2 * float(special.gammaincinv(df / 2, p)) for p in (tail, 1 - tail))
    bounds = (math.sqrt(square * df / most), math.sqrt(square * df / least))
    return metric, label, n, math.sqrt(square), *bounds


def power_table(
    predictions: Sequence[Prediction],
    sds: Mapping[str, float],
    seeds: Sequence[int] = SEEDS,
    *,
    paired: bool = False,
    correlation: float = 0.0,
) -> pl.DataFrame:
    """What becomes of predictions with so many seeds in each arm, decided as the report decides.

    Example:
        >>> p = analysis.Prediction(
        ...     metric="eval/accuracy", variant="dr_grpo", relation=analysis.Relation.EQUAL,
        ...     baseline="grpo", margin=0.05, because="same maths",
        ... )
        >>> table = analysis.power_table([p], {"eval/accuracy": 0.02}, seeds=[3, 5, 10])
        >>> analysis.power_curves(table)

    Args:
        predictions: the family, decided together (Holm).
        sds: metric -> standard deviation over seeds that is expected of every arm.
        seeds: numbers of seeds of each arm, at least 3.
        paired: whether seeds are compared one by one.
        correlation: over seeds between the arms of one metric.

    Returns:
        One row per number of seeds and prediction, columns `Outlook`.

    Raises:
        ConfigError: fewer than 3 seeds, or a metric without a spread.
    """
    _check(predictions, sds, seeds)
    return pl.DataFrame(
        [
            _outlook(chance, n, sds)
            for n in seeds
            for chance in plan_power(predictions, sds, n, paired, correlation).chances
        ]
    )


def _check(
    predictions: Sequence[Prediction], sds: Mapping[str, float], seeds: Sequence[int]
) -> None:
    low = [n for n in seeds if n < stats.MIN_SEEDS_VERDICT]
    if low:
        raise ConfigError(
            f"no verdict is given below {stats.MIN_SEEDS_VERDICT} seeds, received {low[0]}"
        )
    unknown = [p.metric for p in predictions if not sds.get(p.metric, math.nan) > 0]
    if unknown:
        raise ConfigError(f"sds has no spread above 0 for {unknown[0]!r}; take it from a pilot")


@dataclass(frozen=True)
class Outlook:
    """What becomes of one prediction.

    Attributes:
        seeds: of each arm.
        prediction: in words.
        true: the difference at which it counts as true, in the metric's unit.
        power: chance of "supported" there.
        error: chance of "supported" where the truth lies at the margin.
        error_collapse: the same where one seed in five of the variant collapses.
        resolution: what Welch's test of this prediction alone shows in 80 % of studies: a
            difference of this size beyond the margin; of equal, a margin of this size.
    """

    seeds: int
    prediction: str
    metric: str
    true: float
    power: float
    error: float
    error_collapse: float
    resolution: float


def _outlook(chance: Chance, n: int, sds: Mapping[str, float]) -> Outlook:
    p, sd = chance.prediction, sds[chance.prediction.metric]
    equal = p.relation is Relation.EQUAL
    smallest = stats.expected_attainable if equal else stats.expected_detectable
    false = dict(zip(Scene, chance.false, strict=True))
    return Outlook(
        seeds=n,
        prediction=f"{p.variant} on {name(p.metric)} is {expected(p)}",
        metric=p.metric,
        true=chance.true,
        power=chance.found[0],
        error=false[Scene.NORMAL],
        error_collapse=false[Scene.VARIANT],
        resolution=smallest((sd, sd), n, stats.ALPHA),
    )


def power_curves(table: pl.DataFrame) -> Panel:
    """Power against the number of seeds, one line for each prediction.

    Example:
        >>> p = analysis.Prediction(
        ...     metric="eval/accuracy", variant="dr_grpo", relation=analysis.Relation.GREATER,
        ...     baseline="grpo", margin=0.02, because="a guess",
        ... )
        >>> analysis.power_curves(analysis.power_table([p], {"eval/accuracy": 0.02}))

    Args:
        table: of `power_table`.
    """
    parts = {
        str(key[0]): own
        for key, own in table.partition_by("prediction", as_dict=True, maintain_order=True).items()
    }
    wanted = list(parts)
    lines = {
        x: (own["seeds"].cast(pl.Float64).to_numpy(), own["power"].to_numpy())
        for x, own in parts.items()
    }
    ends = "; ".join(_ends(x, own) for x, own in parts.items())
    ink = labels.inks(wanted, wanted[: labels.MOST_BRIGHT])
    axes = ("chance of “supported”", "seeds of each arm")
    draw = partial(figures.plain, "Power", *axes, lines, ink)
    return Panel("", "power", f"Power against seeds. {ends}.", draw)


def _ends(prediction: str, own: pl.DataFrame) -> str:
    """Power with the fewest and with the most seeds."""
    first, last = (f"{own['power'][i]:.2f} with {own['seeds'][i]}" for i in (0, -1))
    return f"{prediction}: {first}, {last}"
