"""The findings of a study under three ways of counting trials that failed or collapsed."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import polars as pl

from analysis import deciding
from analysis.ablation import Relation
from analysis.claims import at
from analysis.findings import READINGS, Finding, Findings
from analysis.quantity import RESULT
from analysis.stats import Claim, FloatArray, Verdict
from analysis.study import Study
from analysis.units import limit


class Handling(Enum):
    """How a trial counts that has no result, or has collapsed."""

    PLANNED = "as planned"
    COMPLETED = "completed only"
    WORST = "worst case"


@dataclass(frozen=True)
class Handled:
    """One claim under one handling.

    Attributes:
        verdict: as if no trust gate stood in the way; None where it is not computed.
        word: the verdict, or why there is none.
    """

    handling: Handling
    verdict: Verdict | None
    word: str


def handled(study: Study, found: Findings) -> list[tuple[Finding, list[Handled]]]:
    """Every finding under every handling, each family decided together."""
    rows: list[tuple[Finding, list[Handled]]] = []
    fallen = set(study.collapsed)
    for family in (found.predicted, found.compared):
        columns = [_decided(study, family, handling, fallen) for handling in Handling]
        rows += [(f, [column[i] for column in columns]) for i, f in enumerate(family)]
    return rows


def _decided(
    study: Study, family: list[Finding], handling: Handling, fallen: set[str]
) -> list[Handled]:
    """One family. What is not computed counts in it like what is withheld."""
    arms = [_arms(study, f, handling, fallen, None) for f in family]

    def claims(seeds: Collection[int] | None) -> list[Claim]:
        return [_claim(study, f, _arms(study, f, handling, fallen, seeds)) for f in family]

    verdicts = deciding.decide(study, [(f.variant, f.baseline) for f in family], claims)
    return [
        Handled(handling, verdict, _word(f, verdict))
        if pair
        else Handled(handling, None, f"not computed: {_unknown(study, f, handling)}")
        for f, pair, verdict in zip(family, arms, verdicts, strict=True)
    ]


def _claim(study: Study, f: Finding, pair: tuple[FloatArray, FloatArray] | None) -> Claim:
    relation, margin = _relation(f)
    x, y = pair or (np.array([]), np.array([]))
    return Claim(relation, margin, x, y, study.paired, limit(f.metric))


def _relation(f: Finding) -> tuple[Relation, float]:
    return (f.prediction.relation, f.prediction.margin) if f.prediction else (Relation.GREATER, 0.0)


def _word(f: Finding, verdict: Verdict) -> str:
    return verdict.outcome.value if f.prediction else READINGS[verdict.outcome]


def _unknown(study: Study, f: Finding, handling: Handling) -> str:
    if f.quantity is not RESULT:
        return "read off a curve"
    if math.isnan(study.manifest.ablation.primary.ends(f.metric)[0]):
        return "no worst value declared"
    return f"no best value of {f.metric} is known" if handling is Handling.WORST else "no seeds"


def _arms(
    study: Study,
    f: Finding,
    handling: Handling,
    fallen: set[str],
    seeds: Collection[int] | None,
) -> tuple[FloatArray, FloatArray] | None:
    """The two arms of a finding on some seeds, or on all; None where a needed value is unknown."""
    if f.quantity is not RESULT:
        return None
    x, y = (_seeds(study, f.metric, label, seeds) for label in (f.variant, f.baseline))
    if handling is Handling.COMPLETED:
        kept = [
            {s: v for s, (trial, v) in arm.items() if not math.isnan(v) and trial not in fallen}
            for arm in (x, y)
        ]
        return _taken(study, kept[0], kept[1])
    worst, best = study.manifest.ablation.primary.ends(f.metric)
    pairs = [(worst, worst)]
    if handling is Handling.WORST:
        low, high = (worst, best) if worst < best else (best, worst)
        against = {Relation.GREATER: [(low, high)], Relation.LESS: [(high, low)]}
        pairs = against.get(_relation(f)[0], [(low, high), (high, low)])
    filled = [_taken(study, _filled(x, a), _filled(y, b)) for a, b in pairs]
    if any(np.isnan(arm).any() for pair in filled for arm in pair):
        return None
    return max(filled, key=lambda pair: abs(_apart(*pair)))


def _apart(x: FloatArray, y: FloatArray) -> float:
    return float(np.mean(x) - np.mean(y)) if len(x) and len(y) else 0.0


def _seeds(
    study: Study, metric: str, label: str, seeds: Collection[int] | None
) -> dict[int, tuple[str, float]]:
    """Planned seed of a variant -> its trial and result, NaN without one; by seed."""
    own = at(study.trials.filter(pl.col("variant") == label), seeds).select("seed", "trial")
    rows = study.results.filter(pl.col("metric") == metric).select("trial", "value")
    joined = own.join(rows, on="trial", how="left").sort("seed")
    return {
        seed: (trial, math.nan if value is None else value)
        for seed, trial, value in joined.iter_rows()
    }


def _filled(arm: Mapping[int, tuple[str, float]], value: float) -> dict[int, float]:
    return {seed: value if math.isnan(v) else v for seed, (_, v) in arm.items()}


def _taken(
    study: Study, x: Mapping[int, float], y: Mapping[int, float]
) -> tuple[FloatArray, FloatArray]:
    """The seeds that the declared test uses."""
    common = x.keys() & y.keys()
    arms = ([v for s, v in arm.items() if not study.paired or s in common] for arm in (x, y))
    first, second = (np.array(arm, dtype=np.float64) for arm in arms)
    return first, second
