"""What a task deals in: a prompt, its grade, and how a response searched. No torch.

The process that grades imports this and the task, and is there before the model is loaded.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One question.

    Example:
        Prompt(text="Q7 8 3=4?", item=17, problem="3 7 8=4", difficulty=3,
               answer=CountdownAnswer((7, 8, 3), 4))
    """

    text: str
    """What the model reads, template applied."""
    item: int
    """Position in its split: the number by which its random streams are named."""
    problem: str
    """Cluster of the prompt: orderings of one problem share it."""
    difficulty: int
    """The level that a curriculum moves through; for Countdown, how many numbers it has."""
    answer: Any
    """What the task's grader needs."""
    part: str = ""
    """Name of the part of a mixture that it is from."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What a task says about one response."""

    correct: bool
    """Exactly right: the only thing that `eval/accuracy` counts."""
    formatted: bool
    """An answer is marked and closed as the template asks."""
    error: str = ""
    """What the grader raised, if it did: the response is then neither of the two."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Counts read from one response by the task's own parse."""

    attempts: int
    """Candidate expressions whose result is worked out."""
    computed_rightly: int
    """Attempts whose stated result is the exact one."""
    hits: int
    """Attempts that were computed rightly and reach the target."""
    misses: int
    """Attempts that the response itself finds wanting: failed checks."""
    retries: int
    """Misses after which another attempt follows."""
    give_ups: int
    """Misses after which the response answers at once."""
    answers: int
    """1 when an answer is marked and closed."""
    checked: int
    """1 when that answer was tried and found right by the response before it was given."""
