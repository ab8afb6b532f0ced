"""Reports that were built while results were still to come: each was a look at the data.

`runs/sweeps/NAME/looks.jsonl` has one line per look, written by whoever builds a report. A report
on the same results is the same look, so that a report that is built again says the same.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from analysis.fixed import plain, read
from analysis.revisions import manifest_path
from harness.errors import ConfigError
from harness.machine import files

LOOKS, LOCK = "looks.jsonl", "looks.lock"
# Writing a line takes milliseconds; who waits longer waits for a dead disk.
LOCK_WAIT_S = 30.0


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        time: UTC, ISO 8601.
        seal: of the plan that was in force.
        planned: trials of that plan.
        results: trial with a result -> when its run had begun, in ms since 1970. A trial that was
            started over is another one.
    """

    time: str
    seal: str
    planned: int
    results: dict[str, int] = field(default_factory=dict)


def recorded(runs: Path, name: str) -> list[Look]:
    """Every look at an ablation or grid, oldest first; no file is no look.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    path = manifest_path(runs, name).with_name(LOOKS)
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # the rest of a line being written
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; make it readable") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(read(Look, json.loads(line)))
        except (ValueError, RecursionError, ConfigError) as error:
            reason = error if isinstance(error, ConfigError) else "no JSON"
            raise ConfigError(
                f"{path} line {number} is no look at results ({reason}); put back a copy of it"
            ) from error
    return found


def noted(runs: Path, name: str, seal: str, planned: int, results: dict[str, int]) -> list[Look]:
    """All looks at an ablation or grid, with one at these results, which is written if it is new.

    Args:
        seal, planned, results: see Look.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    path = manifest_path(runs, name).with_name(LOOKS)
    with files.locked(path.with_name(LOCK), LOCK_WAIT_S):
        before = recorded(runs, name)
        if any(look.results == results for look in before):
            return before
        look = Look(datetime.now(UTC).isoformat(timespec="seconds"), seal, planned, results)
        try:
            whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
            line = json.dumps(plain(look), separators=(",", ":")).encode() + b"\n"
            files.append(path, line, whole)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror}); a report before the last result is "
                f"a look at the data and is noted down there: free the disk, or make it writable"
            ) from error
        return [*before, look]
