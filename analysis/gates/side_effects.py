"""Truncation, format and grader errors: what can make an arm look better or worse than it is."""

import numpy as np
import polars as pl

from analysis import stats
from analysis.gates.gate import ALARM, Gate, Level, about, mean_of, p_of
from analysis.study import Study

# Of the responses that a trial is measured by, and learns from.
METRICS = {
    "eval/truncated": "held-out responses cut by the budget",
    "eval/behaviour/well_formatted": "held-out answers in the format asked for",
    "eval/error_rate": "grader errors on held-out responses",
    "reward/error_rate": "grader errors in training",
}
# Every task has these; a format only those that ask for one.
ALWAYS = ("eval/truncated", "eval/error_rate")
ERRORS = ("eval/error_rate", "reward/error_rate")
# Share of responses with a grader error at which a trial stops by default (grading.*): a difference
# of this size is no chance, whatever the spread.
ERROR_TOLERANCE = 0.01


def differ(study: Study) -> Gate:
    """Whether arms differ from the baseline in one of METRICS.

    Welch's test, Holm over all arms and metrics: a false alarm in at most 5 % of studies. It does
    not say that the arm is wrong: fewer cut responses may be what it is for. It says that accuracy
    alone does not tell why.
    """
    question = "Same truncation, format and grader errors in every variant"
    found = {metric: _values(study, metric) for metric in METRICS}
    lost = [m for m in ALWAYS if any(len(x) < 2 for x in found[m].values())]
    logged = [m for m in METRICS if all(len(x) > 1 for x in found[m].values())]
    tests = [
        (m, x, stats.welch(found[m][x], found[m][study.baseline]))
        for m in logged
        for x in study.others
    ]
    p = stats.holm(np.array([p_of(d) for _, _, d in tests])) if tests else np.empty(0)
    odd = [
        (
            label,
            f"{METRICS[metric]}: {np.mean(found[metric][label]):.3f} in {label}, "
            f"{np.mean(found[metric][study.baseline]):.3f} in {study.baseline}",
        )
        for (metric, label, d), value in zip(tests, p, strict=True)
        if value < ALARM or (metric in ERRORS and abs(d.value) > ERROR_TOLERANCE)
    ]
    if odd:
        detail = "; ".join(words for _, words in odd)
        return about(study, question, Level.WARN, detail, [label for label, _ in odd])
    if lost:
        detail = f"not known of two seeds in each variant: {', '.join(lost)}"
        return Gate(question, Level.WARN, detail)
    detail = f"no difference shown in {', '.join(logged)} (Welch, Holm over {len(tests)})"
    return Gate(question, Level.OK, detail)


def _values(study: Study, metric: str) -> dict[str, stats.FloatArray]:
    """Of each arm, shape (n,): at the result, or the mean of all steps of training."""
    if metric.startswith("eval/"):
        return {label: study.values(metric, label) for label in study.labels}
    means = mean_of(study, metric).filter(pl.col("value").is_finite())
    return {x: means.filter(variant=x)["value"].to_numpy() for x in study.labels}
