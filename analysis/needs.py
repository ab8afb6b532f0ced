"""Where more evidence is cheapest: more seeds, more prompts, or more responses to each prompt.

Variance of a trial's share on N prompts with K responses each: seed + (interaction + sampling / K)
/ N, by `stats.split` of the stored tables. Prompts as such cancel in a difference on one held-out
set. More seeds divide all of it; more prompts or responses leave what differs between seeds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis import stats
from analysis.ablation import Relation
from analysis.components import Parts, parts
from analysis.findings import Finding, Findings
from analysis.quantity import RESULT
from analysis.stats import FloatArray
from analysis.stats.power import Design, paired_design, welch_design
from analysis.study import Study

# Beyond these nobody goes on: another design is needed, or another margin.
MOST_SEEDS, MOST_PROMPTS, MOST_SAMPLES = 100, 100_000, 1_024
FEWEST = stats.MIN_SEEDS_VERDICT


@dataclass(frozen=True)
class Cost:
    """What is paid for one more, as the record of the two arms has it; NaN where it has not."""

    trial_tokens: float
    trial_seconds: float
    response_tokens: float
    response_seconds: float


@dataclass(frozen=True)
class Way:
    """One way to the margin.

    Attributes:
        what: "seeds", "prompts" or "samples".
        needed: how many in all, seeds of each arm; None where not even MOST_... suffice.
        tokens, seconds: of what is to be added.
    """

    what: str
    needed: int | None
    tokens: float
    seconds: float


@dataclass(frozen=True)
class Need:
    """What one prediction lacks.

    Attributes:
        reached: whether its test shows a size of its margin already, with 80 % power.
        ways: cheapest first; empty where it is reached or nothing is known.
        reason: why nothing is said; "" otherwise.
    """

    finding: Finding
    reached: bool
    ways: list[Way]
    reason: str


def needs(study: Study, found: Findings) -> list[Need]:
    """One per prediction, in the file's order."""
    return [_need(study, f) for f in found.predicted]


def _need(study: Study, f: Finding) -> Need:
    p = f.prediction
    x, y = study.arms(f.metric, f.variant, f.baseline)
    if f.quantity is not RESULT:
        return Need(f, False, [], "it is read off a curve, whose spread is not split")
    if p is None or p.margin == 0:
        return Need(f, False, [], "its margin is 0, so there is no size to reach")
    if min(len(x), len(y)) < 2 or stats.no_spread(x) or stats.no_spread(y):
        return Need(f, False, [], "the spread over seeds is unknown")
    own, base = (parts(study, f.metric, label) for label in (f.variant, f.baseline))
    shows = _shows(f, study.paired, x, y, (own, base))
    n = max(min(len(x), len(y)), FEWEST)
    prompts, samples = (own.prompts, own.samples) if own else (1, 1)
    if min(len(x), len(y)) >= FEWEST and shows(n, prompts, samples):
        return Need(f, True, [], "")
    cost = _cost(study, f, prompts)
    ways = [_more_seeds(least(n, MOST_SEEDS, lambda s: shows(s, prompts, samples)), x, y, cost)]
    if own and base and min(len(x), len(y)) >= FEWEST:
        trials, each = len(x) + len(y), prompts * samples
        count = least(prompts, MOST_PROMPTS, lambda c: shows(n, c, samples))
        ways.append(_more_responses("prompts", count, (count or 0) * samples - each, trials, cost))
        count = least(samples, MOST_SAMPLES, lambda c: shows(n, prompts, c))
        ways.append(_more_responses("samples", count, (count or 0) * prompts - each, trials, cost))
    return Need(f, False, sorted(ways, key=_price(ways)), "")


def _shows(
    f: Finding,
    paired: bool,
    x: FloatArray,
    y: FloatArray,
    split: tuple[Parts | None, Parts | None],
) -> Callable[[int, int, int], bool]:
    """Of seeds per arm, prompts and samples: whether a size of the margin is shown."""
    p = f.prediction
    margin, equal = (p.margin, p.relation is Relation.EQUAL) if p else (0.0, False)
    inside = equal and abs(f.verdict.difference.value) < margin
    alpha = (1 - f.verdict.difference.level) / (2 if inside else 1)

    def squares(prompts: int, samples: int) -> list[float]:
        seen = [float(np.var(arm, ddof=1)) for arm in (x, y)]
        return [
            own.seed + own.noise(prompts, samples) if own else square
            for square, own in zip(seen, split, strict=True)
        ]

    def shows(seeds: int, prompts: int, samples: int) -> bool:
        sds = squares(prompts, samples)
        design: Design
        if paired:
            # What the seeds share stays shared; the rest shrinks as in the arms.
            shared = 2 * float(np.cov(x, y)[0, 1])
            design = paired_design(math.sqrt(max(sum(sds) - shared, 0.0)), seeds)
        else:
            design = welch_design((math.sqrt(sds[0]), math.sqrt(sds[1])), (seeds, seeds))
        if not design.true > 0:
            return True
        chance = design.shows_equal(alpha) if equal else design.shows_difference(alpha)
        return chance(margin) >= stats.POWER

    return shows


def least(now: int, most: int, enough: Callable[[int], bool]) -> int | None:
    """Smallest count from `now` on that is enough, by halving; None where `most` is not."""
    if not enough(most):
        return None
    low, high = now, max(now, most)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _more_seeds(needed: int | None, x: FloatArray, y: FloatArray, cost: Cost) -> Way:
    if needed is None:
        return Way("seeds", None, math.nan, math.nan)
    trials = max(needed - len(x), 0) + max(needed - len(y), 0)
    return Way("seeds", needed, trials * cost.trial_tokens, trials * cost.trial_seconds)


def _more_responses(what: str, needed: int | None, more: int, trials: int, cost: Cost) -> Way:
    if needed is None:
        return Way(what, None, math.nan, math.nan)
    responses = trials * more
    return Way(what, needed, responses * cost.response_tokens, responses * cost.response_seconds)


def _price(ways: list[Way]) -> Callable[[Way], tuple[bool, float]]:
    """By seconds where every way that leads there has them, else by tokens."""
    timed = all(not math.isnan(way.seconds) for way in ways if way.needed is not None)

    def price(way: Way) -> tuple[bool, float]:
        return way.needed is None, way.seconds if timed else way.tokens

    return price


def _cost(study: Study, f: Finding, prompts: int) -> Cost:
    rows = study.metrics.filter(
        pl.col("variant").is_in([f.variant, f.baseline]) & pl.col("value").is_finite()
    )
    last = rows.group_by("trial", "metric").agg(pl.col("value").max(), pl.col("step").max())
    between = rows.filter(pl.col("metric") == "timing_s/testing").join(
        last.filter(pl.col("metric") == f.metric).select("trial", end=pl.col("step")), on="trial"
    )
    # At both ends more is measured than one response per prompt.
    between = between.filter((pl.col("step") > 0) & (pl.col("step") < pl.col("end")))
    length = study.results.filter(
        pl.col("variant").is_in([f.variant, f.baseline])
        & (pl.col("metric") == "eval/response_length/mean")
    )
    return Cost(
        _mean(last.filter(pl.col("metric") == "budget/tokens")),
        _mean(last.filter(pl.col("metric") == "budget/seconds")),
        _mean(length),
        _mean(between) / prompts,
    )


def _mean(rows: pl.DataFrame) -> float:
    return float(np.mean(rows["value"].sort().to_numpy())) if len(rows) else math.nan
