"""One figure, and what the figures of one report share."""

import base64
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from analysis import canvas, labels, lines, svg
from analysis.findings import Findings
from analysis.labels import MOST_BRIGHT, Ink
from analysis.stats import FloatArray
from analysis.study import Study


@dataclass(frozen=True)
class Panel:
    """One figure: a file beside the report, or the end of a notebook's cell.

    Attributes:
        group: where it stands in the report.
        name: of its file, without the ending; unique in the report.
        alternative: what it shows, as plain text.
        draw: makes it.
    """

    group: str
    name: str
    alternative: str
    draw: Callable[[], Figure]

    @property
    def file(self) -> str:
        """Its name beside report.md."""
        return f"{self.name}.svg"

    @cached_property
    def figure(self) -> Figure:
        """Matplotlib's, in the light palette: to change, or to save in another format."""
        return self.draw()

    @cached_property
    def svg(self) -> str:
        """Its file's text, which follows light and dark."""
        return canvas.written(self.figure, self.name, self.alternative)

    def save(self, path: str | Path) -> None:
        """Write the SVG file, as the report does."""
        Path(path).write_text(self.svg, encoding="utf-8")

    def _repr_html_(self) -> str:
        # An image, so that no style leaves it; on paper of its own, since a notebook's may be dark
        # where the reader's system is light.
        drawn = base64.b64encode(svg.on_paper(self.svg).encode()).decode()
        source = f"data:image/svg+xml;base64,{drawn}"
        return f'<img alt="{escape(self.alternative)}" src="{source}">'


class Gallery(dict[str, Panel]):
    """Figures by name; in a notebook they stand side by side."""

    def only(self, *beginnings: str) -> "Gallery":
        """Those whose names begin with one of these words."""
        return Gallery({name: each for name, each in self.items() if name.startswith(beginnings)})

    def _repr_html_(self) -> str:
        return f"<div>{''.join(panel._repr_html_() for panel in self.values())}</div>"


def gallery(panels: Iterable[Panel]) -> Gallery:
    """Figures by name, in their order."""
    return Gallery({panel.name: panel for panel in panels})


@dataclass(frozen=True)
class Drawing:
    """What the figures of one study share."""

    study: Study
    found: Findings

    @cached_property
    def bright(self) -> list[str]:
        return bright(self.study)

    @cached_property
    def ink(self) -> dict[str, Ink]:
        return labels.inks(self.study.labels, self.bright)

    @cached_property
    def parts(self) -> dict[str, pl.DataFrame]:
        return lines.by_metric(self.study.metrics)


def bright(study: Study) -> list[str]:
    """Variants that are drawn in full: all of up to MOST_BRIGHT, else the baseline and the best."""
    if len(study.labels) <= MOST_BRIGHT:
        return study.labels
    means = {x: mean(study.values(study.primary, x)) for x in study.others}
    known = {x: mean for x, mean in means.items() if not math.isnan(mean)}
    return [study.baseline, *([max(known, key=known.__getitem__)] if known else [])]


def mean(x: FloatArray) -> float:
    return float(x.mean()) if len(x) else math.nan


def capitalised(words: str) -> str:
    """A name at the beginning of a sentence; a key stays as it is."""
    return words[:1].upper() + words[1:] if "/" not in words else words
