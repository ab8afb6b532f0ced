"""An ablation's report: Markdown, figures, and one HTML page that holds everything."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from analysis import appendix, figures, page, record, seal, sections, tables, tuning
from analysis.ablation import Prediction, Relation
from analysis.figures import Contrast
from analysis.findings import Findings, findings
from analysis.frame import Axis
from analysis.study import Study, compare, read_study
from analysis.summary import summary
from harness.errors import ConfigError

STEPS_PNG, TOKENS_PNG, FOREST_PNG = "curves_steps.png", "curves_tokens.png", "differences.png"
BEHAVIOUR_PNG = "behaviour.png"
CURVES_NOTE = (
    "Thin lines: one trial each, not smoothed. Thick line and band: mean over seeds and its 95 % t "
    "interval, up to where the shortest trial ended. The view fits the trials, so a wide band may "
    "be cut."
)
FOREST_NOTE = (
    "Diamond and bar: difference and interval, one for each prediction, of the level at which its "
    "verdict was taken; a difference that no verdict is about, alone at 95 %. Dots: seeds. Dotted "
    "red: the margins of the predictions."
)


@dataclass(frozen=True)
class Report:
    """Where a report lies, and what to print about it.

    Attributes:
        empty: variants that were planned and have no result.
        command: of the sweep, as it was planned.
    """

    markdown: Path
    html: Path
    summary: RenderableType
    empty: list[str]
    command: str


def build(runs: Path, name: str) -> Report:
    """Write `runs/reports/<name>/`: report.md, report.html, report.json and the figures.

    A pure function of the manifest and the MLflow store: the same input gives the same bytes.
    Files are written beside the folder and moved into it, so a reader never sees half of one.

    Raises:
        ConfigError: no manifest, no store, or no such experiment; a link instead of the folder.
    """
    folder = runs / "reports" / name
    if not folder.resolve().is_relative_to(runs.resolve()):
        raise ConfigError(f"{folder} leads to {folder.resolve()}; remove the link")
    study = read_study(runs, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".report-") as scratch:
        new = Path(scratch)
        found = findings(study)
        drawn = draw(study, found, new)
        markdown = write(study, found, drawn)
        (new / "report.md").write_text(markdown, encoding="utf-8")
        html = page.render(markdown, name, new, drawn)
        (new / "report.html").write_text(html, encoding="utf-8")
        (new / "report.json").write_text(record.written(study, found), encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for path in sorted(new.iterdir()):
            os.replace(path, folder / path.name)
    empty = [label for label in study.labels if not len(study.values(study.primary, label))]
    files = (folder / "report.md", folder / "report.html")
    return Report(*files, summary(study, found), empty, study.manifest.command)


def draw(study: Study, found: Findings, folder: Path) -> set[str]:
    """Save every figure of the report and return their names; none if no trial finished."""
    drawn = {}
    if not study.metrics.is_empty():
        curves = (study.metrics, study.labels)
        drawn[STEPS_PNG] = figures.learning_curves(*curves, Axis.STEPS, figures.PANELS)
        drawn[TOKENS_PNG] = figures.learning_curves(*curves, Axis.TOKENS, figures.PANELS)
        if figures.BEHAVIOUR[0].metric in set(study.metrics["metric"]):
            drawn[BEHAVIOUR_PNG] = figures.learning_curves(*curves, Axis.STEPS, figures.BEHAVIOUR)
    if panels := _forest(study, found):
        drawn[FOREST_PNG] = figures.differences(panels, study.labels, study.baseline)
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    return set(drawn)


def _forest(study: Study, found: Findings) -> dict[str, list[Contrast]]:
    """Rows of the forest plot for the primary and every predicted metric that has results."""
    predicted = [p.metric for p in study.manifest.ablation.predictions]
    panels = {}
    for metric in dict.fromkeys([study.primary, *predicted]):
        base = study.values(metric, study.baseline)
        if not len(base) or not study.others:
            continue
        rows = [Contrast(study.baseline, [], base - np.mean(base), [])]
        for label in study.others:
            points = study.values(metric, label) - np.mean(base)
            decided = [f.verdict.difference for f in found.about(metric, label, study.baseline)]
            drawn = decided or [compare(study, metric, label).difference]
            rows.append(Contrast(label, drawn, points, _margins(study, metric, label)))
        panels[metric] = rows
    return panels


def _margins(study: Study, metric: str, label: str) -> list[float]:
    """Signed margins of the predictions that compare this variant with the baseline."""
    return [
        margin
        for p in study.manifest.ablation.predictions
        if (p.metric, p.variant, p.baseline) == (metric, label, study.baseline)
        for margin in _signed_margins(p)
    ]


def _signed_margins(p: Prediction) -> list[float]:
    return {
        Relation.GREATER: [p.margin],
        Relation.LESS: [-p.margin],
        Relation.EQUAL: [-p.margin, p.margin],
    }[p.relation]


def write(study: Study, found: Findings, drawn: set[str]) -> str:
    """The report in Markdown; `drawn` names the figures that exist."""
    parts = [sections.head(study, found), sections.predictions(study, found)]
    if FOREST_PNG in drawn:
        parts += [f"![Differences from the baseline]({FOREST_PNG})", FOREST_NOTE]
    parts.append(tables.final(study, found))
    if STEPS_PNG in drawn:
        parts += [
            "## Learning curves",
            f"![Learning curves against steps]({STEPS_PNG})",
            f"Against training steps. {CURVES_NOTE}",
            f"![Learning curves against tokens]({TOKENS_PNG})",
            f"Against sampled training tokens; means on a common grid, each trial interpolated "
            f"linearly. {CURVES_NOTE}",
            tables.taught(study),
        ]
    if BEHAVIOUR_PNG in drawn:
        parts += [
            f"![Search and self-verification]({BEHAVIOUR_PNG})",
            f"Search and self-verification, read from held-out responses. {CURVES_NOTE}",
        ]
    parts += [
        sections.trust(found),
        seal.section(study),
        tuning.section(study),
        appendix.failures(study),
        sections.methods(study),
        appendix.samples(study),
        appendix.provenance(study),
    ]
    return "\n\n".join(parts) + "\n"
