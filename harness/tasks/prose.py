"""How a response in free text searched for an expression of Countdown.

An attempt is a statement whose expression uses the given numbers, each exactly once, or one that
does so once the results of earlier statements are put in for numbers: `2 * 3 = 6 and 6 + 4 = 10`
is the attempt 2*3+4. Single steps are none, and statements with other numbers are none. Only
statements with an equals sign count (harness.tasks.working): not `which gives 10`.

    2 + 3 + 4 = 9, not 10.           a miss: what it states is not the target
    2 * 3 = 6, 6 + 4 = 10.           a hit
    So 2 * 3 + 4 = 6 + 4 = 10.       the attempt before it, told again: not another one
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

from harness.prompts import Behaviour
from harness.tasks import forms, working
from harness.tasks.working import Fact

# Ways to understand the numbers of one statement that are looked at.
MAX_READINGS = 32
_OPERAND = re.compile(r"(?:(?<=[-+*/(])|^)-[0-9.]+|[0-9.]+")


class Attempt(NamedTuple):
    """One candidate expression over all given numbers."""

    expression: str
    """Over the given numbers, without idle parentheses; results that it goes on from are written
    out. Empty where that is longer than the grammar allows."""
    stated: Fraction
    """What the response says it is worth."""
    right: bool
    """Every statement on the way is exact."""


@dataclass(frozen=True)
class _Result:
    """What a number stands for: a given number, or the result of earlier statements."""

    expression: str
    used: tuple[int, ...]
    right: bool = True


def read(response: str, answer: str | None, numbers: Sequence[int], target: int) -> Behaviour:
    """Count what a response does before its answer.

    attempts: candidate expressions over all numbers whose result is stated; one that is told again
        before any other, the same but for idle parentheses, with the same result, counts once.
    computed_rightly: attempts of which every statement is exact.
    hits: attempts that are computed rightly and state the target.
    misses: attempts that state another number than the target.
    retries: misses after which another attempt comes, before the answer.
    give_ups: misses after which no attempt comes but the answer.
    answers: 1 when the template finds a marked and closed answer.
    checked: 1 when an attempt that is the answer's expression, but for the order of terms and
        factors and idle parentheses, states the target.

    Args:
        answer: content of the marked and closed answer; None without one.
    """
    tried = attempts(_before(response, answer), numbers)
    misses = sum(attempt.stated != target for attempt in tried)
    ends_with_miss = bool(tried) and tried[-1].stated != target
    found = {forms.form(attempt.expression) for attempt in tried if attempt.stated == target}
    answered = None if answer is None else _form_of_answer(answer)
    return Behaviour(
        attempts=len(tried),
        computed_rightly=sum(attempt.right for attempt in tried),
        hits=sum(attempt.right and attempt.stated == target for attempt in tried),
        misses=misses,
        retries=misses - ends_with_miss,
        give_ups=int(ends_with_miss and answer is not None),
        answers=int(answer is not None),
        checked=int(answered is not None and answered in found),
    )


def attempts(text: str, numbers: Sequence[int]) -> list[Attempt]:
    """Every attempt of a text, in order."""
    found: list[Attempt] = []
    given = Counter(numbers)
    known: dict[Fraction, _Result] = {}
    last: Fraction | None = None  # what has just been stated, if it is a step that may go on
    for fact, goes_on in _statements(text):
        result = _understood(fact, goes_on, given, known, last)
        last = None
        if result is None:
            continue
        if len(result.used) < len(numbers):
            known[fact.stated] = result
            last = fact.stated
            continue
        attempt = Attempt(forms.bare(result.expression) or "", fact.stated, result.right)
        if not found or attempt[:2] != found[-1][:2]:
            found.append(attempt)
    return found


def _before(response: str, answer: str | None) -> str:
    """What stands before the answer; all of a response that is nothing but its answer."""
    if answer is None:
        return response
    for marked in (f"<answer>{answer}</answer>", f"#### {answer}", answer):
        if (at := response.rfind(marked)) > 0:
            return response[:at]
    return response


def _form_of_answer(answer: str) -> str | None:
    """Form of an answer, also of one that says what it is worth, as in `2 * 3 + 4 = 10`."""
    return forms.form(working.plain(answer.partition("=")[0][: working.WINDOW]))


def _statements(text: str) -> Iterator[tuple[Fact, bool]]:
    """Statements, and whether each goes on from the result before it, as in `7+8=15-3=12`.

    `(2+3)*4=5*4=20` is one: (2+3)*4 is worth 20.
    """
    last: Fact | None = None
    goes_on = False
    for fact in working.facts(text):
        overlaps = last is not None and fact.start < last.end
        if last is not None and overlaps and _is_rewritten(text, last, fact):
            last = replace(last, end=fact.end, stated=fact.stated, right=last.right and fact.right)
            continue
        if last is not None:
            yield last, goes_on
        last, goes_on = fact, overlaps
    if last is not None:
        yield last, goes_on


def _is_rewritten(text: str, last: Fact, fact: Fact) -> bool:
    """Whether the whole expression of `fact` is what `last` stated."""
    between = text[last.end : text.index("=", fact.start)]
    return not any(character.isdigit() for character in between)


def _understood(
    fact: Fact,
    goes_on: bool,
    given: Counter[int],
    known: dict[Fraction, _Result],
    last: Fraction | None,
) -> _Result | None:
    """The statement over given numbers: over all of them if it can be read so, or over some."""
    operands = list(_OPERAND.finditer(fact.expression))
    if len(operands) > given.total():
        return None
    choices = [list(_meanings(match.group(), given, known, last)) for match in operands]
    if goes_on:
        if last is None:
            return None
        choices = [[known[last]], *([r for r in c if r is not known[last]] for c in choices[1:])]
    readings = list(islice(_readings(choices, given), MAX_READINGS))
    if not readings:
        return None
    best = max(readings, key=lambda parts: _uses_all(parts, given))  # the first of the best
    written, end = "", 0
    for match, part in zip(operands, best, strict=True):
        written += fact.expression[end : match.start()] + part.expression
        end = match.end()
    used = tuple(number for part in best for number in part.used)
    right = fact.right and all(part.right for part in best)
    return _Result(f"({written}{fact.expression[end:]})", used, right)


def _uses_all(parts: Sequence[_Result], given: Counter[int]) -> bool:
    return sum(len(part.used) for part in parts) == given.total()


def _meanings(
    operand: str, given: Counter[int], known: dict[Fraction, _Result], last: Fraction | None
) -> Iterator[_Result]:
    """What a number, perhaps with a minus sign, may stand for; the likelier first.

    One that is given is that, unless it is the result just stated: 1 * 6 does not go on from
    2 - 1 = 1 of long ago.
    """
    number = Fraction(operand)
    result, is_given = known.get(number), abs(number) in given
    if result is not None and (number == last or not is_given):
        yield result
    if is_given:
        yield _Result(f"({operand})" if number < 0 else operand, (int(abs(number)),))
    if number < 0 and (opposite := known.get(-number)) is not None:
        yield replace(opposite, expression=f"(-{opposite.expression})")


def _readings(choices: list[list[_Result]], left: Counter[int]) -> Iterator[list[_Result]]:
    """Meanings of all operands that together use no number more often than it is given."""
    if not choices:
        yield []
        return
    for result in choices[0]:
        used = Counter(result.used)
        if used <= left:
            for rest in _readings(choices[1:], left - used):
                yield [result, *rest]
