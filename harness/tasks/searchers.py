"""Searchers whose skills are planted: who writes the warm-up traces of task=countdown_search.

One searcher writes a trace. Whether it is patient, how it proposes what to try next, and whether
it computes carefully are drawn independently at known shares, so that each skill can be told from
the others. A searcher that steers adds where it is below the target and subtracts where it is
above; what it tries is a matter of signs, which a tiny model learns, and not of sums that it would
have to work out before it writes them, which it does not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness import checks
from harness.errors import ConfigError
from harness.tasks.search import Persona, TraceWriter, apply

# By how much a slip is off.
SLIPS = (-10, -2, -1, 1, 2, 10)
# Uniform numbers beside those of every searcher: how it proposes, whether it is careless; and for
# each fact, whether it slips there and by how much.
OF_SEARCHER, OF_FACT = 2, 2
# Operators that lead up; the others lead down.
UP = "+*"
_FIRST = re.compile(r"\d+")
_STEP = re.compile(r"([+\-*/])(\d+)=(-?\d+)")


@dataclass(frozen=True)
class Searchers(Persona):
    """Who writes the warm-up traces, and how often.

    Attributes:
        toward_share: share of traces whose searcher steers toward the target.
        away_share: share whose searcher steers away from it. The others try at random.
        steering: chance that a step of theirs goes the way they steer; 0.5 would be random.
        careless_share: share whose searcher slips.
        slip_rate: chance of a slip in each of its sums.
    """

    toward_share: float = 0.2
    away_share: float = 0.2
    steering: float = 0.9
    careless_share: float = 0.0
    slip_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("toward_share", "away_share", "careless_share", "slip_rate"):
            checks.part(f"task.persona.{name}", getattr(self, name))
        if not 0.5 < self.steering < 1:
            raise ConfigError(
                f"task.persona.steering is a chance above that of a coin and below 1, received "
                f"{self.steering:g}; 0.9 steers well"
            )
        if self.toward_share + self.away_share > 1:
            raise ConfigError(
                f"task.persona.toward_share and away_share are shares of one whole, received "
                f"{self.toward_share:g} + {self.away_share:g}; lower one of them"
            )


class Space:
    """All expressions over some numbers, and where each of their steps stands.

    Attributes:
        values: of each expression, shape (n,).
    """

    def __init__(self, expressions: Sequence[tuple[str, str, int]]) -> None:
        steps = [_STEP.findall(chain) for _, chain, _ in expressions]
        self._up = np.array([[sign in UP for sign, *_ in own] for own in steps])
        self._at = np.array(
            [
                [int(_FIRST.match(chain)[0]), *(int(value) for *_, value in own[:-1])]  # type: ignore[index]
                for (_, chain, _), own in zip(expressions, steps, strict=True)
            ]
        )
        self.values = np.array([value for *_, value in expressions])

    def weights(self, target: int, steering: float) -> NDArray[np.float64]:
        """What each expression is drawn by, shape (n,): a factor for each of its steps.

        Args:
            steering: chance to go up where the target is above, down where it is below; where a
                step begins at the target, both ways are alike.
        """
        right = np.where(self._up == (self._at < target), steering, 1 - steering)
        return np.where(self._at == target, 0.5, right).prod(axis=1)


class SearcherWriter(TraceWriter):
    """Writes the traces of one task's searchers."""

    def __init__(self, operators: str, persona: Searchers) -> None:
        super().__init__(operators, persona)
        self.searchers = persona
        self._spaces: dict[tuple[int, ...], Space] = {}

    def space(self, numbers: Sequence[int]) -> Space:
        """All that can be tried with some numbers."""
        key = tuple(sorted(numbers))
        if key not in self._spaces:
            self._spaces[key] = Space(self._expressions(numbers))
        return self._spaces[key]

    def draws(self, numbers: Sequence[int]) -> int:
        facts = self.persona.max_attempts * (len(numbers) - 1)
        return super().draws(numbers) + OF_SEARCHER + OF_FACT * facts

    def steering(self, u: float) -> float:
        """How a searcher proposes, of one uniform number."""
        searchers = self.searchers
        if u < searchers.toward_share:
            return searchers.steering
        return 1 - searchers.steering if u > 1 - searchers.away_share else 0.5

    def write(
        self, numbers: Sequence[int], target: int, uniforms: Sequence[float]
    ) -> tuple[str, str]:
        work, answer = super().write(numbers, target, uniforms)
        u = self.steering(uniforms[super().draws(numbers)])
        return (">" if u > 0.5 else "<" if u < 0.5 else "~") + work, answer

    def _order(
        self, numbers: Sequence[int], target: int, uniforms: Sequence[float]
    ) -> Sequence[int]:
        """Drawn one after the other by their weights: as exponential clocks ring."""
        at = super().draws(numbers)
        drawn = self.space(numbers).weights(target, self.steering(uniforms[at]))
        order: list[int] = np.argsort(-np.log(uniforms[: len(drawn)]) / drawn).tolist()
        return order

    def _work(
        self,
        numbers: Sequence[int],
        chain: str,
        value: int,
        uniforms: Sequence[float],
        attempt: int,
    ) -> tuple[str, int]:
        at = super().draws(numbers) + 1
        if uniforms[at] > self.searchers.careless_share:
            return chain, value
        size = OF_FACT * (len(numbers) - 1)
        start = at + 1 + attempt * size
        return slipped(chain, self.searchers.slip_rate, uniforms[start : start + size])


def slipped(chain: str, rate: float, uniforms: Sequence[float]) -> tuple[str, int]:
    """A worked chain with slips, and the result it states.

    What follows a slip is worked out from the wrong number. A wrong number may not be divisible:
    there is no slip before a division.
    """
    steps = _STEP.findall(chain)
    text = chain[: chain.index(steps[0][0])]
    value: int | None = int(text)
    for i, (sign, number, _) in enumerate(steps):
        value = apply(sign, value, int(number))
        assert value is not None  # the chain's own, or after its last division
        divides = any(later == "/" for later, *_ in steps[i + 1 :])
        happens, which = uniforms[OF_FACT * i : OF_FACT * (i + 1)]
        if happens < rate and not divides:
            value += SLIPS[int(which * len(SLIPS))]
        text += f"{sign}{number}={value}"
    assert value is not None
    return text, value
