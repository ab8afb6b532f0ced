"""Your own questions: a file of prompts and answers, and a function that grades.

The file is JSON lines in UTF-8, or parquet. A prompt is text, or a chat: a list of messages, each
with a role and a content, the last one the user's. harness.tasks.cells says what an answer may be;
all else is refused by row and column. Nothing is graded by the harness: the function says whether
a response is right.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness import checks
from harness.errors import ConfigError, ContractError
from harness.functions import function
from harness.prompts import Grade, Prompt
from harness.tasks import cells, questions, rows, sets
from harness.tasks.templates import FewShot, Plain, Template, Worked

Grader = Callable[[str, str], bool]
# A file brings no worked example; templates that show one are refused.
NO_WORKED = Worked(question="", reasoning="", answer="")


@dataclass(frozen=True)
class Jsonl(sets.HasSets):
    """Questions of a file, graded by a function of yours.

    The grader is called with what the template finds as the answer, and with the answer column as
    text. The template `plain` finds the whole response, tags what is inside them; a response
    without an answer is wrong and the grader is not asked.

    It returns True or False: correctness has no degrees, and a float is refused. What is between
    right and wrong is a reward's to say (harness.rewards.function). It is tried on a real prompt
    before anything is made. What it raises, or a time above `grading.cpu_seconds`, is an error of
    that one response.

    Attributes:
        path: a .jsonl or .parquet file; identical prompts count once, and must have one answer.
        grader: import path of function(response: str, answer: str) -> bool.
        template: how a question is asked and its answer marked (harness.tasks.templates.Template).
        prompt: column of the questions, text or chats.
        answer: column of the answers; `a.b` is b in the objects of column a.
        held_out_path: file of the held-out questions; null splits the one file by hash.
        example: what an answer looks like, for templates that show one.
        train_size: training prompts, the first ones; null takes all.
        eval_size: held-out prompts, the first ones; null takes all.
        hold_out: one question of a single file in this many is held out.
    """

    path: str
    grader: str
    template: Any = field(default_factory=Plain)
    prompt: str = "prompt"
    answer: str = "answer"
    held_out_path: str | None = None
    example: str = "42"
    train_size: int | None = None
    eval_size: int | None = None
    hold_out: int = 8

    def __post_init__(self) -> None:
        for name, value in (("train_size", self.train_size), ("eval_size", self.eval_size)):
            checks.at_least(f"task.{name}", 1 if value is None else value, 1)
        checks.at_least("task.hold_out", self.hold_out, 2)
        if isinstance(self.template, FewShot):
            raise ConfigError(
                "task=jsonl has no worked example for the template few_shot; write one into the "
                "prompts and set task/template=plain"
            )

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        template: Template = self.template
        content = template.answer(response, finished)
        if content is None:
            return Grade(correct=False, formatted=False)
        verdict = self._grader(content, prompt.answer)
        if not isinstance(verdict, (bool, np.bool_)):
            raise ContractError(
                f"task.grader: {self.grader} must return True or False, returned "
                f"{verdict!r:.40}; correctness has no degrees: return a comparison such as "
                f"score >= 1, and put what is between into a reward: reward=function"
            )
        return Grade(correct=bool(verdict), formatted=True)

    @property
    def supervised(self) -> str:
        return f"the answers of {self.path}'s training questions"

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and answer of each item, without work: the file has none."""
        template: Template = self.template
        prompts = sets.shuffled(self.pool(), seed, "jsonl/order", items)
        return [(p.text, template.response("", p.answer)) for p in prompts]

    @cached_property
    def _grader(self) -> Grader:
        return function(self.grader, "task.grader")

    @cached_property
    def _sets(self) -> sets.Sets:
        _ = self._grader  # a task without a grader is refused before anything starts
        sizes = (self.train_size, self.eval_size)
        train, test = rows.read(self.path, "task.path"), None
        if self.held_out_path is not None:
            test = rows.read(self.held_out_path, "task.held_out_path")
        return questions.sets_of(
            train, test, self._prompt, self.answer, *sizes, self.hold_out, self.path
        )

    def _prompt(self, row: rows.Row) -> Prompt:
        question = questions.asked(row, self.prompt)
        template: Template = self.template
        return Prompt(
            text=questions.rendered(template, row, self.prompt, question, self.example, NO_WORKED),
            item=0,
            problem=questions.problem(question),
            difficulty=1,
            answer=cells.answer(row, self.answer),
        )
