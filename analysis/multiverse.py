"""Would another reasonable analysis have said the same? Every prediction under all of them.

The planned analysis alone decides. The others are there so that a reader sees what hangs on it;
each decides the whole family, with the functions that the plan's verdicts come from.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from analysis import claims, deciding, frame, text
from analysis.ablation import Checkpoint, Prediction, Relation
from analysis.frame import Axis
from analysis.quantity import AXES, Kind
from analysis.stats import FloatArray, Outcome, Verdict
from analysis.study import FINISHED, Study
from harness.config import BudgetUnit

if TYPE_CHECKING:
    from analysis.findings import Findings

LAST_K = 3  # evaluations that are averaged: fewer is the last one, more reaches into learning


class Rule(Enum):
    """Which evaluations are a trial's result."""

    LAST = "last"
    BEST = "best"
    MEAN = f"mean of the last {LAST_K}"


class Missing(Enum):
    """What a planned trial without a result counts as."""

    DROPPED = "left out"
    WORST = "at worst"


@dataclass(frozen=True)
class Analysis:
    """One way to analyse a study.

    Attributes:
        rule: for results; the other quantities have no checkpoint.
        axis: of AXES, on which all trials are read to the least end of any; for a quantity read off
            a curve, what it is read against. "" is the plan's: each trial to its own end.
        paired: whether seeds are compared one by one.
        missing: WORST: where the claim's chances are least, among all values seen of the metric;
            for a time to a threshold, never reached.
    """

    rule: Rule
    axis: str
    paired: bool
    missing: Missing


@dataclass(frozen=True)
class Strip:
    """One prediction under every analysis that differs for it; the planned one comes first."""

    prediction: Prediction
    cells: dict[Analysis, Verdict]

    def count(self, outcome: Outcome) -> int:
        """In how many analyses that is the verdict."""
        return [v.outcome for v in self.cells.values()].count(outcome)


def multiverse(study: Study) -> list[Strip]:
    """A strip for each prediction, in the file's order. Trust gates withhold nothing here."""
    predictions = study.manifest.ablation.predictions
    pairs = [(p.variant, p.baseline) for p in predictions]
    planned = plan(study)
    cells: list[dict[Analysis, Verdict]] = [{} for _ in predictions]
    for analysis in _analyses(study):
        concerned = [_differs(study, p, analysis) or analysis == planned for p in predictions]
        if not any(concerned):
            continue
        rows = [_counted(study, p, analysis) for p in predictions]
        family = partial(claims.family, predictions, rows, analysis.paired)
        for i, verdict in enumerate(deciding.decide(study, pairs, family)):
            if concerned[i]:
                cells[i][analysis] = verdict
    return [Strip(p, own) for p, own in zip(predictions, cells, strict=True)]


def plan(study: Study) -> Analysis:
    """The analysis that the plan declares."""
    best = study.manifest.ablation.primary.checkpoint is Checkpoint.BEST
    return Analysis(Rule.BEST if best else Rule.LAST, "", study.paired, Missing.DROPPED)


def _analyses(study: Study) -> Iterator[Analysis]:
    """Every combination, the planned one first."""
    first = plan(study)
    gone = not (study.trials["status"] == FINISHED).all()
    rules = [first.rule, *(rule for rule in Rule if rule is not first.rule)]
    missing = list(Missing) if gone else [Missing.DROPPED]
    for choice in itertools.product(rules, ("", *AXES), (first.paired, not first.paired), missing):
        yield Analysis(*choice)


def _differs(study: Study, p: Prediction, analysis: Analysis) -> bool:
    """Whether an analysis is one of its own for a prediction, and not another's twice."""
    if p.reads.kind is Kind.RESULT:
        return analysis.axis != _budget_axis(study)
    return analysis.rule is plan(study).rule and analysis.axis != p.reads.axis


def _budget_axis(study: Study) -> str:
    """On which all trials end alike by plan."""
    unit = study.manifest.ablation.budget.unit
    return {BudgetUnit.TOKENS: "tokens", BudgetUnit.SECONDS: "seconds"}.get(unit, "steps")


def _counted(study: Study, p: Prediction, analysis: Analysis) -> pl.DataFrame:
    """Every trial that counts under an analysis; columns `claims.READ`."""
    rows = _rows(study, p, analysis)
    if analysis.missing is Missing.WORST:
        rows = pl.concat([rows, *(_imputed(study, p, rows, x) for x in (p.variant, p.baseline))])
    return rows


def _rows(study: Study, p: Prediction, analysis: Analysis) -> pl.DataFrame:
    """What is read off each trial; columns `claims.READ`."""
    if p.reads.kind is not Kind.RESULT:
        axis = analysis.axis or p.reads.axis
        return claims.read(study, p.metric, dataclasses.replace(p.reads, axis=axis))
    if not analysis.axis and analysis.rule is plan(study).rule:
        return claims.read(study, p.metric, p.reads)
    axis_ = Axis[(analysis.axis or "steps").upper()]
    lines = frame.seed_lines(study.metrics, p.metric, axis_)
    chosen = _curves(frame.seed_lines(study.metrics, study.primary, axis_))
    ends = lines["end"].to_numpy()
    until = float(ends.min()) if analysis.axis and len(ends) else math.inf
    rows = [
        (*key, _value(curve, chosen.get(key, curve), analysis.rule, until))
        for key, curve in _curves(lines).items()
    ]
    schema = {key: claims.READ[key] for key in ("variant", "seed", "value")}
    found = pl.DataFrame(rows, schema=schema, orient="row")
    return claims.valued(frame.finite(found))


Curve = tuple[FloatArray, FloatArray]


def _curves(lines: pl.DataFrame) -> dict[tuple[Any, ...], Curve]:
    """(variant, seed) -> where and what was evaluated, the base model left out."""
    after = lines.filter(pl.col("x") > 0)
    return {
        key: (line["x"].to_numpy(), line["value"].to_numpy())
        for key, line in after.group_by("variant", "seed", maintain_order=True)
    }


def _value(curve: Curve, primary: Curve, rule: Rule, until: float) -> float:
    """A trial's result up to somewhere; NaN where nothing was evaluated by then."""
    x, y = curve
    seen = x <= until
    if not seen.any():
        return math.nan
    if rule is Rule.LAST:
        return float(y[-1] if math.isinf(until) else np.interp(until, x, y))
    if rule is Rule.MEAN:
        return float(np.mean(y[seen][-LAST_K:]))
    where = primary[0] <= until
    best = primary[0][where][np.argmax(primary[1][where])] if where.any() else math.nan
    at_best = y[x == best]
    return float(at_best[0]) if len(at_best) else math.nan


def _imputed(study: Study, p: Prediction, rows: pl.DataFrame, label: str) -> pl.DataFrame:
    """Rows for the trials of one arm that have no result; columns `claims.READ`."""
    gone = study.trials.filter((pl.col("variant") == label) & (pl.col("status") != FINISHED))
    value, reached, end = _worst(p, rows, label), True, math.nan
    if p.reads.kind is Kind.TIME and not rows.is_empty():
        value = end = float(rows["end"].to_numpy().min())
        reached = False
    made = [(label, seed, value, reached, end) for seed in gone["seed"]]
    return pl.DataFrame(made if math.isfinite(value) else [], schema=claims.READ, orient="row")


def _worst(p: Prediction, rows: pl.DataFrame, label: str) -> float:
    """The value in one arm that speaks most against a prediction, of those seen."""
    seen = rows["value"].to_numpy()
    if not len(seen):
        return math.nan
    low, high = float(seen.min()), float(seen.max())
    if p.relation is Relation.EQUAL:
        other = p.baseline if label == p.variant else p.variant
        centre = rows.filter(pl.col("variant") == other)["value"].to_numpy()
        middle = float(centre.mean()) if len(centre) else low
        return max(low, high, key=lambda x: abs(x - middle))
    raises = (p.relation is Relation.GREATER) == (label == p.variant)
    return low if raises else high


def plain(strips: list[Strip]) -> list[dict[str, Any]]:
    """For report.json: every analysis of every prediction, the planned one first."""
    return [
        {
            "supported": strip.count(Outcome.SUPPORTED),
            "of": len(strip.cells),
            "analyses": [
                {
                    **{key: getattr(a, key) for key in ("axis", "paired")},
                    "rule": a.rule.value,
                    "missing": a.missing.value,
                    "verdict": v.outcome.value,
                    "difference": v.difference.value,
                    "p": v.p,
                }
                for a, v in strip.cells.items()
            ],
        }
        for strip in strips
    ]


NOTE = (
    "The plan's analysis alone decides; the others show what hangs on it. They vary which "
    f"evaluations are a trial's result (last, best by the primary metric, mean of the last "
    f"{LAST_K}), up to where trials are read (their own end; the least number of steps, tokens or "
    "seconds of any trial, interpolated), whether seeds are compared one by one, and, where a "
    "planned trial has no result, whether it is left out or takes the value seen that speaks most "
    "against the prediction. Each decides all predictions with Holm's procedure, as the plan does."
)
BARRED = (
    "Trials are missing, so no verdict is given on this page, and this is none either: it shows "
    "whether they could matter."
)


def section(study: Study, found: "Findings") -> str:
    """In how many analyses each prediction holds, and which they are."""
    strips = found.strips
    if not strips:
        return ""
    rows = [
        [
            str(i),
            text.prose(f.claim),
            next(iter(s.cells.values())).outcome.value,
            f"holds in {s.count(Outcome.SUPPORTED)} of {len(s.cells)}",
            str(s.count(Outcome.REFUTED)),
            _by_choice(s),
        ]
        for i, (s, f) in enumerate(zip(strips, found.predicted, strict=True), start=1)
    ]
    header = ["", "prediction", "as planned", "supported", "refuted in", "holds, by choice"]
    parts = ["## Would another analysis say the same?", BARRED if found.barred else ""]
    parts += [text.table(header, rows), NOTE, _table(study, strips)]
    return "\n\n".join(part for part in parts if part)


def _by_choice(strip: Strip) -> str:
    """`last 6/6, best 3/6; Welch 5/9, paired 4/9`."""
    words = [_words(analysis) for analysis in strip.cells]
    held = [v.outcome is Outcome.SUPPORTED for v in strip.cells.values()]
    parts = []
    for dimension in zip(*words, strict=True):
        options = list(dict.fromkeys(dimension))
        counts = [[h for h, d in zip(held, dimension, strict=True) if d == o] for o in options]
        if len(options) > 1:
            pairs = zip(options, counts, strict=True)
            parts.append(", ".join(f"{o} {sum(c)}/{len(c)}" for o, c in pairs))
    return "; ".join(parts)


def _words(a: Analysis) -> tuple[str, str, str, str]:
    """The four choices."""
    axis = f"{a.axis}" if a.axis else "as planned"
    return a.rule.value, axis, "paired" if a.paired else "Welch", a.missing.value


def _table(study: Study, strips: list[Strip]) -> str:
    """One row per analysis, one column per prediction."""
    every = list(dict.fromkeys(a for strip in strips for a in strip.cells))
    planned = plan(study)
    header = ["result", "read to", "test", "missing trials"]
    rows = []
    for analysis in every:
        words = [s.cells[analysis].outcome.value if analysis in s.cells else "" for s in strips]
        mark = " (planned)" if analysis == planned else ""
        rule, *rest = _words(analysis)
        rows.append([f"{rule}{mark}", *rest, *words])
    return text.table([*header, *(str(i) for i in range(1, len(strips) + 1))], rows)
