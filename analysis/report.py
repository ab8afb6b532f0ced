"""An ablation's report: Markdown, figures, and one HTML page that holds everything."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import RenderableType

from analysis import (
    answer,
    appendix,
    checklist,
    cost,
    derived,
    evidence,
    exploratory,
    failures,
    gains,
    growth,
    multiverse,
    page,
    record,
    references,
    seal,
    sections,
    selftest,
    tables,
    text,
    tuning,
    writeup,
)  # fmt: skip
from analysis.contrasts import DIFFERENCES
from analysis.drawing import Panel
from analysis.findings import Findings, findings
from analysis.gates.looking import note
from analysis.panels import (
    BEHAVIOUR,
    DATA,
    LENGTH,
    OUTCOME,
    PARTS,
    POLICY,
    abbreviated,
    panels,
    unchanged,
)  # fmt: skip
from analysis.study import Study, read_study
from analysis.summary import summary
from harness.errors import ConfigError

FIGURES = (".svg", ".png")  # endings that a figure of a report has or had
CURVES_NOTE = (
    "Thin lines: one trial each, not smoothed. Thick line and band: mean over seeds and its 95 % t "
    "interval, up to where the shortest trial ended; against tokens and seconds on a common grid, "
    "each trial interpolated linearly. The view fits the trials, so a wide band may be cut."
)
# Title of each group of curves, and what is to be said of it.
CURVES = {
    OUTCOME: ("Learning curves", CURVES_NOTE),
    LENGTH: ("Length of responses", "Read from held-out responses."),
    POLICY: (
        "Entropy, KL and clipping",
        "How far and how fast the policy moves, and how well the sampler's and the trainer's "
        "probabilities agree.",
    ),
    DATA: ("Window, difficulty and signal", "What the training prompts and their budget were."),
    BEHAVIOUR: ("Behaviour", "Search and self-verification, read from held-out responses."),
    PARTS: ("Parts and difficulties", "Held-out accuracy of each part of the set."),
}


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

    A pure function of the manifest and the MLflow store: the same input gives the same bytes. A
    report before the last result is noted down as a look at the results, once for the same ones.
    Files are written beside the folder and moved into it, so a reader never sees half of one;
    figures that an earlier report had and this one has not are removed.

    Raises:
        ConfigError: no manifest, no store, or no such experiment; a link instead of the folder.
    """
    folder = runs / "reports" / name
    if not folder.resolve().is_relative_to(runs.resolve()):
        raise ConfigError(f"{folder} leads to {folder.resolve()}; remove the link")
    study = read_study(runs, name)
    study = replace(study, looks=note(runs, study))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".report-") as scratch:
        new = Path(scratch)
        found = findings(study)
        shown = panels(study, found)
        drawn = {panel.file: panel.svg for panel in shown}
        markdown = write(study, found, shown)
        written = {
            **drawn,
            "report.md": markdown,
            "report.html": page.render(markdown, name, drawn),
            "report.json": record.written(study, found),
        }
        for file, content in written.items():
            (new / file).write_text(content, encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for path in sorted(new.iterdir()):
            os.replace(path, folder / path.name)
        for path in folder.iterdir():
            if path.suffix in FIGURES and path.name not in drawn:
                path.unlink()
    empty = [label for label in study.labels if not len(study.values(study.primary, label))]
    files = (folder / "report.md", folder / "report.html")
    return Report(*files, summary(study, found), empty, study.manifest.command)


def write(study: Study, found: Findings, shown: Sequence[Panel]) -> str:
    """The report in Markdown.

    Args:
        shown: the figures that lie beside it.
    """
    parts = [
        answer.head(study, found, _images(shown, DIFFERENCES)),
        _key(study),
        sections.predictions(study, found),
        growth.section(study, found),
        derived.section(study, found),
        tables.final(study, found),
        multiverse.section(study, found),
        exploratory.section(study, found),
        *(_curves(study, shown, group) for group in CURVES),
        tables.taught(study),
        gains.section(study),
        writeup.section(study, found),
        sections.trust(found),
        seal.section(study),
        failures.section(study, found),
        selftest.section(study),
        evidence.section(study, found),
        tuning.section(study),
        appendix.every_seed(study),
        sections.methods(study),
        appendix.samples(study),
        cost.section(study),
        appendix.provenance(study),
        checklist.section(study),
        references.section(study, found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _images(shown: Sequence[Panel], group: str) -> list[str]:
    return [text.image(panel.file, panel.alternative) for panel in shown if panel.group == group]


def _curves(study: Study, shown: Sequence[Panel], group: str) -> str:
    """One section of figures; "" where there are none."""
    images = _images(shown, group)
    title, note = CURVES[group]
    still = ", ".join(f"{text.prose(name)} {value}" for name, value in unchanged(study, group))
    if still:
        note += f" Not drawn, since they are the same everywhere: {still}."
    return "\n\n".join([f"## {title}", "\n".join(images), note]) if images else ""


def _key(study: Study) -> str:
    """What the figures' shortened labels stand for."""
    full = [f"- {text.code(word)}: {text.code(x)}" for word, x in abbreviated(study).items()]
    return "\n".join(["Labels that the figures shorten:", "", *full]) if full else ""
