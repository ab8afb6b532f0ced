"""Sum to ten: go on with a sum so that it makes ten.

The smallest task that is about something: a random completion is right one time in four or so,
one that looks at the sum so far is always right.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness import checks
from harness.maths import streams
from harness.prompts import Grade, Prompt
from harness.tasks import sets
from harness.tasks.search import HIT, MISS
from harness.tasks.templates import Compact, Question, Template, Worked

TOTAL = 10
# Problems are the task's, not the trial's: one fixed seed, whatever `seed` is.
PROBLEM_SEED = 0
# Whole numbers of one or two digits, joined by plus signs.
_SUM = re.compile(r"\s*[1-9][0-9]?(?:\s*\+\s*[1-9][0-9]?)*\s*")

WORKED = Worked(
    question="Continue the sum 1 + 5 with positive whole numbers so that it makes 10.",
    reasoning="1 + 5 = 6. To 10, 4 are missing, and 3 + 1 = 4.",
    answer="3 + 1",
)


def question(given: tuple[int, ...]) -> Question:
    """The start of a sum in words."""
    return Question(
        text=f"Continue the sum {' + '.join(map(str, given))} with positive whole numbers so that "
        f"it makes {TOTAL}.",
        compact=f"{'+'.join(map(str, given))}+",
        example="11 + 12",
        worked=WORKED,
    )


def starts(room: int = TOTAL - 1) -> Iterator[tuple[int, ...]]:
    """Every ordered sum of at least one number that makes at most `room`."""
    for first in range(1, room + 1):
        yield (first,)
        for rest in starts(room - first):
            yield (first, *rest)


@dataclass(frozen=True)
class SumToTen(sets.HasSets):
    """All starts of sums to ten, 511 of them, and their exact grading.

    The content of the answer must be whole numbers from 1 to 99 joined by `+`. Together with the
    given ones they make ten: correct; another sum: formatted; anything else: neither.

    Attributes:
        template: how a problem is asked and its answer marked (harness.tasks.templates.Template).
        train_size: distinct training prompts.
        eval_size: distinct held-out prompts.
        hold_out: one problem (the given numbers in any order) in this many is held out.
    """

    template: Any = field(default_factory=Compact)
    train_size: int = 256
    eval_size: int = 64
    hold_out: int = 4

    def __post_init__(self) -> None:
        checks.at_least("task.train_size", self.train_size, 1)
        checks.at_least("task.eval_size", self.eval_size, 1)
        checks.at_least("task.hold_out", self.hold_out, 2)

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        template: Template = self.template
        content = template.answer(response, finished)
        if content is None or not _SUM.fullmatch(content):
            return Grade(correct=False, formatted=False)
        added = sum(int(number) for number in content.split("+"))
        return Grade(correct=prompt.answer + added == TOTAL, formatted=True)

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and trace of each item: random numbers are added until ten is reached or passed.

        Example: ("Q3+2+?", "5+4=9+1=10!A4+1"), or, too far, ("Q3+2+?", "5+4=9+3=12;A4+3").
        """
        prompts = sets.shuffled(self.pool(), seed, "sum_to_ten/order", items)
        u_NK = streams.uniforms(seed, "sum_to_ten/trace", 0, items, TOTAL).tolist()
        template: Template = self.template
        return [
            (prompt.text, template.response(*_trace(prompt.answer, u_K)))
            for prompt, u_K in zip(prompts, u_NK, strict=True)
        ]

    @cached_property
    def _sets(self) -> sets.Sets:
        every = list(starts())
        order = streams.permutation(PROBLEM_SEED, "sum_to_ten/problem", 0, len(every))
        prompts = (self._prompt(every[i]) for i in order)
        return sets.split(prompts, self.train_size, self.eval_size, self.hold_out)

    def _prompt(self, given: tuple[int, ...]) -> Prompt:
        return Prompt(
            text=self.template.render(question(given)),
            item=0,
            problem="+".join(map(str, sorted(given))),
            difficulty=len(given),
            answer=sum(given),
        )


def _trace(total: int, u_K: list[float]) -> tuple[str, str]:
    """Work and answer: numbers from 1 to 9, drawn until their sum is no longer below ten."""
    text, added = str(total), []
    for u in u_K:
        added.append(1 + int(u * (TOTAL - 1)))
        total += added[-1]
        text += f"+{added[-1]}={total}"
        if total >= TOTAL:
            break
    return text + (HIT if total == TOTAL else MISS), "+".join(map(str, added))
