"""Multiplication: the product of two whole numbers.

Pool and held-out set are constants of the task; `12*34` and `34*12` are one problem.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from harness import checks, streams
from harness.errors import ConfigError
from harness.tasks import numbers, sets
from harness.tasks.templates import ANSWER, Compact, Question, Template, Worked
from harness.types import Behaviour, Grade, Prompt

# Problems are the task's, not the trial's: one fixed seed, whatever `seed` is.
PROBLEM_SEED = 0
# Problems drawn at once.
BLOCK = 4096
# So that a product has at most numbers.MAX_DIGITS digits.
MAX_FACTOR_DIGITS = numbers.MAX_DIGITS // 2

WORKED = Worked(
    question="What is 5 * 3?",
    reasoning="I need to multiply 5 by 3.\nThis means adding 5 three times: 5 + 5 + 5\n"
    "5 + 5 = 10\n10 + 5 = 15\nTherefore, 5 * 3 = 15",
    answer="15",
)


def question(a: int, b: int) -> Question:
    """A product in words."""
    return Question(
        text=f"What is {a} * {b}?",
        compact=f"{a}*{b}",
        example="56" if a * b != 56 else "54",
        worked=WORKED,
    )


def by_parts(a: int, b: int) -> str:
    """Long multiplication: the digits of `b` one by one, then the sum from the left.

    Example: by_parts(12, 345) == "12*345=12*300+12*40+12*5=3600+480+60=4080+60;A4140"
    """
    digits = str(b)
    places = [int(d) * 10 ** (len(digits) - i) for i, d in enumerate(digits, 1) if d != "0"]
    steps = [f"{a}*{b}"]
    if len(places) > 1:
        steps.append("+".join(f"{a}*{place}" for place in places))
    parts = [a * place for place in places]
    steps.append("+".join(map(str, parts)))
    while len(parts) > 2:
        parts = [parts[0] + parts[1], *parts[2:]]
        steps.append("+".join(map(str, parts)))
    return f"{'='.join(steps)};{ANSWER}{a * b}"


@dataclass(frozen=True)
class Multiplication:
    """Products of two factors, and their exact grading.

    Factors have no leading zeros: one of one digit is 1 to 9. The content of the answer must be an
    integer (harness.tasks.numbers.integer): the right one is correct, another one is formatted
    only; anything else is neither.

    Attributes:
        template: how a problem is asked and its answer marked (harness.tasks.templates.Template).
        digits: digits of the two factors, at most.
        fewest: digits of the two factors, at least; null: as many as `digits`. Numbers of digits
            are drawn evenly.
        train_size: distinct training prompts.
        eval_size: distinct held-out prompts.
        hold_out: one problem in this many is held out.
    """

    data_source: ClassVar[str] = "multiply"

    template: Any = field(default_factory=Compact)
    digits: list[int] = field(default_factory=lambda: [2, 2])
    fewest: list[int] | None = None
    train_size: int = 3328
    eval_size: int = 512
    hold_out: int = 8

    def __post_init__(self) -> None:
        _check_digits("digits", self.digits, [1, 1], [MAX_FACTOR_DIGITS] * 2)
        _check_digits("fewest", self.least, [1, 1], self.digits)
        checks.at_least("task.train_size", self.train_size, 1)
        checks.at_least("task.eval_size", self.eval_size, 1)
        checks.at_least("task.hold_out", self.hold_out, 2)

    @property
    def least(self) -> list[int]:
        """Fewest digits of the two factors."""
        return self.digits if self.fewest is None else self.fewest

    def pool(self) -> tuple[Prompt, ...]:
        return self._sets[0]

    def held_out(self) -> tuple[Prompt, ...]:
        return self._sets[1]

    @property
    def digest(self) -> str:
        return sets.digest(self._sets)

    @property
    def early_stop(self) -> tuple[str, str] | None:
        return None

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        template: Template = self.template
        content = template.answer(response, finished)
        value = None if content is None else numbers.integer(content)
        return Grade(correct=value == prompt.answer, formatted=value is not None)

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        return None

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and long multiplication of each item, on pool problems in shuffled passes."""
        if not isinstance(self.template, Compact):
            raise ConfigError(
                "multiplication traces are written in the compact template only; set "
                "task/template=compact or choose model=hf model.path=..."
            )
        prompts = sets.shuffled(self.pool(), seed, "multiplication/order", items)
        return [(p.text, by_parts(*factors(p.text))) for p in prompts]

    @cached_property
    def _sets(self) -> sets.Sets:
        return sets.split(self._prompts(), self.train_size, self.eval_size, self.hold_out)

    def _prompts(self) -> Iterator[Prompt]:
        """Endless random products."""
        block = 0
        while True:
            u_N4 = streams.uniforms(
                PROBLEM_SEED, "multiplication/problem", block, np.arange(BLOCK), 4
            )
            block += 1
            for row in u_N4.tolist():
                yield self._prompt(*self._drawn(row[:2], row[2:]))

    def _drawn(self, sizes: list[float], places: list[float]) -> list[int]:
        """Both factors: a number of digits, then a number that has so many."""
        drawn = []
        for size, place, least, most in zip(sizes, places, self.least, self.digits, strict=True):
            digits = least + int(size * (most - least + 1))
            low = 10 ** (digits - 1)
            drawn.append(low + int(place * 9 * low))
        return drawn

    def _prompt(self, a: int, b: int) -> Prompt:
        return Prompt(
            text=self.template.render(question(a, b)),
            item=0,
            problem="*".join(map(str, sorted((a, b)))),
            difficulty=len(f"{a}{b}"),
            answer=a * b,
        )


def factors(text: str) -> tuple[int, int]:
    """The factors that a prompt in the compact template names."""
    a, _, b = text[1:-1].partition("*")
    return int(a), int(b)


def _check_digits(name: str, values: list[int], low: list[int], high: list[int]) -> None:
    pairs = zip(values, low, high, strict=False)
    if len(values) != 2 or not all(least <= value <= most for value, least, most in pairs):
        raise ConfigError(
            f"task.{name} must be two numbers of digits from {low} to {high}, received "
            f"{list(values)}; for example task.{name}=[1,1]"
        )
