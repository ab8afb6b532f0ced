"""The section on where a gain in accuracy comes from, from the stored responses of each trial."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from analysis import stats, text
from analysis.skills import ENOUGH, PARTS, Gain, Read, gain, searches
from analysis.stats import Estimate
from analysis.study import Study
from harness.tasks.courses import course

ACCURACY = "eval/accuracy"
# A problem of Countdown, sorted numbers and target: `3 7 8=4`.
PROBLEM = re.compile(r"(\d{1,6}(?: \d{1,6})*)=(-?\d{1,6})")
COLUMNS = ("problem", "response", "correct", "difficulty")
TITLE = "## Where the gain comes from"
METHOD = (
    "Each trial's responses before any update against those of its last evaluation. A response is "
    "read attempt by attempt: whether one is begun after a miss (patience), whether it is whole "
    "and the answer survives (format and length), whether its expression reaches the target "
    "(proposals), whether it is then called a hit, and only then (arithmetic). These rates, per "
    "attempt and difficulty, give back each policy's accuracy; with some of them of the base and "
    "the others of the trained policy they give 14 accuracies of policies that are neither. A "
    "part is its Shapley value over these, so that the four add up to the gain. Alone: with only "
    "this part trained. Interaction: the gain less the four alone. Mean over seeds with its 95 % "
    "t interval. What a response would have found, had it gone on, is not known: it is taken to "
    f"find what others find at that attempt, and where a policy was there in fewer than {ENOUGH} "
    "responses, what both policies' responses find."
)


def section(study: Study) -> str:
    """Each variant's gain and its four parts; "" where no responses are searches."""
    gains = of_variants(study)
    if not gains:
        return ""
    rows = [row for label, own in gains.items() for row in _rows(label, own)]
    header = ["variant", "part", "accuracy gained [95 %]", "of the gain", "alone [95 %]", "n"]
    return "\n\n".join([TITLE, text.table(header, rows), METHOD])


def data(study: Study) -> dict[str, Any]:
    """The same for report.json: of each variant the mean with its interval, and every seed's."""
    return {
        label: {
            "gain": _plain(mean([g.after - g.before for g in own.values()])),
            "parts": {p: _plain(mean([g.parts[p] for g in own.values()])) for p in PARTS},
            "alone": {p: _plain(mean([g.alone[p] for g in own.values()])) for p in PARTS},
            "interaction": _plain(mean([g.interaction for g in own.values()])),
            "seeds": {str(seed): dict(g.parts) for seed, g in own.items()},
        }
        for label, own in of_variants(study).items()
    }


def of_variants(study: Study) -> dict[str, dict[int, Gain]]:
    """Variant -> seed -> gain, of finished trials whose tables hold searches before and after."""
    if not searches(study.config):
        return {}
    gains: dict[str, dict[int, Gain]] = {}
    for label in study.labels:
        rows = study.finished.filter(pl.col("variant") == label).sort("seed")
        for trial, seed in rows.select("trial", "seed").iter_rows():
            tables = (study.first_tables.get(trial), study.tables.get(trial))
            before, after = (_read(table) for table in tables)
            if before and after:
                gains.setdefault(label, {})[seed] = gain(before, after)
    return gains


def _read(table: pl.DataFrame | None) -> list[Read]:
    """The responses of a table; none where it is missing or is no table of Countdown's."""
    if table is None or any(column not in table.columns for column in COLUMNS):
        return []
    found = []
    for problem, response, correct, difficulty in table.select(COLUMNS).iter_rows():
        match = PROBLEM.fullmatch(problem)
        if match is None:
            return []
        numbers = [int(word) for word in match[1].split()]
        found.append(Read(course(response, numbers), int(match[2]), correct, difficulty))
    return found


def _rows(label: str, own: Mapping[int, Gain]) -> list[list[str]]:
    """The gain, its parts, and what only arises where they come together."""
    whole = mean([g.after - g.before for g in own.values()])
    rows = [[text.prose(label), "whole gain", _signed(whole), "", "", str(whole.n)]]
    for part in PARTS:
        shared = mean([g.parts[part] for g in own.values()])
        share = text.NONE
        if whole.mean > 0:
            share = text.percent(round(shared.mean / whole.mean, 2))
        alone = mean([g.alone[part] for g in own.values()])
        rows.append(["", part, _signed(shared), share, _signed(alone), str(shared.n)])
    together = mean([g.interaction for g in own.values()])
    return [*rows, ["", "interaction (in the parts)", "", "", _signed(together), str(together.n)]]


def mean(values: list[float]) -> Estimate:
    """Mean over seeds with its 95 % t interval."""
    return stats.mean_interval(np.array(values))


def _signed(e: Estimate) -> str:
    return text.change(e, ACCURACY)


def _plain(e: Estimate) -> dict[str, float]:
    return {"mean": e.mean, "low": e.low, "high": e.high, "n": e.n}
