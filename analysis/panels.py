"""Which figures a report has: each with its place, its file and what it shows in words."""

from functools import partial

import numpy as np
import polars as pl

from analysis import figures, labels, lines, names, stats, text, units
from analysis.contrasts import forests
from analysis.drawing import Drawing, Panel, capitalised, mean
from analysis.findings import Findings
from analysis.frame import Axis
from analysis.plotting import curve, told
from analysis.study import Study
from harness.machine import shown

OUTCOME, PROFILE = "outcome", "profile"
LENGTH, POLICY, DATA, BEHAVIOUR, PARTS = "length", "policy", "data", "behaviour", "parts"
STEPWISE = {
    LENGTH: (
        "eval/response_length/right",
        "eval/response_length/wrong",
        "eval/response_length/mean",
        "eval/truncated",
    ),
    POLICY: (
        *("actor/entropy", "eval/entropy", "eval/kl", "actor/ppo_kl", "actor/pg_clipfrac"),
        *("rollout/mismatch/ess", "rollout/mismatch/mean", "actor/log_ratio_sum"),
        *("actor/weight/mean", "actor/grad_norm"),
    ),
    DATA: (
        *("window/current", "response_length/clip_ratio", "curriculum/level"),
        *("reward/no_signal_groups", "rollout/accepted"),
    ),
    # Search and self-verification, read from the responses themselves.
    BEHAVIOUR: (
        *("eval/behaviour/attempts", "eval/behaviour/retry_rate", "eval/behaviour/give_up_rate"),
        *("eval/behaviour/checked", "eval/behaviour/computed_rightly"),
        "eval/behaviour/success_per_attempt",
        *("eval/strategy/toward", "eval/strategy/random", "eval/strategy/away"),
        *("eval/strategy/patient", "eval/strategy/slips"),
    ),
}
REWARD = "critic/score/mean"
CONSTANT = 1e-9  # share of a value by which it may move and still be called the same
THRESHOLDS = 101  # of a performance profile


def panels(study: Study, found: Findings) -> list[Panel]:
    """Every figure that this study has the data for, in the order of the report."""
    own = Drawing(study, found)
    made = forests(own)
    logged = sorted(study.metrics["metric"].unique())
    outcome = [m for m in dict.fromkeys([study.primary, REWARD]) if m in logged]
    made += [
        _curve(own, OUTCOME, metric, axis)
        for metric in outcome
        for axis in Axis
        if lines.has(own.parts, metric, axis)
    ]
    made += _trade(own) + _profile(own)
    for group, metrics in STEPWISE.items():
        moving = [m for m in metrics if m in own.parts and not _is_constant(own.parts[m])]
        made += [_curve(own, group, m, Axis.STEPS) for m in moving]
    whole = [m for m in logged if units.is_evaluation(m) and m.rpartition("/")[0] in logged]
    made += [_curve(own, PARTS, m, Axis.STEPS) for m in whole]
    return made


def unchanged(study: Study, group: str) -> list[tuple[str, str]]:
    """Name and value of the group's metrics that are the same in every trial at every step."""
    parts = lines.by_metric(study.metrics.filter(pl.col("metric").is_in(STEPWISE.get(group, ()))))
    still = [m for m in STEPWISE.get(group, ()) if m in parts and _is_constant(parts[m])]
    return [(names.name(m), text.number(parts[m]["value"][0], m)) for m in still]


def _is_constant(rows: pl.DataFrame) -> bool:
    values = rows["value"].to_numpy()
    return bool(np.ptp(values) <= CONSTANT * np.max(np.abs(values)))


def _curve(own: Drawing, group: str, metric: str, axis: Axis) -> Panel:
    ends = {x: mean(own.study.values(metric, x)) for x in own.study.labels}
    return curve(group, own.parts, metric, axis, own.ink, told(ends, metric, own.ink, "the result"))


def _trade(own: Drawing) -> list[Panel]:
    metric = own.study.primary
    found = lines.points(own.parts, metric, own.study.labels)
    if not found:
        return []
    front = lines.front(found)
    title = f"{capitalised(names.name(metric))} for tokens"
    on_it = ", ".join(own.ink[x].word for x in dict.fromkeys(p.label for p in front))
    words = (
        f"{title}: every evaluation, mean over seeds. On the Pareto front, from few tokens to "
        f"many: {on_it}; its end is {text.number(front[-1].value, metric)} at "
        f"{front[-1].tokens:,.0f} tokens."
    )
    unit = names.label(metric)

    name = f"{metric.replace('/', '_')}_front"
    draw = partial(figures.trade, title, unit, lines.sparse(found), front, own.ink)
    return [Panel(OUTCOME, name, words, draw)]


def has_profile(study: Study) -> bool:
    """Whether a share of results says anything: seeds enough in each variant, values in [0, 1]."""
    counts = [len(study.values(study.primary, label)) for label in study.labels]
    return units.is_share(study.primary) and min(counts) >= stats.MIN_SEEDS_CONFIRM


def _profile(own: Drawing) -> list[Panel]:
    study, metric = own.study, own.study.primary
    if not has_profile(study):
        return []
    thresholds = np.linspace(0, 1, THRESHOLDS)
    scores = {x: study.values(metric, x)[:, None] for x in study.labels}
    gaps = {x: stats.optimality_gap(s, 1.0) for x, s in scores.items() if x in own.bright}
    listed = ", ".join(f"{own.ink[x].word} {text.number(gap, metric)}" for x, gap in gaps.items())
    title = f"Seeds above a {names.name(metric)}"
    words = f"{title}: performance profile. Optimality gap, what is missing to 1: {listed}."
    shares = {x: (thresholds, stats.performance_profile(s, thresholds)) for x, s in scores.items()}
    draw = partial(figures.plain, title, "share of results above it", "threshold", shares, own.ink)
    return [Panel(OUTCOME, PROFILE, words, draw)]


def abbreviated(study: Study) -> dict[str, str]:
    """Words that figures have for labels which are too long for them -> the labels."""
    words = labels.shortened(study.labels)
    return {word: label for label, word in words.items() if word != shown.line(label)}
