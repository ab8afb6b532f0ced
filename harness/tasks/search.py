"""Search traces: how the tiny model writes down its search, and how that is read back.

    attempts      7-8=-1+3=2;        a miss: every `=` is one two-operand fact, left to right
                  7+8=15-3=12!       a hit
    answer        A7+8-3             after a hit, or after a miss when the searcher gives up

The verdict tokens `;` and `!` make the comparison with the target explicit; without them a model
of this size does not learn it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from harness import checks
from harness.tasks.templates import ANSWER
from harness.types import Behaviour

MISS, HIT = ";", "!"


@dataclass(frozen=True)
class Persona:
    """How the searchers of the warm-up traces behave.

    Two kinds are mixed so that the base has seen long searches but mostly stops early: patience
    is what reinforcement has to teach.

    Attributes:
        patient_share: share of traces written by a patient searcher.
        patient_stop: chance that a patient searcher gives up after a miss.
        impatient_stop: chance that an impatient one does.
        max_attempts: attempts after which everyone gives up.
    """

    patient_share: float = 0.4
    patient_stop: float = 0.1
    impatient_stop: float = 0.6
    max_attempts: int = 8

    def __post_init__(self) -> None:
        checks.at_least("persona.max_attempts", self.max_attempts, 1)


def apply(operator: str, left: int | None, right: int) -> int | None:
    """left operator right in integers; None where the result is not one, or left is none."""
    if left is None:
        return None
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    return left // right if right and left % right == 0 else None


def _chains(numbers: Sequence[int], operators: str) -> Iterator[tuple[str, str, int]]:
    """Every left-to-right expression: its text, its worked chain and its value."""
    for order in sorted(set(permutations(numbers))):
        for signs in product(operators, repeat=len(order) - 1):
            text = chain = str(order[0])
            value: int | None = order[0]
            for sign, number in zip(signs, order[1:], strict=True):
                value = apply(sign, value, number)
                # The chain works from left to right; an expression needs parentheses for that.
                weak = sign in "*/" and ("+" in text or "-" in text)
                text = f"({text}){sign}{number}" if weak else f"{text}{sign}{number}"
                chain += f"{sign}{number}={value}"
            if value is not None:
                yield text, chain, value


class TraceWriter:
    """Writes search traces for the problems of one task."""

    def __init__(self, operators: str, persona: Persona) -> None:
        self.operators = operators
        self.persona = persona
        self._known: dict[tuple[int, ...], list[tuple[str, str, int]]] = {}

    def draws(self, numbers: Sequence[int]) -> int:
        """How many uniform numbers `write` reads for these numbers."""
        return len(self._expressions(numbers)) + self.persona.max_attempts + 1

    def write(self, numbers: Sequence[int], target: int, uniforms: Sequence[float]) -> str:
        """A trace from `draws(numbers)` uniform numbers: random attempts, no value twice."""
        persona, expressions = self.persona, self._expressions(numbers)
        keys = uniforms[: len(expressions)]
        who, *chances = uniforms[len(expressions) :]
        stop = persona.patient_stop if who < persona.patient_share else persona.impatient_stop
        written, answer, tried = "", "", set[int]()
        for index in sorted(range(len(keys)), key=keys.__getitem__):
            text, chain, value = expressions[index]
            if value in tried:
                continue
            answer = text
            written += chain + (HIT if value == target else MISS)
            give_up = chances[len(tried)] < stop
            tried.add(value)
            if value == target or give_up or len(tried) == persona.max_attempts:
                break
        return f"{written}{ANSWER}{answer}"

    def _expressions(self, numbers: Sequence[int]) -> list[tuple[str, str, int]]:
        key = tuple(sorted(numbers))
        if key not in self._known:
            self._known[key] = list(_chains(key, self.operators))
        return self._known[key]


_ATTEMPT = re.compile(rf"([^{MISS}{HIT}{ANSWER}]*)([{MISS}{HIT}]?)")
_FACT = re.compile(r"([+\-*/])(\d{1,6})=(-?\d{1,9})")
_FIRST = re.compile(r"-?\d{1,6}")


def read(response: str, target: int) -> Behaviour:
    """Count what a trace does.

    An attempt is computed rightly when each of its facts is; it is then a hit when its own last
    result is the target, whatever verdict the model wrote. A miss is what the model declares to be
    one: giving up is what it does after its own verdict. A last attempt that was cut has no
    verdict: it counts as an attempt that is neither computed rightly nor a hit.
    """
    attempts = computed_rightly = hits = misses = give_ups = 0
    for match in _ATTEMPT.finditer(response):
        text, verdict = match.groups()
        after = response[match.end() : match.end() + 1]
        at_answer = response[match.start() - 1 : match.start()] == ANSWER
        if not text or at_answer:
            continue
        value = chain_value(text)
        attempts += 1
        right = value is not None and verdict != ""
        computed_rightly += right
        hits += right and value == target
        if verdict == MISS:
            misses += 1
            give_ups += after == ANSWER
    return Behaviour(
        attempts=attempts,
        computed_rightly=computed_rightly,
        hits=hits,
        misses=misses,
        give_ups=give_ups,
    )


def chain_value(text: str) -> int | None:
    """Result of a worked chain such as 7-8=-1+3=2, or None when a fact is wrong or missing."""
    first = _FIRST.match(text)
    if first is None:
        return None
    value, position = int(first.group()), first.end()
    if position == len(text):
        return None
    while position < len(text):
        fact = _FACT.match(text, position)
        if fact is None or apply(fact[1], value, int(fact[2])) != int(fact[3]):
            return None
        value, position = int(fact[3]), fact.end()
    return value
