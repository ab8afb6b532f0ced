"""A reward of your own: a function that scores one response.

It may return any number, as reward functions of TRL do. Whether a response is *correct* is the
task's to say, by its grader, and is what `eval/accuracy` counts whatever the reward is.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import torch

from harness.blame import said
from harness.errors import ContractError, PlugInError
from harness.functions import function
from harness.types import Grade, Graded, Prompt, Scores


@dataclass(frozen=True)
class Function:
    """What your function returns for each response.

    It runs in the trial's process and is tried on a real prompt before anything is made; what it
    raises ends the trial. A reward that needs the whole batch, tokens or parameters is a class of
    its own (harness.protocols.Reward).

    Attributes:
        function: import path of function(prompt: str, response: str, answer, correct: bool) ->
            float. `response` is the whole text, whatever a template marks in it (the grader of
            task=jsonl gets the marked answer alone: with task/template=plain both get the same).
            `answer` is what the task keeps with the prompt, for task=jsonl the answer column as
            text.
    """

    function: str

    def score(self, graded: Graded) -> Scores:
        rows = zip(graded.rollout.prompts, graded.rollout.texts, graded.grades, strict=True)
        values = [self._value(*row) for row in rows]
        return Scores(rewards=torch.tensor(values, dtype=torch.float64))

    def _value(self, prompt: Prompt, response: str, grade: Grade) -> float:
        call = self._function
        try:
            value = call(prompt.text, response, prompt.answer, grade.correct)
        except Exception as error:
            raise PlugInError(
                f"reward.function: {self.function} raised {said(error)}; it is called as "
                f"function(prompt, response, answer, correct) and returns a number"
            ) from error
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ContractError(
                f"reward.function: {self.function} must return a finite number, returned "
                f"{value!r:.40}"
            )
        return float(value)

    @cached_property
    def _function(self) -> Any:
        return function(self.function, "reward.function")
