"""What the sweep prints when it ends."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.findings import Finding, Findings
from analysis.gates import Gate, Level
from analysis.stats import Outcome
from analysis.study import Study, compare
from harness.machine import shown

STYLES = {
    Outcome.SUPPORTED: "green",
    Outcome.REFUTED: "red",
    Outcome.UNDECIDED: "yellow",
    Outcome.WITHHELD: "yellow",
}

# Colour of a gate's line, the grave ones first. The report has their facts in full.
DOUBTS = {Level.FAIL: "red", Level.WARN: "yellow"}
LONGEST = 200  # characters of a gate's line


def summary(study: Study, found: Findings) -> RenderableType:
    """Result per variant, then one line per prediction and per gate that is not OK."""
    metric = study.primary
    table = Table(title=_plain(study.manifest.ablation.name), title_justify="left")
    table.add_column("variant")
    for header in ("n", f"{metric} [95 % t]", f"vs {study.baseline}"):
        table.add_column(_plain(header), justify="right")
    table.add_column("verdict")
    for label in study.labels:
        e = compare(study, metric, label).estimate
        beside = ["baseline", ""] if label == study.baseline else _beside(study, found, label)
        cells = [label, str(e.n), text.estimate(e, metric), *beside]
        table.add_row(*map(_plain, cells))
    lines = [_line(f) for f in found.predicted]
    doubts = [
        Text.assemble((f"{level.value}: ", DOUBTS[level]), shown.line(_doubt(gate)))
        for level in DOUBTS
        for gate in found.gates
        if gate.level is level
    ]
    return Group(table, *lines, *doubts)


def _doubt(gate: Gate) -> str:
    words = f"{gate.question}: {gate.detail}"
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"


def _beside(study: Study, found: Findings, label: str) -> list[str]:
    """The difference with the interval of its verdict, and the verdict."""
    about = found.about(study.primary, label, study.baseline)
    d = about[0].verdict.difference
    interval = f"{text.difference(d, study.primary)} {text.percent(d.level)}"
    return [interval, ", ".join(f.word for f in about)]


def _line(f: Finding) -> Text:
    """`supported: grpo − reinforce on eval/accuracy is greater than 0.020 (p 0.004)`."""
    note = f.verdict.reason or f"p {text.p_value(f.verdict.p)}"
    words = shown.line(f"{f.claim} ({note})")
    return Text.assemble((f"{f.word}: ", STYLES[f.verdict.outcome]), words)


def _plain(words: str) -> Text:
    return Text(shown.line(words))
