"""What of a study is simulated: its arms, their spread, what they have in common."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import stats
from analysis.ablation import Ablation, Prediction
from analysis.stats.intervals import variance
from analysis.until import Until


@dataclass(frozen=True)
class Arm:
    """One metric of one variant, as it is simulated.

    Attributes:
        seeds: that have a result, or are planned.
        sd: over seeds; NaN where it is unknown.
        depth: mean minus the value that a collapsed seed ends at; NaN where there is none known.
    """

    metric: str
    variant: str
    seeds: tuple[int, ...]
    sd: float
    depth: float = math.nan

    @property
    def key(self) -> tuple[str, str]:
        """What it is the arm of."""
        return self.metric, self.variant


@dataclass(frozen=True)
class Design:
    """A study before its data.

    Attributes:
        predictions: the family that is decided together.
        arms: every (metric, variant) that they speak of, once.
        correlation: over seeds between the arms, (arms, arms).
        paired: whether seeds are compared one by one.
        until: how seeds are added until the predictions are decided; each arm has all of them then.
    """

    predictions: tuple[Prediction, ...]
    arms: tuple[Arm, ...]
    correlation: tuple[tuple[float, ...], ...]
    paired: bool = False
    until: Until | None = None


def of_results(
    ablation: Ablation,
    results: Mapping[tuple[str, str], Mapping[int, float]],
    seeds: Sequence[int] | None = None,
) -> Design:
    """The design of a study, from what is known of its arms; its predictions on results only.

    Args:
        results: (metric, variant) -> seed -> value.
        seeds: of every arm; None: those that have a result, or may get one until it is decided.
    """
    predictions, until = ablation.on_results, ablation.until
    seeds = ablation.seeds if until is not None else seeds
    keys = subjects(predictions)
    known = {key: results.get(key, {}) for key in keys}
    arms = []
    for metric, variant in keys:
        own = known[metric, variant]
        values = np.array(list(own.values()))
        sd = float(np.sqrt(variance(values))) if len(values) > 1 else math.nan
        depth = (
            float(np.mean(values)) - ablation.primary.ends(metric)[0] if len(values) else math.nan
        )
        arms.append(Arm(metric, variant, tuple(own if seeds is None else seeds), sd, depth))
    shared = tuple(tuple(_correlation(known[a], known[b], a == b) for b in keys) for a in keys)
    return Design(tuple(predictions), tuple(arms), shared, ablation.paired, until)


def subjects(predictions: Sequence[Prediction]) -> list[tuple[str, str]]:
    """Every (metric, variant) that some prediction speaks of, once."""
    found = [(p.metric, label) for p in predictions for label in (p.variant, p.baseline)]
    return list(dict.fromkeys(found))


def _correlation(a: Mapping[int, float], b: Mapping[int, float], same: bool) -> float:
    """Over the seeds in common; 0 where it is unknown."""
    seeds = sorted(a.keys() & b.keys())
    found = stats.correlation(np.array([a[s] for s in seeds]), np.array([b[s] for s in seeds]))
    return 1.0 if same else 0.0 if math.isnan(found) else found
