"""Countdown: combine all given numbers with + - * / to reach a target.

Pool and held-out set are constants of the task: they depend on its fields, never on `seed`.
A problem (sorted numbers and target) belongs to one of the two by its hash.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness import checks, streams
from harness.errors import ConfigError
from harness.tasks import expressions, rows, search
from harness.tasks.search import MISS, Persona, TraceWriter
from harness.tasks.templates import ANSWER, Compact, Question, Template, Worked
from harness.types import Behaviour, Grade, Prompt

# Problems are the task's, not the trial's: one fixed seed, whatever `seed` is.
PROBLEM_SEED = 0
# Candidates drawn at once, and draws without a new prompt after which the space is exhausted.
BLOCK = 4096
PATIENCE = 64 * BLOCK


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
class Countdown:
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

    def pool(self) -> tuple[Prompt, ...]:
        return self._sets[0]

    def held_out(self) -> tuple[Prompt, ...]:
        return self._sets[1]

    @property
    def digest(self) -> str:
        lines = "\n".join(f"{p.text}\t{p.answer}" for part in self._sets for p in part)
        return hashlib.sha256(lines.encode()).hexdigest()

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
            and sorted(parsed.numbers) == sorted(answer.numbers)
            and parsed.value == answer.target
        )
        return Grade(correct=correct, formatted=True)

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        if not isinstance(self.template, Compact):
            return None
        return search.read(response, prompt.answer.target)

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and search trace of each item, on pool problems in shuffled passes."""
        pool = self.pool()
        if not isinstance(self.template, Compact):
            raise ConfigError(
                "search traces are written in the compact template only; set "
                "task/template=compact or choose model=hf model.path=..."
            )
        writer = TraceWriter(self.operators, self.persona)
        draws = max(writer.draws(prompt.answer.numbers) for prompt in pool)
        u_NK = streams.uniforms(seed, "countdown/trace", 0, items, draws).tolist()
        passes = range(items.start // len(pool), items.stop // len(pool) + 1)
        orders = {p: streams.permutation(seed, "countdown/order", p, len(pool)) for p in passes}
        prompts = [pool[orders[item // len(pool)][item % len(pool)]] for item in items]
        return [
            (prompt.text, writer.write(prompt.answer.numbers, prompt.answer.target, u_K))
            for prompt, u_K in zip(prompts, u_NK, strict=True)
        ]

    @cached_property
    def _sets(self) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
        pool: list[Prompt] = []
        held_out: list[Prompt] = []
        seen = set[CountdownAnswer]()
        draws = last_new = 0
        for answer in self._candidates():
            draws += 1
            full = len(pool) == self.train_size and len(held_out) == self.eval_size
            if full or draws - last_new > PATIENCE:
                break
            if answer is None or answer in seen:
                continue
            seen.add(answer)
            problem = f"{' '.join(map(str, sorted(answer.numbers)))}={answer.target}"
            hashed = int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], "big")
            part, size = (
                (held_out, self.eval_size)
                if hashed % self.hold_out == 0
                else (pool, self.train_size)
            )
            if len(part) < size:
                last_new = draws
                part.append(
                    Prompt(
                        text=self.template.render(question(answer)),
                        item=len(part),
                        problem=problem,
                        difficulty=len(answer.numbers),
                        answer=answer,
                    )
                )
        if len(pool) == self.train_size and len(held_out) == self.eval_size:
            return tuple(pool), tuple(held_out)
        raise ConfigError(
            f"task: {self.source or 'these ranges'} give only {len(pool)} training and "
            f"{len(held_out)} held-out prompts, asked for {self.train_size} and {self.eval_size}; "
            f"lower task.train_size or task.eval_size, or widen task.high or task.target_high"
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
    for truth in rows.ground_truths(source, ("numbers", "target"), "task.source"):
        yield CountdownAnswer(tuple(map(int, truth["numbers"])), int(truth["target"]))
