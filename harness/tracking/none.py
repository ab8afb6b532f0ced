"""No tracking: the trial's folder is all there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.tracking import Names


class NoCopy:
    """A copy that is not made."""

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        """Nothing is written."""


@dataclass(frozen=True)
class NoTracking:
    """Publishes nothing; neither mlflow nor its store is touched."""

    def check(self, runs: Path) -> None:
        """There are no settings."""

    def prepare(self, runs: Path, experiment: str) -> None:
        """There is no store."""

    def publish(self, folder: Path, runs: Path, names: Names) -> None:
        """There is no store."""

    def follow(self, folder: Path, runs: Path, names: Names) -> NoCopy:
        return NoCopy()
