"""What stands against a study, in the order of its weight."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    """Findings about one question of trust.

    Attributes:
        grave: what takes the worth of its claims away.
        slight: what leaves it, and a reader has to know.
        fact: what holds when there is neither.
    """

    grave: list[str]
    slight: list[str]
    fact: str
