"""Tracking: the record of a trial, and its copies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError

# The experiment of trials that belong to no ablation and no grid.
SINGLE = "trials"


@dataclass(frozen=True)
class Names:
    """Under which a record is published.

    Attributes:
        trial: name of the planned trial; another than the folder's when a record is taken over.
        ablation: the experiment; "" for a trial that belongs to none.
        differing: keys in which the trials of the experiment differ; None for those that the
            record names.
    """

    trial: str
    variant: str
    ablation: str = ""
    differing: tuple[str, ...] | None = None

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.ablation or SINGLE


class Run(Protocol):
    """What the training loop writes to."""

    @property
    def id(self) -> str:
        """Of the record; checkpoints name it."""
        ...

    @property
    def logged_step(self) -> int:
        """Last step that the record has; -1 when it is empty."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step, all or nothing."""
        ...

    def learn(self, facts: Mapping[str, str]) -> None:
        """Write what was found out of where the numbers come from."""
        ...

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        """Write the per-prompt results of an evaluation, before its step."""
        ...

    def warn(self, step: int, sign: str, words: str) -> bool:
        """Keep a warning; False where one of that sign is kept already."""
        ...

    def stop(self, error: HarnessError) -> None:
        """Say from beside the trial why it is ended; its process ends next."""
        ...

    def finish(self) -> None:
        """Say that the trial has its result."""
        ...


class Tracking(Protocol):
    """A tracking config: where records are published."""

    def check(self, runs: Path) -> None:
        """Refuse settings that only half apply, before anything is made."""
        ...

    def prepare(self, runs: Path, experiment: str) -> None:
        """Make the store and the experiment, before any trial starts."""
        ...

    def publish(self, folder: Path, runs: Path, names: Names) -> None:
        """Make the copy of the record in a folder complete; again and again is the same as once."""
        ...

    def follow(self, folder: Path, runs: Path, names: Names) -> "Copy":
        """A copy that is kept up while the trial runs."""
        ...


class Copy(Protocol):
    """The published copy of a trial that runs."""

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        """One more step."""
        ...
