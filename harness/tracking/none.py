"""No tracking: metrics go to the log file only."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig


class NoRun:
    """A record that keeps nothing."""

    logged_step = -1

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing is written."""

    def text(self, name: str, text: str) -> None:
        """Nothing is written."""

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        """Nothing is written."""


@dataclass(frozen=True)
class NoTracking:
    """Switches tracking off; neither mlflow nor its store is touched."""

    def prepare(self, config: TrialConfig, runs: Path) -> None:
        """There is no store."""

    @contextmanager
    def run(self, config: TrialConfig, runs: Path, facts: Mapping[str, str]) -> Iterator[NoRun]:
        yield NoRun()

    def forget(self, config: TrialConfig, runs: Path) -> None:
        """There is no record."""

    def settle(self, config: TrialConfig, runs: Path) -> None:
        """There is no record."""
