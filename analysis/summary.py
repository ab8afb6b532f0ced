"""What the sweep prints when it ends."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.gates import Level, gates
from analysis.sections import claim
from analysis.stats import Outcome
from analysis.study import Study, compare, verdicts
from harness.machine import shown

STYLES = {Outcome.SUPPORTED: "green", Outcome.REFUTED: "red", Outcome.UNDECIDED: "yellow"}


def summary(study: Study) -> RenderableType:
    """Result per variant, then one line per prediction and per failed gate."""
    metric = study.primary
    table = Table(title=_plain(study.manifest.ablation.name), title_justify="left")
    table.add_column("variant")
    for header in ("n", f"{metric} [95 % t]", f"vs {study.baseline} [95 % Welch]"):
        table.add_column(_plain(header), justify="right")
    for label in study.labels:
        c = compare(study, metric, label)
        beside = "baseline" if label == study.baseline else text.difference(c.difference, metric)
        cells = [label, str(c.estimate.n), text.estimate(c.estimate, metric), beside]
        table.add_row(*map(_plain, cells))
    planned = study.manifest.ablation.predictions
    lines = [
        Text.assemble((f"{v.outcome.value}: ", STYLES[v.outcome]), shown.line(claim(p)))
        for p, v in zip(planned, verdicts(study), strict=True)
    ]
    failed = [
        Text.assemble(("FAIL: ", "red"), shown.line(f"{gate.question}: {gate.detail}"))
        for gate in gates(study)
        if gate.level is Level.FAIL
    ]
    return Group(table, *lines, *failed)


def _plain(words: str) -> Text:
    return Text(shown.line(words))
