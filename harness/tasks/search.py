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
from typing import NamedTuple

from harness import checks
from harness.prompts import Behaviour
from harness.tasks import forms
from harness.tasks.templates import ANSWER

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
        checks.at_least("task.persona.max_attempts", self.max_attempts, 1)
        for name in ("patient_share", "patient_stop", "impatient_stop"):
            checks.part(f"task.persona.{name}", getattr(self, name))


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


def chains(numbers: Sequence[int], operators: str) -> Iterator[tuple[str, str, int]]:
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

    def write(
        self, numbers: Sequence[int], target: int, uniforms: Sequence[float]
    ) -> tuple[str, str]:
        """Work and answer from `draws(numbers)` uniforms: random attempts, no value twice."""
        persona, expressions = self.persona, self._expressions(numbers)
        who, *chances = uniforms[len(expressions) :]
        stop = persona.patient_stop if who < persona.patient_share else persona.impatient_stop
        written, answer, tried = "", "", set[int]()
        for index in self._order(numbers, target, uniforms):
            text, chain, value = expressions[index]
            if value in tried:
                continue
            answer = text
            chain, stated = self._worked(numbers, (chain, value), len(tried), uniforms)
            written += chain + (HIT if stated == target else MISS)
            give_up = chances[len(tried)] < stop
            tried.add(value)
            if stated == target or give_up or len(tried) == persona.max_attempts:
                break
        return written, answer

    def _worked(
        self,
        numbers: Sequence[int],
        tried: tuple[str, int],
        attempt: int,
        uniforms: Sequence[float],
    ) -> tuple[str, int]:
        """An attempt's chain and its result as the searcher works them out: rightly."""
        return tried

    def _order(
        self, numbers: Sequence[int], target: int, uniforms: Sequence[float]
    ) -> Sequence[int]:
        """The expressions in the order in which they are tried: at random."""
        return sorted(range(len(self._expressions(numbers))), key=uniforms.__getitem__)

    def _expressions(self, numbers: Sequence[int]) -> list[tuple[str, str, int]]:
        key = tuple(sorted(numbers))
        if key not in self._known:
            self._known[key] = list(chains(key, self.operators))
        return self._known[key]


_ATTEMPT = re.compile(rf"([^{MISS}{HIT}{ANSWER}]*)([{MISS}{HIT}]?)")
_FACT = re.compile(r"([+\-*/])(\d{1,6})=(-?\d{1,9})")
_FIRST = re.compile(r"-?\d{1,6}")
_CHAIN = re.compile(r"-?\d{1,6}(?:[+\-*/]\d{1,6}=-?\d{1,9})+")
_RESULT = re.compile(r"=-?\d{1,9}")


def read(response: str, target: int) -> Behaviour:
    """Count what a trace does.

    attempts: stretches of text before a verdict, an answer or the end; the content of an answer
        is none. A last attempt that was cut has no verdict: it is neither computed rightly nor a
        hit.
    computed_rightly: attempts of which each fact is exact.
    hits: attempts that are computed rightly and whose last result is the target, whatever verdict
        the model wrote.
    misses: attempts that the model itself declares to be one.
    retries: misses after which another attempt comes, before any answer.
    give_ups: misses directly followed by an answer: what it does after its own verdict.
    answers: 1 when an answer is marked. Only the end token closes it, which is not in the text:
        that of a cut response counts.
    checked: 1 when the attempt directly before the last answer is declared to be a hit, states the
        target, rightly computed or not, and is the answer's expression (harness.tasks.forms).
    """
    made = list(_attempts(response))
    return Behaviour(
        attempts=len(made),
        computed_rightly=sum(attempt.value is not None for attempt in made),
        hits=sum(attempt.value == target for attempt in made),
        misses=sum(attempt.misses for attempt in made),
        retries=sum(attempt.retries for attempt in made),
        give_ups=sum(attempt.misses and attempt.after == ANSWER for attempt in made),
        answers=int(ANSWER in response),
        checked=int(_is_checked(response, target)),
    )


class _Attempt(NamedTuple):
    value: int | None
    """Its result; None when it is not computed rightly."""
    misses: bool
    retries: bool
    """A miss stands before it, and no answer between."""
    after: str
    """The character that follows its verdict."""


def _attempts(response: str) -> Iterator[_Attempt]:
    missed = False
    for match in _ATTEMPT.finditer(response):
        text, verdict = match.groups()
        if response[match.start() - 1 : match.start()] == ANSWER:
            missed = False
        elif text:
            value = chain_value(text) if verdict else None
            after = response[match.end() : match.end() + 1]
            yield _Attempt(value, verdict == MISS, missed, after)
            missed = verdict == MISS


def _is_checked(response: str, target: int) -> bool:
    work, _, answer = response.rpartition(ANSWER)
    if not work.endswith(HIT):
        return False
    chain = re.split(f"[{MISS}{HIT}{ANSWER}]", work)[-2]
    if _CHAIN.fullmatch(chain) is None or int(chain.rpartition("=")[2]) != target:
        return False
    # 7-8=-1+3=2 is the expression ((7-8)+3).
    expression = "(" * chain.count("=") + _RESULT.sub(")", chain)
    return (form_of := forms.form(expression)) is not None and form_of == forms.form(answer)


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
