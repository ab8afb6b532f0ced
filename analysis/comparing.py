"""Variants beside each other on one metric, as numbers: what tables and notebooks show."""

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis import frame, stats
from analysis.estimates import estimate
from analysis.stats import Difference, Estimate, FloatArray
from analysis.units import limit
from harness.errors import ConfigError


@dataclass(frozen=True)
class Comparison:
    """One metric of one variant, beside the baseline.

    Attributes:
        difference: variant minus baseline.
        g: Hedges g; NaN without spread.
        detectable: smallest true difference that 80 % of such studies would find with this test
            alone at .05; NaN if unknown.
    """

    estimate: Estimate
    difference: Difference
    g: float
    detectable: float


def comparison(
    values: FloatArray, own: FloatArray, base: FloatArray, metric: str, paired: bool
) -> Comparison:
    """A variant against its baseline.

    Args:
        values: every seed of the variant, for its mean.
        own, base: the seeds that the test compares.
        metric: key of what they are values of.
        paired: whether seed i of `own` is compared with seed i of `base`.
    """
    test = stats.paired if paired else stats.welch
    return Comparison(
        estimate(values, metric),
        test(own, base, limit=limit(metric)),
        stats.hedges_g(own, base),
        stats.detectable(own, base, stats.ALPHA, paired).value,
    )


def compare(
    results: pl.DataFrame, metric: str, baseline: str, *, paired: bool = False
) -> pl.DataFrame:
    """Every variant against one baseline, each alone at 95 %: exploratory, so without a verdict.

    Example:
        >>> ablation = analysis.read("runs", "length_bias")
        >>> analysis.compare(ablation.results, "eval/accuracy", baseline="grpo")

    Args:
        results: variant, seed, metric and value, as in `.results` of `analysis.read` and of
            `analysis.grouped`.
        metric: key of what is compared.
        baseline: label of the variant that the others are compared with.
        paired: whether seeds are compared one by one, those that both variants have.

    Returns:
        variant, n, mean, low, high; difference, difference_low, difference_high, p of the test;
        g (Hedges) and detectable, the true difference that 80 % of such studies would find. One
        row per variant, the baseline first; NaN for what cannot be computed.

    Raises:
        ConfigError: an unknown metric or baseline.
    """
    own = results.filter(pl.col("metric") == metric)
    labels = own["variant"].unique(maintain_order=True).to_list()
    if own.is_empty():
        known = results["metric"].unique().sort().to_list()
        raise ConfigError(f"no result of {metric!r}; valid: {', '.join(known) or 'none'}")
    if baseline not in labels:
        raise ConfigError(f"no variant {baseline!r} has a result; valid: {', '.join(labels)}")
    twice = own.group_by("variant", "seed").len().filter(pl.col("len") > 1).sort("variant", "seed")
    if paired and len(twice):
        raise ConfigError(
            f"paired: variant {twice[0, 'variant']!r} has seed {twice[0, 'seed']} more than once; "
            f"compare with paired=False"
        )
    ordered = [baseline, *(label for label in labels if label != baseline)]
    return pl.DataFrame([_row(own, metric, label, baseline, paired) for label in ordered])


def _row(
    results: pl.DataFrame, metric: str, label: str, baseline: str, paired: bool
) -> dict[str, Any]:
    values = frame.values(results, metric, label)
    arms = frame.arms(results, metric, label, baseline, paired)
    c = comparison(values, *arms, metric, paired)
    own: dict[str, Any] = {"variant": label, "n": c.estimate.n, "mean": c.estimate.mean}
    own |= {"low": c.estimate.low, "high": c.estimate.high}
    d = c.difference
    apart = {"difference": d.value, "difference_low": d.low, "difference_high": d.high, "p": d.p}
    apart |= {"g": c.g, "detectable": c.detectable}
    return own | (dict.fromkeys(apart, math.nan) if label == baseline else apart)
