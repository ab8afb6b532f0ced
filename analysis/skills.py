"""How much of a gain in accuracy is patience, proposals, arithmetic, or format and length.

A response is read as a course of attempts (harness.tasks.courses). A policy is summed up by what
it does at its k-th attempt: does it begin one (patience), is it whole (format), does it try an
expression that reaches the target (proposals), does it then call it a hit, and only then
(arithmetic). From these rates its accuracy follows exactly: each response ends in one place, and
the chance to end there is the product of the rates on the way. A counterfactual takes some of the
four from one policy and the rest from another; a part's share of the gain is its Shapley value
(Shapley, "A value for n-person games", 1953), so that the four add up to the gain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.tasks.courses import Try

Floats = NDArray[np.float64]

PATIENCE, PROPOSALS, ARITHMETIC, FORMAT = "patience", "proposals", "arithmetic", "format and length"
PARTS = (PATIENCE, PROPOSALS, ARITHMETIC, FORMAT)
# The tasks whose responses are courses of attempts, in the template that writes them so.
COUNTDOWN = (
    "harness.tasks.countdown.Countdown",
    "harness.tasks.countdown_search.CountdownSearch",
)
COMPACT = "harness.tasks.templates.Compact"
TARGET = "_target_"
# Where responses end: without any attempt; stopped after a miss, or after a hit that was missed; in
# a broken attempt; in a declared hit that is none or one.
NOTHING, STOPPED, MISSED, BROKEN, FALSE_HIT, TRUE_HIT = range(6)
ENDS = 6
# Attempts that are told apart; later ones count as the last of these.
DEEPEST = 32
# No hit missed so far; the last attempt was a hit and missed; one was missed before the last.
FRESH, JUST, BEFORE = range(3)
STATES = 3
# Where a response that begins no other attempt ends, by its state.
STOPS = (STOPPED, MISSED, STOPPED)
# Below so many cases a policy's rate at an attempt is noise. It is then taken from both policies
# together: what brings a policy there at all is what makes the difference, not what it does there.
ENOUGH = 20


class Rates(NamedTuple):
    """Cases and, among them, successes of each step, shape (2, STATES, DEEPEST).

    Responses that have missed a hit are a state of their own: whoever tries no expression twice
    has nothing left to find, which is the fault of arithmetic and not of proposals.
    """

    begun: Floats
    """Begins an attempt, among responses that are still open: patience."""
    whole: Floats
    """The attempt is whole, among those begun: format and length."""
    reaching: Floats
    """Its expression reaches the target, among whole ones: proposals."""
    declared: Floats
    """It is declared a hit, among those that reach the target: arithmetic."""
    mistaken: Floats
    """It is declared a hit, among those that do not: arithmetic."""
    right: Floats
    """Responses that end in each place, and those that are correct, shape (2, ENDS): format."""


OWNER = {
    "begun": PATIENCE,
    "whole": FORMAT,
    "reaching": PROPOSALS,
    "declared": ARITHMETIC,
    "mistaken": ARITHMETIC,
    "right": FORMAT,
}


@dataclass(frozen=True)
class Read:
    """One response: its course, the target, whether it is correct, and its kind of problem."""

    course: tuple[Try, ...]
    target: int
    correct: bool
    difficulty: int


@dataclass(frozen=True)
class Gain:
    """Where the difference in accuracy between two policies comes from.

    Attributes:
        before, after: accuracy.
        parts: Shapley value of each of PARTS; they add up to after - before.
        alone: what each part would bring by itself.
    """

    before: float
    after: float
    parts: Mapping[str, float]
    alone: Mapping[str, float]

    @property
    def interaction(self) -> float:
        """What only arises where parts come together: the gain less what each brings alone."""
        return self.after - self.before - sum(self.alone.values())


def searches(config: Mapping[str, Any]) -> bool:
    """Whether a trial's responses are courses of attempts, by its resolved config."""
    task = config.get("task")
    if not isinstance(task, Mapping) or task.get(TARGET) not in COUNTDOWN:
        return False
    template = task.get("template")
    return isinstance(template, Mapping) and template.get(TARGET) == COMPACT


def gain(before: Sequence[Read], after: Sequence[Read]) -> Gain:
    """The gain from one policy's responses to another's, on the same kinds of problems.

    Each difficulty is taken by itself, with its share of all responses.
    """
    values = dict.fromkeys(_subsets(), 0.0)
    for difficulty in sorted({read.difficulty for read in (*before, *after)}):
        own = [[r for r in reads if r.difficulty == difficulty] for reads in (before, after)]
        share = sum(map(len, own)) / (len(before) + len(after))
        old, new = (_rates(reads) for reads in own)
        for taken in values:
            values[taken] += share * _accuracy(old, new, taken)
    return _shared(values)


def _subsets() -> list[frozenset[str]]:
    sizes = range(len(PARTS) + 1)
    return [frozenset(some) for size in sizes for some in combinations(PARTS, size)]


def _shared(values: Mapping[frozenset[str], float]) -> Gain:
    """Shapley values of a game that is given by the value of every coalition."""
    n = len(PARTS)
    parts = dict.fromkeys(PARTS, 0.0)
    for part in PARTS:
        for some in values:
            if part not in some:
                weight = factorial(len(some)) * factorial(n - len(some) - 1) / factorial(n)
                parts[part] += weight * (values[some | {part}] - values[some])
    nothing, everything = values[frozenset()], values[frozenset(PARTS)]
    alone = {part: values[frozenset({part})] - nothing for part in PARTS}
    return Gain(nothing, everything, parts, alone)


def _rates(reads: Sequence[Read]) -> Rates:
    begun, whole, reaching, declared, mistaken = np.zeros((5, 2, STATES, DEEPEST))
    rates = Rates(begun, whole, reaching, declared, mistaken, np.zeros((2, ENDS)))
    for read in reads:
        rates.right[:, _followed(read, rates)] += (1, read.correct)
    return rates


def _followed(read: Read, rates: Rates) -> int:
    """Count one response's steps; returns where it ends."""
    end, state = NOTHING, FRESH
    for number, attempt in enumerate(read.course):
        at = (slice(None), state, min(number, DEEPEST - 1))
        hit = attempt.value == read.target
        rates.begun[at] += 1
        rates.whole[at] += (1, attempt.whole)
        if not attempt.whole:
            return BROKEN
        rates.reaching[at] += (1, hit)
        (rates.declared if hit else rates.mistaken)[at] += (1, attempt.declared)
        if attempt.declared:
            return TRUE_HIT if hit else FALSE_HIT
        state = _next(state, hit)
        end = STOPS[state]
    rates.begun[0, state, min(len(read.course), DEEPEST - 1)] += 1
    return end


def _next(state: int, hit: bool) -> int:
    """The state after an attempt that was not declared a hit."""
    if hit:
        return JUST
    return FRESH if state == FRESH else BEFORE


def _accuracy(old: Rates, new: Rates, taken: frozenset[str]) -> float:
    """Accuracy of a policy with some parts of the new one and the rest of the old one."""
    mixed = 0 < len(taken) < len(PARTS)
    rate = {}
    for name, part in OWNER.items():
        pair = (getattr(new, name), getattr(old, name))
        own, other = pair if part in taken else pair[::-1]
        if part == ARITHMETIC and mixed:
            # Sums do not know how many attempts were before them.
            own, other = (np.where(n[0] < ENOUGH, n.sum(2, keepdims=True), n) for n in (own, other))
        counts = np.where(own[0] < ENOUGH, own + other, own) if mixed else own
        rate[name] = np.divide(counts[1], counts[0], out=np.zeros_like(own[0]), where=counts[0] > 0)
    return float(_ends(rate) @ rate["right"])


def _ends(rate: Mapping[str, Floats]) -> Floats:
    """Chance that a response ends in each place, shape (ENDS,)."""
    ends = np.zeros(ENDS)
    still = [1.0, 0.0, 0.0]  # responses that are open, in each state
    for k in range(DEEPEST):
        following = [0.0] * STATES
        for state in range(STATES):
            own = {name: rates[state, k] for name, rates in rate.items() if name != "right"}
            begun = still[state] * own["begun"]
            hit = begun * own["whole"] * own["reaching"]
            miss = begun * own["whole"] - hit
            ends[STOPS[state] if k else NOTHING] += still[state] - begun
            ends[BROKEN] += begun * (1 - own["whole"])
            ends[TRUE_HIT] += hit * own["declared"]
            ends[FALSE_HIT] += miss * own["mistaken"]
            following[_next(state, True)] += hit * (1 - own["declared"])
            following[_next(state, False)] += miss * (1 - own["mistaken"])
        still = following
    return ends
