"""Partial credit for the process: the A*-PO seed's graded reward.

    1.0  correct, well formed, good reasoning        0.5  correct only
    0.8  correct, well formed, weak reasoning        0.3  wrong, well formed, a reasoning attempt
    0.6  correct, good reasoning, not well formed    0    anything else

Here a correct answer is always marked and closed, for nothing else is graded. A response is well
formed when, beyond that, its work is closed before the answer: `</think>` stands before the last
`<answer>`. Templates without tags ask for no more than the marked answer.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch

from harness import checks
from harness.tasks.working import Fact, facts
from harness.types import Grade, Graded, Scores


def work(response: str) -> str:
    """What stands before the answer's tag, or the whole response without one."""
    before, tag, _ = response.rpartition("<answer>")
    return before if tag else response


def well_formed(response: str, grade: Grade) -> bool:
    """A marked and closed answer, after work that is closed."""
    before, tag, _ = response.rpartition("<answer>")
    return grade.formatted and (not tag or "</think>" in before)


def reasoning_attempt(found: tuple[Fact, ...]) -> bool:
    """At least one arithmetic statement `expression = number` in the work."""
    return bool(found)


def good_reasoning(found: tuple[Fact, ...]) -> bool:
    """At least one arithmetic statement in the work, and all of them true."""
    return bool(found) and all(fact.right for fact in found)


@dataclass(frozen=True)
class PartialCredit:
    """The table above.

    Attributes:
        reasoned: correct, well formed, good reasoning.
        correct: correct, well formed, weak reasoning.
        unformed: correct, good reasoning, not well formed.
        bare: correct only.
        attempted: wrong, well formed, a reasoning attempt.
    """

    reasoned: float = 1.0
    correct: float = 0.8
    unformed: float = 0.6
    bare: float = 0.5
    attempted: float = 0.3

    def __post_init__(self) -> None:
        falling = (self.reasoned, self.correct, self.unformed, self.bare, self.attempted, 0.0)
        steps = zip(self.__dataclass_fields__, pairwise(falling), strict=True)
        for name, (value, least) in steps:
            checks.at_least(f"reward.{name}", value, least)

    def value(self, response: str, grade: Grade) -> float:
        """Reward of one graded response."""
        formed, found = well_formed(response, grade), facts(work(response))
        if not grade.correct:
            return self.attempted if formed and reasoning_attempt(found) else 0.0
        if good_reasoning(found):
            return self.reasoned if formed else self.unformed
        return self.correct if formed else self.bare

    def score(self, graded: Graded) -> Scores:
        rows = zip(graded.rollout.texts, graded.grades, strict=True)
        values = [self.value(response, grade) for response, grade in rows]
        return Scores(rewards=torch.tensor(values, dtype=torch.float64))
