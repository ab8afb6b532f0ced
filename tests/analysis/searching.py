"""Policies whose skills are known: searchers that play Countdown exactly, for tests of the gain.

A searcher is patient or not, proposes near the target first, far from it first or at random, and
computes carefully or not; the three are drawn independently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from math import exp

import numpy as np

from harness.prompts import Prompt
from harness.tasks.countdown import Countdown
from harness.tasks.search import HIT, MISS, apply

OPERATORS = "+-*/"
TASK = Countdown(operators=OPERATORS, target_low=1, target_high=40, train_size=1000, eval_size=64)
# By how much a slip is off.
SLIPS = (-10, -2, -1, 1, 2, 10)

Steps = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Searchers:
    """Shares of the kinds: of patient ones, who stop after no miss; near, far; careless."""

    patient: float = 0.5
    stop: float = 0.5
    near: float = 0.2
    far: float = 0.1
    careless: float = 0.6
    slip: float = 0.3
    attempts: int = 6
    scale: float = 4.0


@cache
def expressions(numbers: tuple[int, ...]) -> dict[int, list[tuple[int, Steps]]]:
    """Every left-to-right expression over some numbers, by its value: first number and steps."""
    found: dict[int, list[tuple[int, Steps]]] = {}
    for first, *others in sorted(set(permutations(numbers))):
        for signs in product(OPERATORS, repeat=len(others)):
            value: int | None = first
            steps = tuple(zip(signs, others, strict=True))
            for sign, number in steps:
                value = apply(sign, value, number)
            if value is not None:
                found.setdefault(value, []).append((first, steps))
    return found


def response(prompt: Prompt, who: Searchers, rng: np.random.Generator) -> str:
    """One search; the draws of an attempt are the same whoever makes it."""
    numbers, target = tuple(sorted(prompt.answer.numbers)), prompt.answer.target
    by_value = expressions(numbers)
    patience, proposing, care = rng.random(3)
    slope = (proposing < who.near) / who.scale - (proposing > 1 - who.far) / who.scale
    left = {v: len(of) * exp(-slope * abs(v - target)) for v, of in by_value.items()}
    written, answer = "", ""
    for _ in range(min(who.attempts, len(left))):
        which, form, ends, *slips = rng.random(3 + 2 * len(numbers))
        values, weights = list(left), np.cumsum(list(left.values()))
        value = values[int(np.searchsorted(weights, which * weights[-1]))]
        del left[value]
        first, steps = by_value[value][int(form * len(by_value[value]))]
        careless = care < who.careless
        work, stated = _worked(first, steps, who.slip if careless else 0.0, slips)
        answer = f"{'(' * len(steps)}{first}" + "".join(f"{s}{n})" for s, n in steps)
        written += work + (HIT if stated == target else MISS)
        if stated == target or (patience >= who.patient and ends < who.stop):
            break
    return f"{written}A{answer}"


def _worked(first: int, steps: Steps, slip: float, draws: Sequence[float]) -> tuple[str, int]:
    """The chain as it is written, and what it states; no slip before a division."""
    text, value = str(first), first
    for i, (sign, number) in enumerate(steps):
        exact = apply(sign, value, number)
        assert exact is not None
        value = exact
        happens, which = draws[2 * i : 2 * i + 2]
        if happens < slip and all(later != "/" for later, _ in steps[i + 1 :]):
            value += SLIPS[int(which * len(SLIPS))]
        text += f"{sign}{number}={value}"
    return text, value


def played(who: Searchers, count: int, seed: int) -> list[tuple[Prompt, str]]:
    """So many responses to the task's prompts in turn."""
    pool = TASK.pool()
    return [
        (prompt, response(prompt, who, np.random.default_rng([seed, i])))
        for i in range(count)
        for prompt in [pool[i % len(pool)]]
    ]
