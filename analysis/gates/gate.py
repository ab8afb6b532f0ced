"""What a gate is: one question about a study, its outcome and the evidence in one line."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import polars as pl

from analysis.judgement import Judgement
from analysis.stats import Difference
from analysis.study import Study
from analysis.text import NOTHING

# Level of the gates that test over seeds. Below the .05 that they may err in, by what normal values
# are not: their rates in tests/README.md lie below it with their own error.
ALARM = 0.045


class Level(Enum):
    """Outcome of a gate. Evidence that is missing is a WARN, never an OK."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Gate:
    """One question, its outcome and the facts behind it.

    Attributes:
        variants: labels of the arms that it concerns; empty: all. A FAIL withholds the verdicts on
            them, and no others.
    """

    question: str
    level: Level
    detail: str
    variants: tuple[str, ...] = ()

    def concerns(self, *labels: str) -> bool:
        """Whether it says something about one of these arms."""
        return not self.variants or not set(self.variants).isdisjoint(labels)


def about(
    study: Study, question: str, level: Level, detail: str, labels: Iterable[str] = ()
) -> Gate:
    """A gate that concerns some arms, in the file's order; all of them where these are all."""
    own = set(labels)
    named = tuple(label for label in study.labels if label in own)
    return Gate(question, level, detail, () if len(named) == len(study.labels) else named)


def judged(question: str, found: Judgement) -> Gate:
    """FAIL where something is grave, WARN where something is slight."""
    if found.grave or found.slight:
        level = Level.FAIL if found.grave else Level.WARN
        return Gate(question, level, "; ".join([*found.grave, *found.slight]))
    return Gate(question, Level.OK, found.fact)


def arms(trials: pl.DataFrame) -> list[str]:
    """Labels of the variants of some rows of `study.trials`."""
    return trials["variant"].unique().sort().to_list()


def by_arm(study: Study, values: dict[str, list[str]]) -> str:
    """`grpo: a, b; reinforce: c`; arms without any are left out."""
    return "; ".join(f"{x}: {', '.join(values[x])}" for x in study.labels if values.get(x))


def mean_of(study: Study, metric: str, largest: bool = False) -> pl.DataFrame:
    """A metric's mean over a trial's steps, or its largest value: trial, variant, seed, value.

    Only trials with a result, in the plan's order; value is null where the trial has not logged
    it, and NaN where some of it was no number.
    """
    rows = study.metrics.filter(pl.col("metric") == metric).group_by("trial")
    value = pl.col("value").max() if largest else pl.col("value").mean()
    value = pl.when(pl.col("value").is_finite().all()).then(value).otherwise(math.nan)
    found = rows.agg(value=value)
    return study.finished.select("trial", "variant", "seed").join(
        found, on="trial", how="left", maintain_order="left"
    )


def p_of(d: Difference) -> float:
    """Two-sided p of "no difference"; without any spread a difference is certain, and none is 1.

    NaN where an arm has fewer than two seeds.
    """
    if abs(d.value) < NOTHING:
        return 1.0
    return 0.0 if d.error < NOTHING else d.p
