"""Multiplication: the product of two whole numbers.

Pool and held-out set are constants of the task; `12*34` and `34*12` are one problem.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from harness import checks
from harness.errors import ConfigError
from harness.maths import streams
from harness.prompts import Grade, Prompt
from harness.tasks import numbers, sets
from harness.tasks.templates import Compact, Question, Template, Worked

# Problems are the task's, not the trial's: one fixed seed, whatever `seed` is.
PROBLEM_SEED = 0
# Problems drawn at once.
BLOCK = 4096
PRODUCT = re.compile(r"([0-9]+) ?\* ?([0-9]+)")
# So that a product has at most numbers.MAX_DIGITS digits.
MAX_FACTOR_DIGITS = numbers.MAX_DIGITS // 2


class Level(Enum):
    """Named ranges of problems."""

    VERY_EASY = "very_easy"
    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"

    @property
    def difficulty(self) -> int:
        """1 for the easiest."""
        return list(Level).index(self) + 1


# Smallest and largest value of either factor: 2x3, 7x15, 15x20, 67x89.
RANGES = {
    Level.VERY_EASY: [(2, 9), (2, 9)],
    Level.EASY: [(2, 9), (10, 19)],
    Level.MEDIUM: [(10, 25), (10, 25)],
    Level.HARD: [(26, 99), (26, 99)],
}

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

    Example: by_parts(12, 345) == "12*345=12*300+12*40+12*5=3600+480+60=4080+60;"
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
    return f"{'='.join(steps)};"


@dataclass(frozen=True)
class Multiplication(sets.HasSets):
    """Products of two factors, and their exact grading.

    Factors have no leading zeros: one of one digit is 1 to 9. The content of the answer must be an
    integer (harness.tasks.numbers.integer): the right one is correct, another one is formatted
    only; anything else is neither.

    Attributes:
        template: how a problem is asked and its answer marked (harness.tasks.templates.Template).
        digits: digits of the two factors; the difficulty of a problem is their sum.
        levels: named ranges that problems are drawn from evenly, instead of `digits`; the
            difficulty is then 1 for very_easy (like 2x3) to 4 for hard (67x89).
        hasty_share: share of the warm-up traces that answer at once, without working it out: what
            reinforcement has to unlearn.
        train_size: distinct training prompts.
        eval_size: distinct held-out prompts.
        hold_out: one problem in this many is held out.
    """

    data_source: ClassVar[str] = "multiply"

    template: Any = field(default_factory=Compact)
    digits: list[int] = field(default_factory=lambda: [2, 2])
    levels: list[Level] = field(default_factory=list)
    hasty_share: float = 0.4
    train_size: int = 3328
    eval_size: int = 512
    hold_out: int = 8

    def __post_init__(self) -> None:
        if len(self.digits) != 2 or not all(1 <= n <= MAX_FACTOR_DIGITS for n in self.digits):
            raise ConfigError(
                f"task.digits must be two numbers of digits from 1 to {MAX_FACTOR_DIGITS}, "
                f"received {list(self.digits)}; for example task.digits=[1,1]"
            )
        if not 0 <= self.hasty_share <= 1:
            raise ConfigError(f"task.hasty_share must be in 0..1, received {self.hasty_share}")
        checks.at_least("task.train_size", self.train_size, 1)
        checks.at_least("task.eval_size", self.eval_size, 1)
        checks.at_least("task.hold_out", self.hold_out, 2)

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        template: Template = self.template
        content = template.answer(response, finished)
        value = None if content is None else numbers.integer(content)
        return Grade(correct=value == prompt.answer, formatted=value is not None)

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and long multiplication of each item, on pool problems in shuffled passes.

        A hasty trace is the answer alone, which is more than a tiny model can work out at once.
        """
        prompts = sets.shuffled(self.pool(), seed, "multiplication/order", items)
        template: Template = self.template
        u_N = streams.uniforms(seed, "multiplication/hasty", 0, items, 1)[:, 0].tolist()
        work = [
            "" if u < self.hasty_share else by_parts(*factors(prompt.text))
            for prompt, u in zip(prompts, u_N, strict=True)
        ]
        return [
            (prompt.text, template.response(worked, str(prompt.answer)))
            for prompt, worked in zip(prompts, work, strict=True)
        ]

    @cached_property
    def _sets(self) -> sets.Sets:
        return sets.split(self._prompts(), self.train_size, self.eval_size, self.hold_out)

    def _prompts(self) -> Iterator[Prompt]:
        """Endless random products."""
        levels = [(level, RANGES[level]) for level in self.levels]
        whole = [(10 ** (digits - 1), 10**digits - 1) for digits in self.digits]
        block = 0
        while True:
            u_N3 = streams.uniforms(
                PROBLEM_SEED, "multiplication/problem", block, np.arange(BLOCK), 3
            )
            block += 1
            for which, *places in u_N3.tolist():
                level, ranges = levels[int(which * len(levels))] if levels else (None, whole)
                pairs = zip(places, ranges, strict=True)
                a, b = (low + int(place * (high - low + 1)) for place, (low, high) in pairs)
                yield self._prompt(a, b, len(f"{a}{b}") if level is None else level.difficulty)

    def _prompt(self, a: int, b: int, difficulty: int) -> Prompt:
        return Prompt(
            text=self.template.render(question(a, b)),
            item=0,
            problem="*".join(map(str, sorted((a, b)))),
            difficulty=difficulty,
            answer=a * b,
        )


def factors(text: str) -> tuple[int, int]:
    """The factors that a prompt asks for: those of the last product in it."""
    a, b = PRODUCT.findall(text)[-1]
    return int(a), int(b)
