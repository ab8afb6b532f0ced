"""What became of a sweep, read from its manifest and its trials' folders, from any process.

The live view and `python -m sweeps status` both show what is read here, so that they agree.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.manifest import Job, Manifest
from analysis.revisions import manifest_path, read_history
from harness.errors import ConfigError
from harness.machine import files
from harness.tracking import record
from harness.tracking.record import LOCK, RECORD, Record, Status
from sweeps import driver, remaining
from sweeps.journal import FILE, Journal
from sweeps.outcome import as_plan
from sweeps.words import counted

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"
# The order in which states are counted.
STATES = (FINISHED, RUNNING, WAITING)


@dataclass(frozen=True)
class Row:
    """One planned trial and its record; None before its first start.

    Attributes:
        state: its status in small letters, or waiting: for its first start, or for another one.
    """

    job: Job
    record: Record | None
    state: str

    @property
    def continues(self) -> bool:
        """Whether there is a checkpoint from which the same command goes on."""
        return self.record is not None and has_checkpoint(self.record.folder)


@dataclass(frozen=True)
class Seen:
    """A sweep at one moment.

    Attributes:
        left: seconds to its end; None while nobody can say.
    """

    name: str
    rows: list[Row]
    left: float | None

    @property
    def share(self) -> float:
        """Of all budgets, what is spent; a trial that failed for good is done as well."""
        return sum(map(_done, self.rows)) / max(1, len(self.rows))

    def of(self, *states: str) -> list[Row]:
        """The rows in one of these states."""
        return [row for row in self.rows if row.state in states]

    @property
    def counts(self) -> str:
        """`4 finished, 1 running, 1 waiting`; others, such as failed, come last."""
        found = Counter(row.state for row in self.rows)
        order = [*STATES, *sorted(set(found) - set(STATES))]
        return ", ".join(f"{found[state]} {state}" for state in order if state in found)


class Look:
    """Reads a sweep again and again; what cannot have changed is read once."""

    def __init__(self, runs: Path, name: str) -> None:
        """Of the newest plan of a name.

        Raises:
            ConfigError: there is no such sweep, or its file cannot be read.
        """
        self.runs, self.name = runs, name
        self.stamp = _stamp(plan_path(runs, name))
        self.manifest = newest(runs, name)
        self.kept: dict[Path, tuple[tuple[int, int], Record]] = {}

    def __call__(self) -> Seen:
        """How it stands now."""
        stamp = _stamp(plan_path(self.runs, self.name))
        if stamp != self.stamp:  # another revision
            self.stamp, self.manifest = stamp, newest(self.runs, self.name)
        since = driver.since(self.runs, self.name)
        rows = [self._row(job, since) for job in self.manifest.called_jobs]
        running = [row.record for row in rows if row.state == RUNNING]
        waiting = [row.record for row in rows if row.state == WAITING]
        ended = [row.record for row in rows if row.state not in (RUNNING, WAITING)]
        driven = since is not None
        seconds = remaining.sweep_left(running, waiting, ended, time.time(), driven)
        return Seen(self.name, rows, seconds)

    def record(self, name: str) -> Record | None:
        """The record in a folder of `checkpoints`."""
        folder = self.runs / "checkpoints" / name
        stamp = _stamp(folder / RECORD)
        if stamp is None:
            return None
        before = self.kept.get(folder)
        if before is not None and before[0] == stamp:
            alive = before[1].status is not Status.RUNNING or files.held(folder / LOCK)
            if alive and before[1].status is not Status.INTERRUPTED:
                return before[1]
        found = record.read(folder)
        if found is not None:
            self.kept[folder] = stamp, found
        return found

    def _row(self, job: Job, since_ms: float | None) -> Row:
        found = self.record(job.record)
        if found is None or _before(found, since_ms):
            return Row(job, found, WAITING)
        return Row(job, found, found.status.value.lower())


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _before(found: Record, since_ms: float | None) -> bool:
    """Whether a trial ended without a result before its sweep's driver began: its turn comes."""
    if since_ms is None or found.status in (Status.FINISHED, Status.RUNNING):
        return False
    newest_ms = found.steps[found.last].time_ms if found.steps else found.started_ms or 0
    return (found.ended_ms or newest_ms) < since_ms


def _done(row: Row) -> float:
    if row.state in (FINISHED, FAILED):
        return 1.0
    return 0.0 if row.record is None else remaining.used(row.record)


def has_checkpoint(folder: Path) -> bool:
    """Whether a trial left something to continue from; it is looked into when it is loaded."""
    return any(folder.glob("step_*/"))


def names(runs: Path) -> list[str]:
    """Every sweep of an output folder, the oldest plan first, then those that are being planned."""
    paths = [*runs.glob("sweeps/*/manifest.jsonl"), *runs.glob(f"sweeps/*/{FILE}")]
    planned = [path.parent.name for path in sorted(paths, key=lambda path: path.stat().st_mtime)]
    driven = {path.parent.name for path in runs.glob(f"sweeps/*/{driver.PREFIX}*")}
    return planned + sorted(n for n in driven - set(planned) if driver.drivers(runs, n))


def plan_path(runs: Path, name: str) -> Path:
    """The file that says what a sweep does: a tuning's journal, or the manifest."""
    manifest = manifest_path(runs, name)
    journal = manifest.with_name(FILE)
    return journal if journal.exists() else manifest


def planned(runs: Path, name: str) -> bool:
    """Whether a sweep has a plan; without one it is being prepared, or there is none.

    Raises:
        ConfigError: there is no such sweep.
    """
    if plan_path(runs, name).exists():
        return True
    if not driver.drivers(runs, name):
        raise ConfigError(
            f"no sweep {name!r} under {runs}; there are: {', '.join(names(runs)) or 'none'}"
        )
    return False


def newest(runs: Path, name: str) -> Manifest:
    """The newest revision of a sweep's plan.

    Raises:
        ConfigError: there is no such sweep, or its file cannot be read.
    """
    path = plan_path(runs, name)
    if not path.exists():
        raise ConfigError(
            f"no sweep {name!r} under {runs}; there are: {', '.join(names(runs)) or 'none'}"
        )
    if path.name == FILE:
        journal = Journal(path)
        if journal.attempts:
            return as_plan(journal)
    elif revisions := read_history(path).revisions:
        return revisions[-1]
    raise ConfigError(
        f"sweep {name!r}: {path} ends in its first line, so that nothing is planned; the sweep's "
        f"own command plans it anew"
    )


def cancelled(rows: Sequence[Row]) -> str:
    """What the same command does with trials that are stopped."""
    goes_on = sum(row.continues for row in rows)
    anew = len(rows) - goes_on
    parts = [f"continues {counted(goes_on, 'trial')} at the last checkpoint"] * (goes_on > 0)
    parts += [f"begins {counted(anew, 'trial')} anew, of which there is no checkpoint"] * (anew > 0)
    return f"the same command {' and '.join(parts) or 'runs what is left'}"
