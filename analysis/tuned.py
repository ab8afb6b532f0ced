"""What a tuning found and what it cost, as the plan that confirms it states it."""

import re
from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True)
class Tuned:
    """The tuning of one variant, over all its attempts unless said otherwise.

    Attributes:
        space: key -> what was searched, as it was written; of the last attempt.
        values: key -> value of the winner, as Hydra reads it.
        winner: number of the winning trial, from 0; of the last attempt.
        trial: its name.
        result: its primary metric.
        trials: proposed ones; each spent at most `ceiling`.
        finished, stopped, failed, repeated: what became of them: spent the whole budget, were
            stopped early by the scheduler, failed, or had the values of an earlier one and did not
            run again.
        ceiling: budget of one trial, in words; one for each attempt that had another.
        updates, tokens: spent by all of them.
        seeds: that they trained on.
        searcher, scheduler: in words; of the last attempt.
        attempts: how often the tuning was begun anew.
        seal: of the last line of the tuning's record.
        code_hash: sha256 over the sources that the last attempt ran.
        command: that tuned.
    """

    variant: str
    space: dict[str, str]
    values: dict[str, str]
    winner: int
    trial: str
    result: float
    trials: int
    finished: int
    stopped: int
    failed: int
    repeated: int
    ceiling: list[str]
    updates: float
    tokens: float
    seeds: list[int]
    searcher: str
    scheduler: str
    attempts: int
    seal: str
    code_hash: str
    command: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.seal):
            raise ConfigError(f"a seal is a sha256 in hexadecimal, received {self.seal!r}")
