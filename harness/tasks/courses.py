"""The course of a search: what each of its attempts tried, worked out and declared.

Read from a response of the compact template, `7*8=56-3=53;`, attempt by attempt up to the first
that is declared to be a hit.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.tasks.search import HIT, MISS, apply
from harness.tasks.searchers import unmarked
from harness.tasks.templates import ANSWER

_ATTEMPT = re.compile(rf"([^{MISS}{HIT}{ANSWER}]*)([{MISS}{HIT}])?")
_CHAIN = re.compile(r"(-?\d{1,6})((?:[+\-*/]\d{1,6}=-?\d{1,9})+)")
_FACT = re.compile(r"([+\-*/])(\d{1,6})=(-?\d{1,9})")


class Try(NamedTuple):
    """One attempt.

    Attributes:
        whole: a worked chain with a verdict: neither cut nor garbled.
        value: exact value of the expression that it tries, whatever was worked out; None when it
            is no integer, or does not use the given numbers once each.
        facts: equations that it works out.
        slips: those among them that do not hold.
        declared: the response calls it a hit.
        goes_on: another attempt follows.
    """

    whole: bool
    value: int | None
    facts: int
    slips: int
    declared: bool
    goes_on: bool


def course(response: str, numbers: Sequence[int]) -> tuple[Try, ...]:
    """The attempts of a response, up to the first declared hit."""
    return tuple(_tries(unmarked(response).partition(ANSWER)[0], tuple(sorted(numbers))))


def _tries(work: str, numbers: tuple[int, ...]) -> Iterator[Try]:
    for match in _ATTEMPT.finditer(work):
        text, verdict = match.groups()
        if not text and not verdict:
            return
        yield _read(text, verdict, match.end() < len(work), numbers)
        if verdict == HIT:
            return


def _read(text: str, verdict: str | None, goes_on: bool, numbers: tuple[int, ...]) -> Try:
    chain = _CHAIN.fullmatch(text)
    if chain is None or verdict is None:
        return Try(False, None, 0, 0, verdict == HIT, goes_on)
    stated = int(chain[1])
    value: int | None = stated
    used, slips = [stated], 0
    facts = _FACT.findall(chain[2])
    for sign, right, result in facts:
        number = int(right)
        value = apply(sign, value, number)
        used.append(number)
        slips += apply(sign, stated, number) != int(result)
        stated = int(result)
    if tuple(sorted(used)) != numbers:
        value = None
    return Try(True, value, len(facts), slips, verdict == HIT, goes_on)
