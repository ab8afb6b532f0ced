"""`python -m harness.exercises check FILE`: is what I wrote right, and if not, what is wrong?

FILE is a notebook of analysis/notebooks/course (save it first), or a .py file. Its functions are
called with the numbers that the harness's own must reproduce. Exit code 0 if all are right, 1 if
one is not, 2 if the request is wrong.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from harness.errors import ConfigError
from harness.exercises import source
from harness.exercises.source import Source
from harness.machine import shown, terminal

# The learner's functions take milliseconds; importing torch may take long on a busy machine.
SECONDS, IMPORT_SECONDS = 10.0, 120.0
GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
RIGHT, WRONG = "right", "not right"


@dataclass(frozen=True)
class Line:
    """What is said of one function."""

    name: str
    state: str
    why: str
    shown: str = ""


def check(path: Path, golden: Path, seconds: float) -> list[Line]:
    """Judge the exercises in a file.

    Args:
        golden: folder of the golden files.
        seconds: that one function may take.

    Raises:
        ConfigError: no such file, no exercise in it, it cannot be imported, or no golden data.
    """
    written = source.read(path)
    if not (golden / "gae.json").is_file():
        raise ConfigError(
            f"the golden data is not in {str(golden)!r}; it lies in tests/golden of a clone of the "
            f"project: name that folder with --golden DIR"
        )
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "learner.py"
        module.write_text(written.text, encoding="utf-8")
        command = [str(module), str(golden.resolve()), ",".join(written.functions)]
        with closing(_events(command, seconds)) as events:
            return list(_lines(path, written, events, seconds))


def _events(arguments: list[str], seconds: float) -> Generator[list[Any], None, None]:
    """What the other process says; it is killed where it is silent for too long."""
    command = [sys.executable, "-m", "harness.exercises.child", *arguments]
    limit = IMPORT_SECONDS
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, preexec_fn=_deaf) as child:
        assert child.stdout is not None
        timer = Timer(limit, child.kill)
        timer.start()
        try:
            for line in child.stdout:
                timer.cancel()
                event, content = json.loads(line)
                yield [event, content]
                limit = seconds if event == "imported" else limit
                timer = Timer(limit, child.kill)
                timer.start()
        finally:
            timer.cancel()
            child.kill()


def _deaf() -> None:
    """Ctrl-C is the command's, which then ends the other process without its traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _lines(
    path: Path, written: Source, events: Iterator[list[Any]], seconds: float
) -> Iterator[Line]:
    """One line per function; where the process ends early, its last function is to blame."""
    name, imported = "", False
    for event, content in events:
        if event == "valid":
            _check_names(path, written, content)
        elif event == "broken":
            raise ConfigError(f"{str(path)!r} cannot be imported: {_at(written, content)}")
        elif event == "imported":
            imported = True
        elif event == "begins":
            name = content
        else:
            raised = event == "raised"
            said = (WRONG, f"it raises {_at(written, content)}", "") if raised else content
            yield Line(name, *said)
            name = ""
    if name:
        yield Line(
            name,
            WRONG,
            f"it did not return within {seconds:g} s, or ended the process: is there a loop that "
            f"never ends? What comes after it was not checked",
        )
    elif not imported:
        raise ConfigError(f"{str(path)!r} cannot be imported: it ended the process, or never ends")


def _check_names(path: Path, written: Source, valid: list[str]) -> None:
    if not set(valid) & set(written.functions):
        had = shown.shortened(", ".join(written.functions) or "none", 200)
        raise ConfigError(
            f"{str(path)!r} must have a function of the course, received {had}; "
            f"valid: {', '.join(valid)}"
        )


def _at(written: Source, raised: Sequence[Any]) -> str:
    said, line = raised
    return f"{said} ({written.place(line)})" if line else str(said)


def run(argv: Sequence[str] | None = None) -> int:
    """Print a line per function, and a summary."""
    about = (__doc__ or "").split("\n\n")[0]
    parser = terminal.Parser(prog="python -m harness.exercises", description=about)
    parser.add_argument("action", choices=["check"], help="judge the functions in FILE")
    parser.add_argument("file", metavar="FILE", type=Path, help="a notebook, or a .py file")
    parser.add_argument(
        "--golden", metavar="DIR", type=Path, default=GOLDEN, help="folder of <op>.json files"
    )
    arguments = parser.parse_args(argv)
    lines = check(arguments.file, arguments.golden, SECONDS)
    console = terminal.console()
    for line in lines:
        console.print(f"{line.name:<20} {line.state}: {shown.line(line.why)}")
        if line.shown:
            console.print(f"{'':<20} {shown.line(line.shown)}")
    right = sum(line.state == RIGHT for line in lines)
    console.print(f"{right} of {len(lines)} right")
    return 0 if right == len(lines) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command: 0 all are right, 1 one is not, 2 the request is wrong, 130 after Ctrl-C."""
    try:
        return run(argv)
    except ConfigError as error:
        terminal.complain(error)
        return 2
    except KeyboardInterrupt:
        terminal.remark("stopped")
        return 130
