"""What became of a sweep, read from its manifest and its trials' folders, from any process."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from analysis.ablation import Job, Manifest
from analysis.revisions import manifest_path, read_history
from harness.errors import ConfigError
from harness.machine import shown
from harness.tracking import record
from harness.tracking.record import Record, Status
from sweeps.journal import FILE, Journal
from sweeps.outcome import as_plan
from sweeps.words import duration

WAITING = "waiting"
BARS = "▁▂▃▄▅▆▇█"
ACCURACY, RATE = "eval/accuracy", "perf/throughput"


@dataclass(frozen=True)
class Row:
    """One planned trial and its record; None before its first start."""

    job: Job
    record: Record | None

    @property
    def state(self) -> str:
        """Its status in small letters, or waiting."""
        return WAITING if self.record is None else self.record.status.value.lower()


def names(runs: Path) -> list[str]:
    """Every sweep of an output folder, the oldest plan first."""
    paths = [*runs.glob("sweeps/*/manifest.jsonl"), *runs.glob(f"sweeps/*/{FILE}")]
    paths.sort(key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in paths]


def newest(runs: Path, name: str) -> Manifest:
    """The newest revision of a sweep's plan.

    Raises:
        ConfigError: there is no such sweep, or its file cannot be read.
    """
    if (path := manifest_path(runs, name).with_name(FILE)).exists():
        return as_plan(Journal(path))
    history = read_history(manifest_path(runs, name))
    if not history.revisions:
        raise ConfigError(
            f"no sweep {name!r} under {runs}; there are: {', '.join(names(runs)) or 'none'}"
        )
    return history.revisions[-1]


def rows(runs: Path, manifest: Manifest) -> list[Row]:
    """The plan's trials in the order in which they start."""
    return [Row(job, record.read(runs / "checkpoints" / job.record)) for job in manifest.jobs]


def counts(trials: Sequence[Row]) -> str:
    """`4 finished, 1 running, 1 waiting`."""
    return ", ".join(f"{n} {state}" for state, n in Counter(row.state for row in trials).items())


def table(trials: Sequence[Row]) -> Table:
    """A row per trial: where it is, what it has measured, how long it will take."""
    made = Table(
        "trial", "state", "step", "budget", "held-out accuracy", "tokens/s", "left", "note"
    )
    for row in trials:
        made.add_row(row.job.trial, row.state, *_cells(row.record))
    return made


def _cells(found: Record | None) -> tuple[str, str, str, str, str, str]:
    if found is None or not found.steps:
        return "", "", "", "", "", "" if found is None else shown.line(found.error)
    last = found.steps[found.last].metrics
    seen = [s.metrics[ACCURACY] for _, s in sorted(found.steps.items()) if ACCURACY in s.metrics]
    share = progress(found)
    rate = f"{last[RATE]:,.0f}" if RATE in last else ""
    left = remaining(found, share) if found.status is Status.RUNNING else ""
    return (
        str(found.last),
        f"{share:.0%}",
        f"{seen[-1]:.3f} ({seen[-1] - seen[0]:+.3f}) {sparkline(seen)}" if seen else "",
        rate,
        left,
        shown.line(found.error),
    )


def progress(found: Record) -> float:
    """Used share of a trial's budget, in 0..1."""
    budget = found.config.get("budget", {})
    last = found.steps[found.last].metrics
    spent = last.get(f"budget/{budget.get('unit')}", 0.0)
    return min(1.0, spent / float(budget.get("amount", "inf")))


def remaining(found: Record, share: float) -> str:
    """What is left at the pace since its first step; "" before there is one."""
    if share <= 0:
        return ""
    first, last = found.steps[0].time_ms, found.steps[found.last].time_ms
    since = time.time() - last / 1000
    return duration(max(0.0, (last - first) / 1000 / share * (1 - share) - since))


def sparkline(values: Sequence[float]) -> str:
    """Values in 0..1 as bars from the smallest to the largest of them."""
    low, high = min(values), max(values)
    width = (high - low) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int((v - low) / width * len(BARS)))] for v in values)
