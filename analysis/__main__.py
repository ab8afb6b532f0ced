"""`python -m analysis report NAME [--runs runs]`: build a report and say where it is."""

import sys
from pathlib import Path

from analysis.report import build
from analysis.revisions import read_revisions
from harness.errors import ConfigError, StoreError
from harness.machine import terminal

USER_ERROR = 2  # what argparse uses for a wrong command line
STORE_FAILED = 1
INCOMPLETE = 1


def main(arguments: list[str] | None = None) -> int:
    """Exit code of the command; errors of the user are one line on stderr."""
    parser = terminal.Parser(prog="python -m analysis", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="write runs/reports/NAME from the MLflow store")
    report.add_argument("name", help="the ablation, which is also the MLflow experiment")
    report.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all output")
    console = terminal.console()
    try:
        options = parser.parse_args(arguments)
        read_revisions(options.runs, options.name)  # refused before anything else is said
        console.print(f"{options.name}: publishing the trials' records, then writing the report")
        built = build(options.runs, options.name)
    except ConfigError as error:
        terminal.complain(error)
        return USER_ERROR
    except StoreError as error:
        terminal.complain(error)
        return STORE_FAILED
    console.print(built.summary)
    console.print(str(built.html))
    if built.empty:
        terminal.complain(
            f"no result in {', '.join(built.empty)}: the report lacks what was planned; the "
            f"sweep's command runs it: {built.command}"
        )
        return INCOMPLETE
    return 0


if __name__ == "__main__":
    sys.exit(main())
