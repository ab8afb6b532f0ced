"""What kind of number a metric is, as far as statistics, tables and figures care."""

import math
from collections.abc import Iterable

from harness.schema import EVAL, KINDS, METRICS, described

# What one counts, or measures with a clock: never below zero.
COUNTED = {"tokens", "attempts", "steps", "levels", "responses", "prompts", "updates", "s", "B"}


def unit(metric: str) -> str:
    """Its unit, "1" for a share or a pure number and for a metric that only a plug-in knows."""
    known = described(metric)
    return known.unit if known else "1"


def is_evaluation(metric: str) -> bool:
    """Whether it is measured on held-out prompts, on all or on those of one kind."""
    return metric in EVAL or metric.startswith(KINDS)


# Shares of what nobody wants: their worst value is 1, that of every other share 0.
WORSE_UPWARDS = {
    "eval/error_rate",
    "eval/truncated",
    "eval/behaviour/give_up_rate",
    "eval/behaviour/empty",
    "eval/behaviour/repetitive",
}


def is_share(metric: str) -> bool:
    """Whether its values lie in [0, 1]: an evaluation metric without a unit is a share."""
    return is_evaluation(metric) and unit(metric) == "1"


def ordered(metrics: Iterable[str]) -> list[str]:
    """In the order in which they are declared, those of parts and difficulties behind them."""
    place = {key: i for i, key in enumerate(METRICS)}
    return sorted(set(metrics), key=lambda key: (place.get(key, len(place)), _natural(key)))


def _natural(key: str) -> tuple[str, int, str]:
    """Difficulty 2 before difficulty 10."""
    words = key.rstrip("0123456789")
    digits = key[len(words) :]
    return words, int(digits or 0), key


def limit(metric: str) -> float:
    """Largest difference that two values can have."""
    return 1.0 if is_share(metric) else math.inf


def ends(metric: str) -> tuple[float, float]:
    """Worst and best value that it can have; NaN where it has no bounds."""
    if not is_share(metric):
        return math.nan, math.nan
    return (1.0, 0.0) if metric in WORSE_UPWARDS else (0.0, 1.0)


def floor(metric: str) -> float:
    """Smallest value that it can have: evaluation metrics and counts are never negative."""
    return 0.0 if is_evaluation(metric) or unit(metric) in COUNTED else -math.inf
