"""What every kind of store yields, as it is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

ACTIVE, DELETED = "active", "deleted"


@dataclass(frozen=True)
class Experiment:
    """One experiment of a store; `lifecycle` is ACTIVE or DELETED."""

    id: str
    name: str
    lifecycle: str


@dataclass(frozen=True)
class Run:
    """One run of a store.

    Attributes:
        status: MLflow's word.
        started_ms, ended_ms: since 1970; None where it has none.
        uri: where its artifacts are.
        experiment: name of its experiment.
        lifecycle: ACTIVE or DELETED.
    """

    id: str
    name: str
    status: str
    started_ms: int | None
    ended_ms: int | None
    uri: str
    experiment: str
    lifecycle: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """A store that is open for reading."""

    def experiments(self) -> list[Experiment]:
        """All of them, deleted ones included."""
        ...

    def runs(self, experiment: Experiment) -> list[Run]:
        """All runs of an experiment, deleted ones included."""
        ...

    def points(self, runs: Sequence[Run]) -> Iterator[pl.DataFrame]:
        """For each run in turn its whole history, columns `columns.RAW`, in any order."""
        ...
