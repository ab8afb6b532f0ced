"""The record of a tuning: append-only, one event a line, each sealed and chained to the one before.

`runs/sweeps/NAME.tune/tuning.jsonl`. A tuning that is begun anew adds to the same file, so that
its earlier attempts, what they spent and the seeds that they saw stay known. Nothing that the file
names is imported or executed.
"""

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from analysis.fixed import Leaf, plain, read
from analysis.revisions import SHORT, sealed
from harness import checks
from harness.config import Budget
from harness.errors import ConfigError
from harness.machine import files
from harness.stages import Goal, Scheduler, Searcher

SUFFIX, FILE = ".tune", "tuning.jsonl"


class State(Enum):
    """What became of a proposal."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    REPEATED = "repeated"


@dataclass(frozen=True)
class Opened:
    """An attempt begins.

    Attributes:
        best: whether a trial's result is its best evaluation, not its last one.
        spaces: variant -> key -> what is searched.
        identities: variant -> hash of what its trials are made of, at its first values.
    """

    name: str
    question: str
    seed: int
    trials: int
    searcher: Searcher
    goal: Goal
    scheduler: Scheduler
    grace: float
    reduction: float
    at_once: int
    budget: Budget
    metric: str
    best: bool
    spaces: dict[str, dict[str, str]]
    identities: dict[str, str]
    code_hash: str
    command: str
    created: str


@dataclass(frozen=True)
class Proposed:
    """A trial of a variant: its number in the attempt, from 0, and its values."""

    variant: str
    number: int
    values: dict[str, str]
    trial: str


@dataclass(frozen=True)
class Ended:
    """What became of a proposal.

    Attributes:
        value: the primary metric; None where no finite one was measured.
        progress: share of the budget at the evaluation that gave it.
        updates, tokens: that the trial spent.
        reason: why it ended early.
    """

    variant: str
    number: int
    state: State
    value: Leaf
    progress: float
    updates: float
    tokens: float
    reason: str = ""


@dataclass(frozen=True)
class Closed:
    """All trials of all variants have ended: variant -> number of the winner."""

    winners: dict[str, int]


Event = Opened | Proposed | Ended | Closed
KINDS: dict[str, type] = {c.__name__.lower(): c for c in (Opened, Proposed, Ended, Closed)}
Key = tuple[str, int]


@dataclass
class Attempt:
    """One attempt as its events tell it: (variant, number) -> what was proposed, how it ended.

    Attributes:
        seal: of its first line; its trials carry it.
    """

    opened: Opened
    seal: str
    proposed: dict[Key, Proposed] = field(default_factory=dict)
    ended: dict[Key, Ended] = field(default_factory=dict)
    closed: Closed | None = None

    def first(self, trial: str) -> Key | None:
        """The proposal that a trial was first made for."""
        return next((key for key, made in self.proposed.items() if made.trial == trial), None)

    def add(self, event: Event) -> None:
        match event:
            case Proposed():
                self.proposed[event.variant, event.number] = event
            case Ended():
                self.ended[event.variant, event.number] = event
            case Closed():
                self.closed = event


class Journal:
    """A tuning's file, read and added to by the one process that drives it.

    Attributes:
        attempts: the oldest first.
        seal: of the last line; "" without one.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there; no file is no attempt.

        Raises:
            ConfigError: the file cannot be read, was edited, or is no tuning's.
        """
        self.path = path
        self.attempts: list[Attempt] = []
        self.seal = ""
        self.end = 0
        for number, text in enumerate(_lines(path), start=1):
            self._take(text, number)
            self.end += len(text) + 1

    def add(self, event: Event) -> None:
        """Append an event and see it to the disk.

        Raises:
            ConfigError: the file cannot be written.
        """
        data = {"event": type(event).__name__.lower(), "previous": self.seal, **plain(event)}
        seal = sealed(data)
        line = json.dumps({**data, "seal": seal}, separators=(",", ":")).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.append(self.path, line, self.end)
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be written ({error.strerror}); free the disk or set runs to a "
                f"folder that you may write to"
            ) from error
        self.end += len(line)
        self._entered(event, seal)

    def _take(self, text: bytes, number: int) -> None:
        try:
            data = json.loads(text)
            body = {k: v for k, v in data.items() if k not in ("event", "previous", "seal")}
            event: Event = read(KINDS[data["event"]], body)
            whole = data["seal"] == sealed(data) and data["previous"] == self.seal
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(number, "is no event of a tuning") from error
        except ConfigError as error:
            raise self._damaged(number, f"is no event of a tuning ({error})") from error
        if not whole or (not self.attempts and not isinstance(event, Opened)):
            raise self._damaged(number, "was edited, or the line before it is gone")
        self._entered(event, data["seal"])

    def _entered(self, event: Event, seal: str) -> None:
        self.seal = seal
        if isinstance(event, Opened):
            self.attempts.append(Attempt(event, seal))
        else:
            self.attempts[-1].add(event)

    def _damaged(self, number: int, what: str) -> ConfigError:
        return ConfigError(
            f"{self.path} line {number} {what}; put back a copy of the file, or remove the tuning: "
            f"python -m sweeps rm {self.path.parent.name}"
        )


def path_of(runs: Path, name: str) -> Path:
    """Where the record of a tuning is.

    Args:
        name: of the ablation or grid that is tuned.

    Raises:
        ConfigError: the name is no folder's name.
    """
    checks.name("the name of an ablation or grid", name)
    return runs / "sweeps" / f"{name}{SUFFIX}" / FILE


def _lines(path: Path) -> list[bytes]:
    """Whole lines; what a kill left of the last one does not count."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; make it readable") from error


def short(seal: str) -> str:
    """A seal as it is shown."""
    return seal[:SHORT]


def told(opened: Opened) -> dict[str, Any]:
    """What two attempts must share for the second to go on with the first."""
    data: dict[str, Any] = plain(opened)
    return {k: v for k, v in data.items() if k not in ("command", "created", "question")}
