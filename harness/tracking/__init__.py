"""Tracking: where the numbers of a trial go."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from harness.config import TrialConfig


class Run(Protocol):
    """The record of one trial."""

    logged_step: int
    """Last step that the record has; -1 when it is empty."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step, all or nothing."""
        ...

    def text(self, name: str, text: str) -> None:
        """Write a text beside the numbers, once."""
        ...

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        """Write the per-prompt results of an evaluation, once."""
        ...


class Tracking(Protocol):
    """A tracking config."""

    def prepare(self, config: TrialConfig, runs: Path) -> None:
        """Make the store, before any trial starts."""
        ...

    def run(
        self, config: TrialConfig, runs: Path, facts: Mapping[str, str]
    ) -> AbstractContextManager[Run]:
        """The trial's record, continued when there is one; closed with the right status."""
        ...

    def forget(self, config: TrialConfig, runs: Path) -> None:
        """Drop the trial's record, for a fresh start."""
        ...

    def settle(self, config: TrialConfig, runs: Path) -> None:
        """Close the record of a finished trial whose process was killed before it could."""
        ...
