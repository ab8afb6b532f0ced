"""What trials will take, by finished ones of their shape; what was never run is not guessed."""

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import IDENTITY_IRRELEVANT, TrialConfig, digest, identity
from harness.tracking.record import Record

# A trial takes as long at every seed, and its training is in proportion to its budget.
NO_SHAPE = (*IDENTITY_IRRELEVANT, "seed", "budget")
START, STEP, TEST = "timing_s/start", "timing_s/step", "timing_s/testing"
SHARED = "timing_s/testing_shared"


@dataclass(frozen=True)
class Past:
    """One finished trial that was never interrupted.

    Attributes:
        fixed_s: wall seconds beside training: start, evaluations (as many at every budget), end.
        training_s: wall seconds of training steps without their evaluations.
        tokens: sampled training tokens.
        unit, amount: its budget.
    """

    fixed_s: float
    training_s: float
    tokens: float
    unit: str
    amount: float


@dataclass(frozen=True)
class Estimate:
    """One trial's expected cost.

    Attributes:
        seconds: wall seconds from the start of its process to its end.
        tokens: sampled training tokens.
        past: finished trials that it was taken from.
    """

    seconds: float
    tokens: float
    past: int


def shape(config: Mapping[str, Any]) -> str:
    """What decides how long a trial takes: its plain config without seed and budget."""
    return digest({key: value for key, value in config.items() if key not in NO_SHAPE})


def past(records: Iterable[Record]) -> dict[str, list[Past]]:
    """Finished trials by shape."""
    found: dict[str, list[Past]] = {}
    for record in records:
        if record.finished and record.attempts == 1 and "budget" in record.config:
            found.setdefault(shape(record.config), []).append(_past(record))
    return found


def _past(record: Record) -> Past:
    first, rest = record.steps[0], [record.steps[i].metrics for i in range(1, record.last + 1)]
    assert record.ended_ms is not None  # it has finished
    training = sum(m.get(STEP, 0.0) - m.get(TEST, 0.0) for m in rest)
    before = first.metrics.get(START, 0.0) + first.metrics.get(TEST, 0.0)
    after = (record.ended_ms - first.time_ms) / 1000
    budget = record.config["budget"]
    tokens = rest[-1]["budget/tokens"] if rest else 0.0
    return Past(
        before + after - training, training, tokens, str(budget["unit"]), float(budget["amount"])
    )


def estimate(config: TrialConfig, known: Mapping[str, Sequence[Past]]) -> Estimate | None:
    """What a trial takes from its beginning; None without a finished trial of its shape.

    The median of those there are, each with its training in proportion to the budget. A budget in
    seconds is its own training time.
    """
    unit = config.budget.unit.value
    same = [each for each in known.get(shape(identity(config)), ()) if each.unit == unit]
    if not same:
        return None
    shares = [config.budget.amount / each.amount for each in same]
    seconds = [e.fixed_s + e.training_s * share for e, share in zip(same, shares, strict=True)]
    tokens = [e.tokens * share for e, share in zip(same, shares, strict=True)]
    return Estimate(statistics.median(seconds), statistics.median(tokens), len(same))


def makespan(seconds: Sequence[float], at_once: int) -> float:
    """Wall seconds of trials that start in this order, as many at a time as there is room for."""
    busy = [0.0] * max(1, at_once)
    for each in seconds:
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)
