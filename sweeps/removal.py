"""Take trials away: checkpoints, record and copy together; a record that others use stays."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.revisions import manifest_path, read_history
from harness.errors import ConfigError
from harness.machine import files
from harness.tracking import reports
from harness.tracking.listening import HOME
from harness.tracking.mlflow import forget
from harness.tracking.record import LOCK
from sweeps.driver import drivers, told
from sweeps.journal import FILE, Journal
from sweeps.overview import names
from sweeps.words import counted

# Below the output folder; one folder a report.
REPORTS = "reports"
# What a trial's folder is called; not `..`, which is a folder as well.
TRIAL = r"[\w=+-][\w.=+-]*"


@dataclass(frozen=True)
class Removal:
    """What a name stands for.

    Attributes:
        folders: of trials' records and checkpoints.
        others: what else belongs to the name: a plan and its report.
        kept: folders that another sweep uses, with its name.
        unread: why the plan says nothing of its trials, which then stay; "" where it does.
    """

    folders: list[Path]
    others: list[Path]
    kept: dict[Path, str]
    unread: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(size(path) for path in (*self.folders, *self.others))


def removal(runs: Path, name: str) -> Removal:
    """Everything of a sweep or of one trial.

    Raises:
        ConfigError: nothing has that name, or one of its trials is running.
    """
    if name in names(runs):
        try:
            own = sorted(set(_records(runs, name)))
        except ConfigError as error:  # which says itself how to get rid of it
            plan = manifest_path(runs, name).parent
            return _undriven(runs, name, Removal([], [plan], {}, str(error)))
        used = {f: other for other in names(runs) if other != name for f in _records(runs, other)}
        folders = [folder for folder in own if folder.is_dir() and folder not in used]
        others = [runs / REPORTS / name, manifest_path(runs, name).parent]
        found = Removal(
            folders, [p for p in others if p.exists()], {f: used[f] for f in used if f in own}
        )
    else:
        folder = runs / "checkpoints" / name
        if not re.fullmatch(TRIAL, name) or not folder.is_dir():
            raise ConfigError(
                f"no sweep and no trial {name!r} under {runs}; sweeps: "
                f"{', '.join(names(runs)) or 'none'}; trials are the folders of checkpoints/"
            )
        found = Removal([folder], [], {})
    return _undriven(runs, name, found)


def _undriven(runs: Path, name: str, found: Removal) -> Removal:
    """The same, if nobody works on it."""
    for sweep in _sweeps_of(runs, name):
        if there := drivers(runs, sweep):
            raise ConfigError(
                f"{sweep} is driven by {told(there)}; end that first: python -m sweeps cancel "
                f"{sweep}"
            )
    if running := [f.name for f in found.folders if files.held(f / LOCK)]:
        raise ConfigError(f"{name}: {', '.join(running)} runs now; wait for it or end its process")
    return found


def _sweeps_of(runs: Path, name: str) -> list[str]:
    """The sweep of a name, or those that count on a trial of it."""
    found = names(runs)
    if name in found:
        return [name]
    return [sweep for sweep in found if runs / "checkpoints" / name in _records(runs, sweep)]


def remove(runs: Path, found: Removal) -> None:
    """Carry it out; a plan goes last, so that what a kill leaves still has its name."""
    for folder in found.folders:
        with files.locked(folder / LOCK, 0):
            forget(runs, folder.name)
            for told in runs.glob(f"{HOME}/*/{folder.name}"):
                files.remove(told)
            files.remove(folder)
    for path in found.others:
        if path.parent.name == REPORTS:
            reports.forget(path.parents[1], path.name)
        files.remove(path)


def usage(runs: Path) -> Iterator[tuple[str, int, str]]:
    """(what, bytes, what it is for) of everything in an output folder that takes room."""
    planned: set[Path] = set()
    for name in names(runs):
        try:
            folders = set(_records(runs, name)) - planned
        except ConfigError:
            yield name, 0, f"its plan cannot be read: python -m sweeps status {name}"
            continue
        planned |= folders
        yield (
            name,
            sum(map(size, folders)),
            f"{counted(len(folders), 'trial')}; python -m sweeps rm {name}",
        )
    single = [path for path in runs.glob("checkpoints/*") if path.is_dir() and path not in planned]
    if single:
        yield "single trials", sum(map(size, single)), "python -m sweeps rm TRIAL"
    for name, meaning in (
        ("models", "base models; made or hashed again when they are needed"),
        ("reference_scores", "responses of base models; sampled again when they are needed"),
        ("base_evaluations", "evaluations of base models; made again when they are needed"),
        (REPORTS, "python -m analysis report NAME writes them again"),
        (HOME, "what listeners wrote of trials; a trial's goes with it"),
        ("artifacts", "MLflow's copies; published again from the trials' folders"),
        ("mlflow.db", "MLflow's copies; published again from the trials' folders"),
    ):
        if (runs / name).exists():
            yield name, size(runs / name), meaning


def size(path: Path) -> int:
    """Bytes of a file or of all files in a folder; what a link leads to does not count."""
    inner: Sequence[Path] = [path] if path.is_file() else list(path.rglob("*"))
    return sum(each.lstat().st_size for each in inner if each.is_file())


def _records(runs: Path, name: str) -> Iterator[Path]:
    """Folders that some revision of a plan, or some attempt of a tuning, uses."""
    if (path := manifest_path(runs, name).with_name(FILE)).exists():
        tried = {made.trial for a in Journal(path).attempts for made in a.proposed.values()}
        yield from (runs / "checkpoints" / trial for trial in sorted(tried))
    for manifest in read_history(manifest_path(runs, name)).revisions:
        yield from (runs / "checkpoints" / job.record for job in manifest.jobs)
