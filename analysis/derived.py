"""Predictions on what is read off whole curves: what each arm's trials gave."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from analysis import claims, stats, text
from analysis.quantity import Kind
from analysis.study import Study
from analysis.units import is_share

if TYPE_CHECKING:
    from analysis.findings import Finding, Findings


@dataclass(frozen=True)
class Arm:
    """One side of a prediction.

    Attributes:
        n: trials with the quantity.
        reached: those that got to the threshold; n for what is no time.
        value: mean over trials; of times, until `end` (restricted mean). NaN without trials.
        low, high: 95 % t interval of a mean; NaN for times.
        end: until when all trials of both arms were watched; NaN for what is no time.
    """

    n: int
    reached: int
    value: float
    low: float
    high: float
    end: float


def arms(study: Study, f: "Finding") -> tuple[Arm, Arm]:
    """Variant and baseline of a prediction."""
    rows = claims.read(study, f.metric, f.quantity)
    pair = claims.arms(rows, f.variant, f.baseline, common=study.paired)
    if f.quantity.kind is not Kind.TIME:
        own, base = (_mean(arm, is_share(f.metric)) for arm in pair)
        return own, base
    end = float(np.min(pl.concat(pair)["end"].to_numpy(), initial=np.inf))
    own, base = (_time(arm, end) for arm in pair)
    return own, base


def _mean(arm: pl.DataFrame, share: bool) -> Arm:
    e = stats.mean_interval(arm["value"].to_numpy(), share=share)
    return Arm(e.n, e.n, e.mean, e.low, e.high, math.nan)


def _time(arm: pl.DataFrame, end: float) -> Arm:
    times, n, nan = claims.times(arm), len(arm), math.nan
    mean = stats.restricted_mean(times.cut(end), end) if n else nan
    return Arm(n, int(times.reached.sum()), mean, nan, nan, end)


NOTE = (
    "At equal steps, tokens or seconds: where the trial of the study with the fewest ended. Mean "
    "height: the area under the curve over the range that all trials share, over its width. Curves "
    "are taken as straight between evaluations and never go on beyond their end. Time to a "
    "threshold: where the metric first lies at or above it; a trial that never does is censored at "
    "its end, which says that it took longer, and means are of the time until then or the common "
    "end. If all trials got there, Welch's or the paired test of the logarithms decides, with the "
    "interval of the ratio; if one did not, the exact log-rank test does, with one arm's times "
    "divided by the predicted ratio, over all assignments of trials to arms, or 99,999 drawn ones "
    "from 11 seeds in each on. It needs 4 seeds in each arm to decide anything."
)


def section(study: Study, found: "Findings") -> str:
    """What the predictions on derived quantities rest on; "" if there are none."""
    about = [f for f in found.predicted if f.quantity.kind is not Kind.RESULT]
    if not about:
        return ""
    rows = []
    for f in about:
        own, base = (_shown(arm, f) for arm in arms(study, f))
        rows.append(
            [text.prose(f.claim), own, base, text.difference(f.verdict.difference, f.metric)]
        )
    header = ["prediction", "variant", "baseline", "difference or ratio"]
    return "\n\n".join(["## Read off the curves", text.table(header, rows), NOTE])


def _shown(arm: Arm, f: "Finding") -> str:
    if f.quantity.kind is not Kind.TIME:
        shown = text.estimate(stats.Estimate(arm.value, arm.low, arm.high, arm.n), f.metric)
        return f"{shown} (n = {arm.n})"
    value = text.NONE if math.isnan(arm.value) else f"{arm.value:,.4g}"
    until = f"{value}, until {arm.end:,.4g}" if arm.reached < arm.n else value
    return f"{until} {f.quantity.axis} ({arm.reached} of {arm.n} got there)"
