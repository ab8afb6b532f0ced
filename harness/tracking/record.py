"""The record of a trial: its folder. MLflow's runs are copies of it.

`record.jsonl` is append-only, one event a line: an attempt starts, a step with its metrics, an
attempt ends. `tables/` holds the per-prompt results of evaluations, `trial.json` the config,
`identity.json` what else decides the numbers. Read as data: nothing that a file names is imported,
and a link that leads out of the folder is no part of it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from harness.machine.files import held

RECORD, CONFIG, IDENTITY, TABLES, LOCK = (
    *("record.jsonl", "trial.json", "identity.json", "tables", "lock"),
)
# Texts that belong to a record, beside the tables.
TEXTS = ("prompt.txt", "prompt_tokens.txt")
# The year 3000: what is later was no clock's.
LATEST_MS = 32_503_680_000_000
# A step that has this metric has a table as well.
EVALUATED = "eval/accuracy"


class Status(Enum):
    """What became of a trial."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    RUNNING = "RUNNING"
    INTERRUPTED = "INTERRUPTED"
    """Nobody works on it, and its last process could not say why it ended."""


@dataclass(frozen=True)
class Step:
    """One recorded step: when (ms since 1970) and what."""

    time_ms: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Record:
    """A trial's folder, as it was when it was read.

    Attributes:
        id: made with the record; a trial that is started over gets another.
        config: plain data of `trial.json`; empty when it cannot be read.
        identity: hash of what the trial is by content; "" when it is not known.
        seal: of the manifest that had planned the trial when it first started; "" without one.
        attempts: how often it was started.
        facts: what the newest attempt said of where it ran, and what any found out on the way.
        steps: by number, without gaps from 0.
        tables: of the evaluations among the steps.
        started_ms, ended_ms: of the first attempt's start and the last one's end.
        error: why the last attempt ended, in one line.
        warnings: signs that something went wrong while it ran -> what was said of each.
        accepted: identities under which a finished result was kept although it is another's -> what
            had changed.
    """

    folder: Path
    id: str
    config: dict[str, Any]
    identity: str
    seal: str
    attempts: int
    facts: dict[str, str]
    steps: dict[int, Step]
    tables: dict[int, Path]
    texts: list[Path]
    status: Status
    started_ms: int | None
    ended_ms: int | None
    error: str
    warnings: dict[str, str]
    accepted: dict[str, list[str]]

    @property
    def last(self) -> int:
        """The newest step before which none is missing; -1 when there is none."""
        return len(self.steps) - 1

    @property
    def finished(self) -> bool:
        """Whether the trial spent its budget and every step of it is here."""
        return self.status is Status.FINISHED


@dataclass
class _Read:
    """What the lines of a record add up to."""

    id: str = ""
    seal: str = ""
    attempts: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    started_ms: int | None = None
    end: dict[str, Any] | None = None
    warnings: dict[str, str] = field(default_factory=dict)
    accepted: dict[str, list[str]] = field(default_factory=dict)

    @property
    def events(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        """What each kind of event adds."""
        return {
            "start": self.start,
            "facts": self.learn,
            "step": self.step,
            "end": self.ended,
            "warning": self.warning,
            "accept": self.accept,
        }

    def start(self, event: dict[str, Any]) -> None:
        if not self.id:
            self.id, self.seal = str(event["id"]), str(event["seal"])
        self.attempts += 1
        self.facts = {str(key): str(value) for key, value in event["facts"].items()}
        self.started_ms = self.started_ms or _time(event)
        self.end = None

    def learn(self, event: dict[str, Any]) -> None:
        self.learned |= {str(key): str(value) for key, value in event["facts"].items()}

    def step(self, event: dict[str, Any]) -> None:
        metrics = {str(key): float(value) for key, value in event["metrics"].items()}
        self.steps[int(event["step"])] = Step(_time(event), metrics)

    def ended(self, event: dict[str, Any]) -> None:
        self.end = {
            "status": Status(event["status"]),
            "time_ms": _time(event),
            "error": str(event["error"]),
            "last": int(event["last"]),
        }

    def warning(self, event: dict[str, Any]) -> None:
        self.warnings.setdefault(str(event["sign"]), str(event["words"]))

    def accept(self, event: dict[str, Any]) -> None:
        self.accepted[str(event["identity"])] = [str(change) for change in event["changes"]]


def read(folder: Path) -> Record | None:
    """The record in a folder; None when there is none.

    A line that is cut or damaged is as if it were not there: the steps after a missing one do not
    count, since a resumed trial makes them again.
    """
    found = _Read()
    for event in _events(folder / RECORD):
        try:
            found.events[event["event"]](event)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue  # damaged
    if not found.id:
        return None
    tables = dict(_tables(folder))
    steps = dict(_gapless(found.steps, tables))
    identity = _plain(folder / IDENTITY)
    return Record(
        folder=folder,
        id=found.id,
        config=_plain(folder / CONFIG),
        identity=str(identity.get("hash", "")),
        seal=found.seal,
        attempts=found.attempts,
        facts=found.facts | found.learned,
        steps=steps,
        tables={step: tables[step] for step in steps if step in tables},
        texts=[folder / name for name in TEXTS if inside(folder / name, folder)],
        status=_status(found, len(steps) - 1, folder),
        started_ms=found.started_ms,
        ended_ms=None if found.end is None else found.end["time_ms"],
        error="" if found.end is None else found.end["error"],
        warnings=found.warnings,
        accepted=found.accepted,
    )


def warnings_after(folder: Path, seen: int) -> tuple[list[str], int]:
    """What a record warned of behind its first bytes, and its whole lines' bytes.

    Args:
        seen: bytes of the record that were read before.
    """
    path = folder / RECORD
    if not inside(path, folder):
        return [], seen
    with path.open("rb") as file:
        file.seek(seen)
        whole = file.read().rpartition(b"\n")[0]
    events = (json.loads(line) for line in whole.splitlines() if b'"warning"' in line)
    return [str(event["words"]) for event in events], seen + len(whole) + bool(whole)


def _time(event: dict[str, Any]) -> int:
    """When, in ms since 1970; raises ValueError for a time that no clock has shown."""
    time_ms = int(event["time_ms"])
    if not 0 <= time_ms < LATEST_MS:
        raise ValueError(time_ms)
    return time_ms


def _status(found: _Read, last: int, folder: Path) -> Status:
    if found.end is None or (found.end["status"] is Status.FINISHED and found.end["last"] != last):
        return Status.RUNNING if held(folder / LOCK) else Status.INTERRUPTED
    status: Status = found.end["status"]
    return status


def _events(path: Path) -> Iterator[dict[str, Any]]:
    if not inside(path, path.parent):
        return
    for line in path.read_bytes().split(b"\n")[:-1]:  # the rest of a line being written
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or deeper than anything is
            continue
        if isinstance(event, dict):
            yield event


def _tables(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in (folder / TABLES).glob("step_*.json"):
        number = re.fullmatch(r"step_(\d+)\.json", path.name)
        if number and inside(path, folder) and set(_plain(path)) == {"columns", "data"}:
            yield int(number[1]), path


def _gapless(steps: Mapping[int, Step], tables: Mapping[int, Path]) -> Iterator[tuple[int, Step]]:
    for number in range(len(steps)):
        step = steps.get(number)
        if step is None or (EVALUATED in step.metrics and number not in tables):
            return
        yield number, step


def _plain(path: Path) -> dict[str, Any]:
    if not inside(path, path.parent):
        return {}
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def homes(checkpoints: Path, trials: Mapping[str, str]) -> dict[str, Path]:
    """The folder that holds the record of each planned trial.

    It is the trial's own where there is a record in it, else that of a finished trial of the same
    identity under another name, which serves one planned trial only; else its own, to be filled.

    Args:
        trials: name of each planned trial -> hash of its identity.
    """
    own = {trial: checkpoints / trial for trial in trials}
    there = {trial for trial, folder in own.items() if inside(folder / RECORD, folder)}
    free: dict[str, list[Path]] = {}
    if len(there) < len(own):
        for path in sorted(checkpoints.glob(f"*/{IDENTITY}")):
            other = read(path.parent) if path.parent.name not in own else None
            if other is not None and other.finished:
                free.setdefault(other.identity, []).append(path.parent)
    found = dict(own)
    for trial, identity in trials.items():
        if trial not in there and free.get(identity):
            found[trial] = free[identity].pop(0)
    return found


def finished_identities(checkpoints: Path) -> set[str]:
    """Hashes of what the finished trials of a folder are, whatever they are called."""
    found = (read(path.parent) for path in checkpoints.glob(f"*/{IDENTITY}"))
    return {record.identity for record in found if record is not None and record.finished}


def inside(path: Path, folder: Path) -> bool:
    """Whether a path is a file that really lies in a folder."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())
