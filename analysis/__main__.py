"""`python -m analysis report|compare|export|findings`: what becomes of a store of runs."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from analysis import agreement, kept, kept_page, text, unplanned
from analysis.agreement import Reading
from analysis.exporting import Format, export
from analysis.findings import findings
from analysis.publishing import published
from analysis.reading.loader import load
from analysis.revisions import read_revisions
from analysis.study import read_study
from harness import checks
from harness.errors import ConfigError, StoreError
from harness.machine import terminal

USER_ERROR = 2  # what argparse uses for a wrong command line
STORE_FAILED = 1
INCOMPLETE = 1
NOT_AGREED = 1  # it disagrees, or could not have


def main(arguments: list[str] | None = None) -> int:
    """Exit code of the command; errors of the user are one line on stderr."""
    console = terminal.console()
    try:
        options = _parser().parse_args(arguments)
        done: int = options.run(options, console)
        return done
    except ConfigError as error:
        terminal.complain(error)
        return USER_ERROR
    except StoreError as error:
        terminal.complain(error)
        return STORE_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = terminal.Parser(prog="python -m analysis", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="write runs/reports/NAME from the MLflow store")
    report.add_argument("name", help="the ablation, which is also the MLflow experiment")
    report.set_defaults(run=_report)
    compare = commands.add_parser("compare", help="compare runs that no ablation file describes")
    compare.add_argument("names", nargs="+", help="experiments, trials or run ids")
    compare.add_argument("--by", required=True, help="variant, or any other tag or param")
    compare.add_argument("--baseline", default="", help="the group that others are compared with")
    compare.add_argument("--metric", action="append", default=[], help="may be given repeatedly")
    compare.add_argument("--store", help="MLflow's tracking URI, if it is not that of --runs")
    compare.set_defaults(run=_compare)
    write = commands.add_parser("export", help="write frames or result tables")
    write.add_argument("name", help="an ablation or any other MLflow experiment")
    kinds = write.add_mutually_exclusive_group(required=True)
    for kind in Format:
        kinds.add_argument(f"--{kind.value}", dest="kind", action="store_const", const=kind)
    write.add_argument("--out", type=Path, help="a folder; default: exports/NAME in --runs")
    write.add_argument("--by", default="variant", help="groups of runs that no plan describes")
    write.set_defaults(run=_export)
    keep = commands.add_parser("findings", help="keep findings, and write the page of all")
    keep.add_argument("names", nargs="*", help="ablations that have ended; none: only the page")
    keep.add_argument("--check", metavar="NAME", help="does a new run agree with what is kept?")
    keep.add_argument("--folder", type=Path, default=kept.FOLDER, help="where findings are kept")
    keep.set_defaults(run=_findings)
    for command in (report, compare, write, keep):
        command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all output")
    return parser


def _report(options: argparse.Namespace, console: Console) -> int:
    read_revisions(options.runs, options.name)  # refused before anything else is said
    console.print(f"{options.name}: publishing the trials' records, then writing the report")
    built = published(options.runs, options.name)
    console.print(built.summary)
    console.print(str(built.html))
    if built.empty:
        terminal.complain(
            f"no result in {', '.join(built.empty)}: the report lacks what was planned; the "
            f"sweep's command runs it: {built.command}"
        )
        return INCOMPLETE
    return 0


def _findings(options: argparse.Namespace, console: Console) -> int:
    if options.check is not None:
        if options.names:
            raise ConfigError(
                f"--check takes one finding, received {options.check} and "
                f"{', '.join(options.names)} to keep; give two commands"
            )
        return _check(options, console)
    if not options.names and not options.folder.exists():
        raise ConfigError(
            f"--folder: there is no folder {str(options.folder)!r} whose findings a page could be "
            f"written of; name one, or the findings to keep in it"
        )
    for name in options.names:
        console.print(str(kept.keep(options.runs, name, options.folder)))
    console.print(str(kept_page.write(options.folder)))
    return 0


def _check(options: argparse.Namespace, console: Console) -> int:
    """Whether a new run agrees with the finding that is kept; says where not, or cannot tell."""
    checks.name("the name of a finding", options.check)
    finding = kept.read(options.folder / f"{options.check}.json")
    study = read_study(options.runs, options.check)
    kept.complete(study)
    now = kept.made(study, findings(study))
    arms = agreement.compared(finding, now)
    for arm in arms:
        change = text.difference(arm.difference, arm.metric)
        level = text.percent(arm.difference.level)
        blind = ""
        if arm.reading is Reading.BLIND:
            sizes = (text.number(size, arm.metric) for size in (arm.shows, arm.about))
            blind = ": it would show a change of {}, the finding is about one of {}".format(*sizes)
        what = f"{arm.metric} of {arm.variant}, now - kept {change} {level}{blind}"
        console.print(f"{arm.reading.value}: {what}")
    turned = agreement.turned(finding, now)
    for line in agreement.beside(finding, now):
        console.print(f"beside: {line}")
    readings = {arm.reading for arm in arms} | ({Reading.DISAGREES} if turned else set())
    said = "agrees"
    if Reading.BLIND in readings:
        said = "has too few seeds, or too much spread over them, to tell"
    if Reading.DISAGREES in readings:
        said = "does not agree"
    console.print(f"{options.check}: the new run {said}")
    return 0 if readings == {Reading.AGREES} else NOT_AGREED


def _compare(options: argparse.Namespace, console: Console) -> int:
    data = load(options.store or options.runs)
    groups = unplanned.grouped(data, options.names, options.by, options.baseline)
    console.print(unplanned.told(groups, options.metric))
    return 0


def _export(options: argparse.Namespace, console: Console) -> int:
    whole = (options.runs, options.name, options.kind, options.out, options.by)
    for path in export(*whole):
        console.print(str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
