"""`python -m sweeps COMMAND`: see and steer the sweeps of an output folder, from any terminal.

list                what was planned here, and what became of it
status NAME         every trial of a sweep: step, accuracy, speed, what is left, why it failed
cancel NAME         what Ctrl-C does in the sweep's own terminal
retry NAME          what has no result, with --failed what has failed alone: the sweep's own command
                    again, in this folder, from the last checkpoints
rm NAME|TRIAL       a sweep with its trials, plan and report, or one trial; asks first
du                  what takes room, and what can go
"""

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis import deciding
from harness.errors import ConfigError, StoreError
from harness.machine import shown, terminal
from harness.tracking.address import address, store_path
from sweeps import again, driver, overview, screen
from sweeps.removal import removal, remove, usage
from sweeps.words import counted

USER_ERROR = 2
FAILED = 1
MEGA = 1e6
# Of a sweep without a plan.
PREPARED = "being prepared: base model, checks, plan"


def main(arguments: list[str] | None = None) -> int:
    """Exit code of the command; errors of the user are one line on stderr."""
    console = terminal.console()
    try:
        options = _options(arguments)
        runs = options.runs.expanduser().absolute()
        match options.command:
            case "list":
                _list(runs, console)
            case "status":
                _status(runs, options.name, console)
            case "cancel":
                _cancel(runs, options.name, console)
            case "retry":
                _retry(runs, options.name, options.failed, console)
            case "rm":
                _rm(runs, options.name, options.yes, console)
            case "du":
                _du(runs, console)
    except ConfigError as error:
        terminal.complain(error)
        return USER_ERROR
    except StoreError as error:
        terminal.complain(error)
        return FAILED
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = terminal.Parser(
        prog="python -m sweeps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("list", "status", "cancel", "retry", "rm", "du"):
        each = commands.add_parser(name)
        each.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all output")
        if name in ("status", "cancel", "retry", "rm"):
            each.add_argument("name", help="of a sweep" + " or a trial" * (name == "rm"))
        if name == "retry":
            each.add_argument("--failed", action="store_true", help="what has failed alone")
        if name == "rm":
            each.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)


def _list(runs: Path, console: Console) -> None:
    table = Table("sweep", "trials", "planned", "driven by")
    for name in overview.names(runs):
        there = driver.told(driver.drivers(runs, name))
        if not overview.planned(runs, name):
            table.add_row(name, PREPARED, "", there)
            continue
        try:
            seen = overview.Look(runs, name)
        except ConfigError as error:  # the others can be read
            table.add_row(name, str(error), "", there)
            continue
        table.add_row(name, seen().counts, seen.manifest.created[:16].replace("T", " "), there)
    if not table.rows:
        raise ConfigError(f"no sweep under {runs}; harness -m ... makes one, --runs says where")
    console.print(table)


def _status(runs: Path, name: str, console: Console) -> None:
    there = driver.told(driver.drivers(runs, name)) or "nobody"
    if not overview.planned(runs, name):
        console.print(f"{name}: {PREPARED}; driven by {there}")
        return
    look = overview.Look(runs, name)
    seen = look()
    console.print(f"{name}: {look.manifest.ablation.question}")
    for line in (*screen.lines(seen.rows, console.width), *screen.failures(seen.rows)):
        console.print(line)
    if planned := look.manifest.looks:
        console.print(f"{name}: {deciding.told(planned[: look.manifest.taken], planned)}")
    console.print(f"{screen.headline(seen)}; {seen.counts}; driven by {there}")


def _cancel(runs: Path, name: str, console: Console) -> None:
    running = []
    if overview.planned(runs, name):  # the name is one
        running = overview.Look(runs, name)().of(overview.RUNNING)
    for process in driver.interrupt(runs, name):
        console.print(f"{name}: process {process} is told to end as by Ctrl-C, its trials with it")
    if running:
        console.print(overview.cancelled(running))


def _retry(runs: Path, name: str, failed: bool, console: Console) -> None:
    arguments = again.again(runs, name, failed)
    console.print(shown.line(shlex.join(["harness", *arguments])))
    again.run(arguments)


def _rm(runs: Path, name: str, sure: bool, console: Console) -> None:
    found = removal(runs, name)
    for path in (*found.folders, *found.others):
        console.print(f"  {path}")
    for folder, other in found.kept.items():
        console.print(f"  stays, since {other} uses it: {folder}")
    if found.unread:
        console.print(f"  its trials are not known, and stay: {found.unread}")
    what = f"{counted(len(found.folders), 'trial')}, {found.size / MEGA:,.1f} MB"
    if not sure and not _agreed(f"remove {what}? [y/N] "):
        raise ConfigError(f"{name}: nothing was removed; answer y, or give --yes")
    remove(runs, found)
    console.print(f"removed {what}")
    if store_path(runs).exists() and found.folders:
        console.print(
            f"MLflow keeps its copies as deleted runs; what they take is freed by: mlflow gc "
            f"--backend-store-uri {address(runs)}"
        )


def _agreed(question: str) -> bool:
    """A yes at the terminal; no terminal is none."""
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


def _du(runs: Path, console: Console) -> None:
    table = Table("what")
    table.add_column("MB", justify="right")
    table.add_column("what it is for")
    for name, taken, meaning in usage(runs):
        table.add_row(name, f"{taken / MEGA:,.1f}", meaning)
    if not table.rows:
        raise ConfigError(f"nothing lies under {runs}; --runs says where to look")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
