"""What the figures of one report share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from analysis import curves, labels
from analysis.findings import Findings
from analysis.labels import MOST_BRIGHT, Ink
from analysis.stats import FloatArray
from analysis.study import Study


@dataclass(frozen=True)
class Panel:
    """One figure.

    Attributes:
        group: where it stands in the report.
        file: its name beside report.md.
        alternative: what it shows, as plain text.
        draw: makes its file's text.
    """

    group: str
    file: str
    alternative: str
    draw: Callable[[], str]


@dataclass(frozen=True)
class Drawing:
    """What the figures of one study share."""

    study: Study
    found: Findings

    @cached_property
    def bright(self) -> list[str]:
        return bright(self.study)

    @cached_property
    def ink(self) -> dict[str, Ink]:
        return labels.inks(self.study.labels, self.bright)

    @cached_property
    def parts(self) -> dict[str, pl.DataFrame]:
        return curves.by_metric(self.study.metrics)


def bright(study: Study) -> list[str]:
    """Variants that are drawn in full: all of up to MOST_BRIGHT, else the baseline and the best."""
    if len(study.labels) <= MOST_BRIGHT:
        return study.labels
    means = {x: mean(study.values(study.primary, x)) for x in study.others}
    known = {x: mean for x, mean in means.items() if not math.isnan(mean)}
    return [study.baseline, *([max(known, key=known.__getitem__)] if known else [])]


def mean(x: FloatArray) -> float:
    return float(x.mean()) if len(x) else math.nan


def capitalised(words: str) -> str:
    """A name at the beginning of a sentence; a key stays as it is."""
    return words[:1].upper() + words[1:] if "/" not in words else words
