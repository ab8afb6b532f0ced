"""Which of the planted searchers wrote a response: read back from what the response does.

Each skill is a mixture of kinds whose chance of writing a course is known. The shares
are those of largest likelihood, found by expectation maximization (Dempster, Laird and Rubin,
1977); the kind that is likeliest given the shares is said to have written a response. What a
response says of itself (harness.tasks.searchers.MARKS) is evidence as what it does is, and no
proof: a policy may learn to say one thing and do another. A policy that has become none of the
searchers is read as whoever it is least unlike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from harness.tasks.courses import Try
from harness.tasks.searchers import MARKS, Searchers, SearcherWriter

PATIENT, SLIPS = "patient", "slips"
ROUNDS = 200
# Chance of what a kind never does, so that one oddity of a model does not rule the kind out.
ODD = 0.01


@dataclass(frozen=True)
class Response:
    """What is read of one response: its mark if it has one, its course, and the problem."""

    mark: str
    course: tuple[Try, ...]
    numbers: tuple[int, ...]
    target: int


@dataclass(frozen=True)
class Strategies:
    """Who wrote some responses.

    Attributes:
        shares: of each way to propose, of patient searchers, and of steps that are wrong.
        proposals: likeliest way of each response.
    """

    shares: dict[str, float]
    proposals: list[str]


def strategies(responses: Sequence[Response], writer: SearcherWriter) -> Strategies:
    """Shares over all responses; those that show nothing of a skill leave its shares alone."""
    searchers = writer.searchers
    ways = searchers.steerings
    proposed = [
        [_said(r, way) + _proposed(r, steering, writer) for way, steering in ways.items()]
        for r in responses
    ]
    which, posterior = mixture(np.array(proposed))
    patient = mixture(np.array([_stopped(r, searchers) for r in responses]))[0][0]
    shares = dict(zip(ways, map(float, which), strict=True))
    likeliest = [list(ways)[i] for i in posterior.argmax(axis=1)]
    return Strategies(shares | {PATIENT: float(patient), SLIPS: _slips(responses)}, likeliest)


def _slips(responses: Sequence[Response]) -> float:
    """Wrong steps of all steps; 0 where none is worked out."""
    attempts = [attempt for response in responses for attempt in response.course]
    return sum(t.slips for t in attempts) / max(1, sum(t.facts for t in attempts))


def mixture(
    logs: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares (kinds,) of largest likelihood, and each response's chances (responses, kinds).

    Args:
        logs: log-likelihood of each response under each kind.
    """
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares = np.full(logs.shape[1], 1 / logs.shape[1])
    for _ in range(ROUNDS):
        posterior = shares * likelihood
        posterior /= posterior.sum(axis=1, keepdims=True)
        shares = posterior.mean(axis=0)
    return shares, posterior


def _said(response: Response, way: str) -> float:
    """Log-likelihood of the mark; none is no evidence."""
    return log(ODD) if response.mark and response.mark != MARKS[way] else 0.0


def _proposed(response: Response, steering: float, writer: SearcherWriter) -> float:
    """Log-likelihood of the results tried, in their order; repeated ones say nothing."""
    space = writer.space(response.numbers)
    left = space.weights(response.target, steering)
    total = 0.0
    for attempt in response.course:
        same = space.values == attempt.value
        if (drawn := left[same].sum()) > 0:
            total += log(drawn / left.sum())
            left[same] = 0.0
    return total


def _stopped(response: Response, searchers: Searchers) -> tuple[float, float]:
    """Log-likelihood of going on and stopping after misses: patient, impatient.

    At the last attempt that anyone makes everyone stops.
    """
    misses = [t.goes_on for t in response.course[: searchers.max_attempts - 1] if _missed(t)]
    stops = len(misses) - sum(misses)
    rates = (searchers.patient_stop, searchers.impatient_stop)
    patient, impatient = (_binomial(stops, len(misses), rate) for rate in rates)
    return patient, impatient


def _missed(attempt: Try) -> bool:
    return attempt.whole and not attempt.declared


def _binomial(happened: int, cases: int, rate: float) -> float:
    rate = min(max(rate, ODD), 1 - ODD)
    return happened * log(rate) + (cases - happened) * log(1 - rate)
