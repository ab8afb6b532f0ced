"""Coin: predict the flips of a biased coin.

There is nothing to find out about a single flip, so the best policy says the more frequent side
always: the accuracy that a right training loop reaches is known beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np

from harness import checks
from harness.maths import streams
from harness.prompts import Grade, Prompt
from harness.tasks import sets
from harness.tasks.templates import Compact, Question, Template, Worked

# Flips are the task's, not the trial's: one fixed seed, whatever `seed` is.
PROBLEM_SEED = 0
# Flips drawn at once.
BLOCK = 4096
# How a side is written, and what it is in the compact template.
SIDES = {"1": True, "heads": True, "0": False, "tails": False}

WORKED = Worked(
    question="A biased coin is flipped again and again. Is flip 0 heads or tails?",
    reasoning="I cannot know it. I guess.",
    answer="tails",
)


def question(flip: int) -> Question:
    """A flip in words."""
    return Question(
        text=f"A biased coin is flipped again and again. Is flip {flip} heads or tails?",
        compact=str(flip),
        example="heads",
        worked=WORKED,
    )


@dataclass(frozen=True)
class Coin(sets.HasSets):
    """Flips of one coin, and their exact grading.

    The content of the answer must be `heads` or `1`, `tails` or `0`, in any case, white space
    around it ignored; anything else is neither correct nor formatted.

    Attributes:
        template: how a flip is asked for and the answer marked (harness.tasks.templates.Template).
        heads: chance of heads.
        train_size: distinct training prompts.
        eval_size: distinct held-out prompts.
        hold_out: one flip in this many is held out.
    """

    template: Any = field(default_factory=Compact)
    heads: float = 0.7
    train_size: int = 512
    eval_size: int = 256
    hold_out: int = 4

    def __post_init__(self) -> None:
        checks.share("task.heads", self.heads)
        checks.at_least("task.train_size", self.train_size, 1)
        checks.at_least("task.eval_size", self.eval_size, 1)
        checks.at_least("task.hold_out", self.hold_out, 2)

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        template: Template = self.template
        side = SIDES.get((template.answer(response, finished) or "").strip().lower())
        return Grade(correct=side == (prompt.answer == "heads"), formatted=side is not None)

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and a guess of each item, either side being as frequent: nothing is known."""
        prompts = sets.shuffled(self.pool(), seed, "coin/order", items)
        guesses = streams.uniforms(seed, "coin/trace", 0, items, 1)[:, 0] < 0.5
        template: Template = self.template
        sides = ("0", "1") if isinstance(template, Compact) else ("tails", "heads")
        return [
            (prompt.text, template.response("", sides[int(guess)]))
            for prompt, guess in zip(prompts, guesses, strict=True)
        ]

    @cached_property
    def _sets(self) -> sets.Sets:
        return sets.split(self._prompts(), self.train_size, self.eval_size, self.hold_out)

    def _prompts(self) -> Iterator[Prompt]:
        """Endless flips."""
        for start in count(1, BLOCK):
            flips = np.arange(start, start + BLOCK)
            u_N = streams.uniforms(PROBLEM_SEED, "coin/flip", 0, flips, 1)[:, 0]
            for flip, u in zip(flips.tolist(), u_N.tolist(), strict=True):
                yield Prompt(
                    text=self.template.render(question(flip)),
                    item=0,
                    problem=str(flip),
                    difficulty=1,
                    answer="heads" if u < self.heads else "tails",
                )
