"""`python -m harness.data TASK --out FILE.parquet [KEY=VALUE ...]`: a task as a file.

Both sets of a task of conf/task in TinyZero's row schema (harness.tasks.rows), for other trainers.
A Countdown file can be read back: `task=countdown task.source=FILE.parquet`.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.cli import EXIT_USER_ERROR, composed
from harness.errors import ConfigError
from harness.machine import terminal
from harness.tasks import rows

USAGE = "usage: python -m harness.data TASK --out FILE.parquet [KEY=VALUE ...]"


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    try:
        name, out, overrides = _parsed(argv)
        task = composed([f"task={name}", "tracking=none", *overrides]).task
        records = rows.records(task)
        rows.write(out, records)
    except ConfigError as error:
        terminal.complain(error)
        return EXIT_USER_ERROR
    console = terminal.console()
    console.print(f"{out}: {len(task.pool())} training and {len(task.held_out())} held-out rows")
    console.print(f"digest {task.digest}")
    return 0


def _parsed(argv: Sequence[str]) -> tuple[str, Path, list[str]]:
    """Task, file and overrides of a command line, in any order."""
    rest = list(argv)
    out = ""
    if "--out" in rest[:-1]:
        at = rest.index("--out")
        out = rest[at + 1]
        del rest[at : at + 2]
    names = [word for word in rest if "=" not in word]
    if len(names) != 1 or names[0].startswith("-") or not out:
        raise ConfigError(f"name one task and one file, received {' '.join(argv)!r}; {USAGE}")
    if Path(out).suffix != ".parquet":
        raise ConfigError(f"--out must end in .parquet, received {out!r}")
    return names[0], Path(out), [word for word in rest if "=" in word]
