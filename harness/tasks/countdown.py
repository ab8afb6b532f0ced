"""Countdown: combine all given numbers with + - * / to reach a target.

Pool and held-out set are constants of the task: they depend on its fields, never on `seed`.
A problem (sorted numbers and target) belongs to one of the two by its hash.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness import checks
from harness.errors import ConfigError
from harness.maths import streams
from harness.prompts import Behaviour, Grade, Prompt
from harness.tasks import cells, expressions, prose, rows, search, sets
from harness.tasks.search import MISS, Persona, TraceWriter
from harness.tasks.templates import ANSWER, Compact, Question, Template, Worked

# Problems are the task's, not the trial's: one fixed seed, whatever `seed` is.
PROBLEM_SEED = 0
# Candidates drawn at once.
BLOCK = 4096


@dataclass(frozen=True)
class CountdownAnswer:
    """What the grader needs: the given numbers and the target."""

    numbers: tuple[int, ...]
    target: int


WORKED = Worked(
    question="Using the numbers [2, 3, 4], create an equation that equals 10. You can use basic "
    "arithmetic operations (+, -, *, /) and each number can only be used once.",
    reasoning="2 + 3 + 4 = 9, not 10.\n2 * 3 = 6 and 6 + 4 = 10. That is it: 2 * 3 + 4 = 10",
    answer="2 * 3 + 4",
)


def question(answer: CountdownAnswer) -> Question:
    """A problem in TinyZero's words."""
    return Question(
        text=f"Using the numbers {list(answer.numbers)}, create an equation that equals "
        f"{answer.target}. You can use basic arithmetic operations (+, -, *, /) and each number "
        f"can only be used once.",
        compact=f"{' '.join(map(str, answer.numbers))}={answer.target}",
        example="(1 + 2) / 3",
        worked=WORKED,
    )


@dataclass(frozen=True)
class Countdown(sets.HasSets):
    """Countdown problems that are solvable by construction, and their exact grading.

    A problem's target is the value of a random left-to-right expression over its numbers with
    integer intermediate results. Grading accepts any expression that uses each number exactly once.

    Attributes:
        template: how a problem is asked and its answer marked (harness.tasks.templates.Template).
        counts: how many numbers a problem has; more than one value mixes them evenly.
        low: smallest number.
        high: largest number.
        operators: those that targets (and warm-up traces) are made with.
        target_low: smallest target.
        target_high: largest target.
        train_size: distinct training prompts.
        eval_size: distinct held-out prompts.
        hold_out: one problem in this many is held out.
        at_most_once: accept answers that leave numbers out; TinyZero's checker asks for all.
        persona: the searchers of the warm-up traces, which the compact template can write.
        source: a .parquet file in TinyZero's row schema that the problems are read from, in its
            order; counts, low, high and the targets' range are then the file's. Its prompts are
            worded anew by the template and its splits made anew by the hash.
    """

    template: Any = field(default_factory=Compact)
    counts: list[int] = field(default_factory=lambda: [3])
    low: int = 1
    high: int = 9
    operators: str = "+-"
    target_low: int = -7
    target_high: int = 27
    train_size: int = 3328
    eval_size: int = 512
    hold_out: int = 8
    at_most_once: bool = False
    persona: Persona = field(default_factory=Persona)
    source: str | None = None

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("counts", min(self.counts, default=0), 2),
            ("low", self.low, 1),
            ("high", self.high, self.low),
            ("target_high", self.target_high, self.target_low),
            ("train_size", self.train_size, 1),
            ("eval_size", self.eval_size, 1),
            ("hold_out", self.hold_out, 2),
        ):
            checks.at_least(f"task.{name}", value, minimum)
        if not self.operators or set(self.operators) - set("+-*/"):
            raise ConfigError(
                f"task.operators must be some of + - * /, received {self.operators!r}"
            )

    @property
    def early_stop(self) -> tuple[str, str] | None:
        return (MISS, ANSWER) if isinstance(self.template, Compact) else None

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        template: Template = self.template
        content = template.answer(response, finished)
        if content is None:
            return Grade(correct=False, formatted=False)
        parsed = expressions.parse(content)
        answer: CountdownAnswer = prompt.answer
        correct = (
            parsed is not None
            and self._uses(parsed.numbers, answer.numbers)
            and parsed.value == answer.target
        )
        return Grade(correct=correct, formatted=True)

    def _uses(self, used: Sequence[int], given: Sequence[int]) -> bool:
        """Each given number once, or at most once."""
        left_over = Counter(given)
        left_over.subtract(used)
        counts = left_over.values()
        return all(n >= 0 if self.at_most_once else n == 0 for n in counts)

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        template: Template = self.template
        answer: CountdownAnswer = prompt.answer
        if isinstance(template, Compact):
            return search.read(response, answer.target)
        content = template.answer(response, finished=True)
        return prose.read(response, content, answer.numbers, answer.target)

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and search trace of each item, on pool problems in shuffled passes."""
        writer = self.writer()
        prompts = sets.shuffled(self.pool(), seed, "countdown/order", items)
        draws = max(writer.draws(prompt.answer.numbers) for prompt in prompts)
        u_NK = streams.uniforms(seed, "countdown/trace", 0, items, draws).tolist()
        template: Template = self.template
        return [
            (prompt.text, template.response(*writer.write(p.numbers, p.target, u_K)))
            for prompt, u_K in zip(prompts, u_NK, strict=True)
            for p in [prompt.answer]
        ]

    def writer(self) -> TraceWriter:
        """Who writes the warm-up traces."""
        return TraceWriter(self.operators, self.persona)

    @cached_property
    def _sets(self) -> sets.Sets:
        sizes = (self.train_size, self.eval_size)
        origin = self.source or "these ranges"
        return sets.split(self._prompts(), *sizes, self.hold_out, origin)

    def _prompts(self) -> Iterator[Prompt | None]:
        return (None if answer is None else self._prompt(answer) for answer in self._candidates())

    def _prompt(self, answer: CountdownAnswer) -> Prompt:
        return Prompt(
            text=self.template.render(question(answer)),
            item=0,
            problem=f"{' '.join(map(str, sorted(answer.numbers)))}={answer.target}",
            difficulty=len(answer.numbers),
            answer=answer,
        )

    def _candidates(self) -> Iterator[CountdownAnswer | None]:
        """Problems of the source; or endless random ones, None where a target does not fit."""
        if self.source is not None:
            yield from _read(self.source)
            return
        widest = max(self.counts)
        block = 0
        while True:
            u = streams.uniforms(
                PROBLEM_SEED, "countdown/problem", block, np.arange(BLOCK), 1 + 3 * widest
            )
            block += 1
            for first, *rest in u.tolist():
                count = self.counts[int(first * len(self.counts))]
                span = self.high - self.low + 1
                numbers = tuple(self.low + int(x * span) for x in rest[:count])
                keys, signs = rest[widest : widest + count], rest[2 * widest :]
                yield self._problem(numbers, keys, signs)

    def _problem(
        self, numbers: tuple[int, ...], keys: list[float], signs: list[float]
    ) -> CountdownAnswer | None:
        order = sorted(range(len(numbers)), key=keys.__getitem__)
        value: int | None = numbers[order[0]]
        for index, sign in zip(order[1:], signs, strict=False):
            operator = self.operators[int(sign * len(self.operators))]
            value = search.apply(operator, value, numbers[index])
        if value is None or not self.target_low <= value <= self.target_high:
            return None
        return CountdownAnswer(numbers, value)


def _read(source: str) -> Iterator[CountdownAnswer]:
    """The problems of a file in TinyZero's row schema."""
    for row in rows.read(source, "task.source"):
        truth = row.value(rows.GROUND_TRUTH)
        given = truth.get("numbers") if isinstance(truth, Mapping) else None
        if not isinstance(given, list) or not given or truth.get("target") is None:
            row.refuse(rows.GROUND_TRUTH, f"must have numbers and target, is {truth!r:.60}")
        yield CountdownAnswer(
            tuple(cells.whole(row, f"{rows.GROUND_TRUTH}.numbers", n) for n in given),
            cells.whole(row, f"{rows.GROUND_TRUTH}.target", truth["target"]),
        )
