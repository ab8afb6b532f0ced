"""The file of a manifest: one revision per line, each sealed by hash and chained to the one before.

It is only ever appended to. A kill in the middle of that leaves a last line without an end, which
was never printed or put on a run; it does not count and is cut off by the next to write.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.fixed import plain, read
from analysis.manifest import Manifest
from harness import checks
from harness.config import digest
from harness.errors import ConfigError

SHORT = 8  # characters of a seal that are shown; the whole one stands in the file and on every run


@dataclass(frozen=True)
class History:
    """A manifest's file as read.

    Attributes:
        revisions: oldest first; never empty where a report is made.
        problems: what does not verify, in words; empty for a file that is as it was written.
        end: bytes of the file that are whole lines.
        cut: whether something that is no whole line follows them.
    """

    revisions: list[Manifest]
    problems: list[str]
    end: int = 0
    cut: bool = False

    @property
    def trials(self) -> set[str]:
        """Every trial that some revision plans."""
        return {job.trial for manifest in self.revisions for job in manifest.jobs}


def manifest_path(runs: Path, name: str) -> Path:
    """Where the manifest of an ablation or grid is.

    Raises:
        ConfigError: the name is no folder's name.
    """
    checks.name("the name of an ablation or grid", name)
    return runs / "sweeps" / name / "manifest.jsonl"


def sealed(data: dict[str, Any]) -> str:
    """sha256 over the canonical JSON of a revision, whatever its own `seal` says."""
    return digest({key: value for key, value in data.items() if key != "seal"})


def line(manifest: Manifest) -> bytes:
    """A revision as it stands in the file."""
    return json.dumps(plain(manifest), separators=(",", ":")).encode() + b"\n"


def read_history(path: Path) -> History:
    """Every revision of a manifest; no file is no revision.

    Raises:
        ConfigError: the file cannot be read, or holds what no sweep has written; one line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return History([], [])
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; make it readable") from error
    *whole, rest = content.split(b"\n")
    if rest and _parsed(rest) is not None:  # only the end of the line is missing
        whole, rest = [*whole, rest], b""
    revisions: list[Manifest] = []
    problems: list[str] = []
    for number, text in enumerate(whole, start=1):
        manifest, stated = _revision(path, number, text)
        problems += _doubts(manifest, stated, number, revisions[-1].seal if revisions else "")
        revisions.append(manifest)
    return History(revisions, problems, len(content) - len(rest), bool(rest))


def _parsed(text: bytes) -> Any:
    """JSON data, or None where there is none; a beginning of an object is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _revision(path: Path, number: int, text: bytes) -> tuple[Manifest, dict[str, Any]]:
    data = _parsed(text)
    try:
        manifest: Manifest = read(Manifest, data)
    except ConfigError as error:
        reason = "no JSON" if data is None and text.strip() != b"null" else str(error)
        raise ConfigError(
            f"{path} line {number} is no revision of a manifest ({reason}); put back a copy of "
            f"the file, or move it away: the sweep's command then plans anew"
        ) from error
    return manifest, data


def _doubts(manifest: Manifest, stated: dict[str, Any], number: int, before: str) -> list[str]:
    """What of one revision does not verify."""
    found = []
    if manifest.seal != sealed(stated):
        found.append(
            f"revision {number} was edited after it was written: seal {manifest.seal[:SHORT]} is "
            f"not that of its content"
        )
    if manifest.revision != number or manifest.previous != before:
        found.append(
            f"revision {number} does not follow the one before: it names "
            f"{manifest.previous[:SHORT] or 'none'}, there is {before[:SHORT] or 'none'}"
        )
    return found


def read_revisions(runs: Path, name: str) -> History:
    """The manifest that the sweep wrote before its first trial, with all its revisions.

    Raises:
        ConfigError: there is none, and which there are; or the file holds something else.
    """
    path = manifest_path(runs, name)
    history = read_history(path)
    if not history.revisions:
        found = sorted(p.parent.name for p in (runs / "sweeps").glob("*/manifest.jsonl"))
        what = "holds no whole revision" if path.exists() else "does not exist"
        raise ConfigError(
            f"a report needs the manifest of its sweep, {path} {what}; "
            f"run the ablation or grid first or pass --runs; valid: {', '.join(found) or 'none'}"
        )
    return history


def seals(runs: Path) -> dict[str, str]:
    """Seal of every revision under `runs` -> name of its ablation or grid; damaged ones left out.

    A damaged manifest of another question is that question's business.
    """
    found = {}
    for path in sorted((runs / "sweeps").glob("*/manifest.jsonl")):
        try:
            revisions = read_history(path).revisions
        except ConfigError:
            continue
        found.update({manifest.seal: path.parent.name for manifest in revisions})
    return found
