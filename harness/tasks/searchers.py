"""Searchers whose skills are planted: who writes the warm-up traces of task=countdown_search.

One searcher writes a trace. How it proposes what to try next and whether it is patient are drawn
independently at known shares, so that each skill can be told from the other. A searcher that steers
adds where it is below the target and subtracts where it is above. All make slips in arithmetic at
one known rate, and believe what they have worked out.

It says first how it proposes, by one sign (MARKS), as a model that reasons says what it is about
to do: without it the tiny model did not learn to keep to one way of proposing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness import checks
from harness.errors import ConfigError
from harness.tasks.search import Persona, TraceWriter, apply, chains

# How a searcher proposes, and the sign that a trace begins with.
TOWARD, RANDOM, AWAY = "toward", "random", "away"
MARKS = {TOWARD: ">", RANDOM: "~", AWAY: "<"}
# Operators that lead up; the others lead down.
UP = "+*"
# Both ways alike.
COIN = 0.5
# By how much a slip is off. By 1 alone no sum or difference could be taken for the target: all that
# the same numbers make are odd, or all are even.
SLIPS = (1, -1, 2, -2)
# Four numbers of 1 to 9 are 495 sets, each asked for hundreds of times while a base is made and
# again at each evaluation. A set has 192 expressions with two operators, 1,536 with four: so many
# sets take .2 GB at most.
KNOWN_SPACES = 512
_FIRST = re.compile(r"\d+")
_STEP = re.compile(r"([+\-*/])(\d+)=(-?\d+)")


@dataclass(frozen=True)
class Searchers(Persona):
    """Who writes the warm-up traces, and how often.

    Attributes:
        toward_share: share of traces whose searcher steers toward the target.
        away_share: share whose searcher steers away from it. The others try at random.
        steering: chance that a step of theirs goes the way they steer; 0.5 would be random.
        slip: chance that a step is worked out wrong, by one or two; the next goes on from it.
            An attempt that could not be worked to its end then has no slip.
    """

    toward_share: float = 0.2
    away_share: float = 0.2
    steering: float = 0.9
    slip: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("toward_share", "away_share", "slip"):
            checks.part(f"task.persona.{name}", getattr(self, name))
        if not COIN < self.steering < 1:
            raise ConfigError(
                f"task.persona.steering must be above {COIN}, which is no steering, and below 1, "
                f"received {self.steering:g}"
            )
        if self.toward_share + self.away_share > 1:
            raise ConfigError(
                f"task.persona.toward_share and away_share are shares of one whole, received "
                f"{self.toward_share:g} + {self.away_share:g}; lower one of them"
            )

    @property
    def steerings(self) -> dict[str, float]:
        """Each way to propose as the chance that a step goes toward the target."""
        return {TOWARD: self.steering, RANDOM: COIN, AWAY: 1 - self.steering}

    def slips(self, u: float) -> int:
        """By how much one uniform number says that a step's result is off."""
        return SLIPS[int(len(SLIPS) * u / self.slip)] if u < self.slip else 0

    def proposes(self, u: float) -> str:
        """Which way one uniform number stands for."""
        if u < self.toward_share:
            return TOWARD
        return AWAY if u > 1 - self.away_share else RANDOM


class Space:
    """All expressions over some numbers, and where each of their steps begins.

    Attributes:
        expressions: text, worked chain and value of each.
        values: of each expression, shape (n,).
    """

    def __init__(self, expressions: list[tuple[str, str, int]]) -> None:
        self.expressions = expressions
        steps = [_STEP.findall(chain) for _, chain, _ in expressions]
        before = [[int(value) for *_, value in own[:-1]] for own in steps]
        first = [int(_FIRST.findall(chain)[0]) for _, chain, _ in expressions]
        self.values = np.array([value for *_, value in expressions])
        self._up = np.array([[sign in UP for sign, *_ in own] for own in steps])
        self._at = np.array([[a, *others] for a, others in zip(first, before, strict=True)])

    def weights(self, target: int, steering: float) -> NDArray[np.float64]:
        """What each expression is drawn by, shape (n,): the product over its steps.

        Args:
            steering: chance to go up where the target is above, down where it is below. At the
                target both ways are alike.
        """
        steps = np.where(self._up == (self._at < target), steering, 1 - steering)
        weights: NDArray[np.float64] = np.where(self._at == target, COIN, steps).prod(axis=1)
        return weights


@lru_cache(maxsize=KNOWN_SPACES)
def _space(numbers: tuple[int, ...], operators: str) -> Space:
    return Space(list(chains(numbers, operators)))


class SearcherWriter(TraceWriter):
    """Writes the traces of one task's searchers."""

    def __init__(self, operators: str, persona: Searchers) -> None:
        super().__init__(operators, persona)
        self.searchers = persona

    def space(self, numbers: Sequence[int]) -> Space:
        """All that can be tried with some numbers."""
        return _space(tuple(sorted(numbers)), self.operators)

    def _expressions(self, numbers: Sequence[int]) -> list[tuple[str, str, int]]:
        return self.space(numbers).expressions

    def draws(self, numbers: Sequence[int]) -> int:
        steps = self.searchers.max_attempts * (len(numbers) - 1) if self.searchers.slip else 0
        return self._proposing(numbers) + 1 + steps

    def _proposing(self, numbers: Sequence[int]) -> int:
        """Which of the uniform numbers says how it proposes; behind it are those of the slips."""
        return super().draws(numbers)

    def write(
        self, numbers: Sequence[int], target: int, uniforms: Sequence[float]
    ) -> tuple[str, str]:
        work, answer = super().write(numbers, target, uniforms)
        return MARKS[self._proposes(numbers, uniforms)] + work, answer

    def _proposes(self, numbers: Sequence[int], uniforms: Sequence[float]) -> str:
        return self.searchers.proposes(uniforms[self._proposing(numbers)])

    def _worked(
        self,
        numbers: Sequence[int],
        tried: tuple[str, int],
        attempt: int,
        uniforms: Sequence[float],
    ) -> tuple[str, int]:
        if not self.searchers.slip:
            return tried
        chain, _ = tried
        steps = len(_STEP.findall(chain))
        first = self._proposing(numbers) + 1 + attempt * steps
        slips = [self.searchers.slips(u) for u in uniforms[first : first + steps]]
        return slipped(chain, slips) or tried

    def _order(
        self, numbers: Sequence[int], target: int, uniforms: Sequence[float]
    ) -> Sequence[int]:
        """Drawn one after the other by their weights: in the order of exponential clocks."""
        steering = self.searchers.steerings[self._proposes(numbers, uniforms)]
        drawn = self.space(numbers).weights(target, steering)
        order: list[int] = np.argsort(-np.log(uniforms[: len(drawn)]) / drawn).tolist()
        return order


def slipped(chain: str, slips: Sequence[int]) -> tuple[str, int] | None:
    """A worked chain and its result where each step is off by so much, and the next goes on there.

    None where a division then has no integer result.
    """
    written = _FIRST.findall(chain)[0]
    value = int(written)
    for (sign, number, _), off in zip(_STEP.findall(chain), slips, strict=True):
        right = apply(sign, value, int(number))
        if right is None:
            return None
        value = right + off
        written += f"{sign}{number}={value}"
    return written, value


def marked(response: str) -> str:
    """The sign that says how a response proposes; "" if it begins with none."""
    return response[:1] if response[:1] in MARKS.values() else ""


def unmarked(response: str) -> str:
    """A response without that sign."""
    return response.removeprefix(marked(response))
