"""Curves and verdicts -> figures, one panel each. The only module that imports matplotlib.

A panel is 324 pixels wide: three stand side by side on a screen, two on A4, one on a telephone,
and none is ever scaled. Figures are built on `matplotlib.figure.Figure`, so that no global state is
touched, and written without dates: equal input gives equal files.
"""

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis import svg
from analysis.curves import Curve, Point
from analysis.frame import Axis
from analysis.stats import Difference, FloatArray
from analysis.svg import LIGHT, VARIANTS
from harness.machine import shown

WIDTH, HEIGHT = 324, 236  # pixels, a legend's rows not counted
LEGEND_ROW, FOREST_ROW, FOREST_EDGES = 17, 58, 66  # pixels
DOTS = 72  # per inch: one unit of the file is one pixel
SIZE = 11.5  # of the smallest words, in pixels
WORD = 30  # columns of a label that are drawn; the page tells what a shorter one stands for
LEGEND_COLUMN = 16  # columns of a label up to which two stand side by side
MOST_BRIGHT = 8  # variants with a colour of their own
# An interval more than this many times as wide as all else would leave nothing to be seen.
WIDEST = 6.0
STYLE: Any = {  # matplotlib types its settings as a dict of 300 literal keys
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
    "font.size": SIZE,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": LIGHT["ink"],
    "axes.labelcolor": LIGHT["soft"],
    "axes.edgecolor": LIGHT["soft"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LIGHT["grid"],
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "legend.frameon": False,
    "lines.solid_capstyle": "butt",
    "svg.fonttype": "none",  # words stay words: the reader's fonts have every script
    "svg.hashsalt": "harness",
    "path.simplify_threshold": 0.3,
}
# Line styles repeat the colours, for print in grey and for colour-blind readers.
DASHES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (8, 2)), (0, (1, 1))]
AXIS_LABELS = {
    Axis.STEPS: "training step",
    Axis.TOKENS: "sampled training tokens",
    Axis.SECONDS: "seconds of training",
}
UNITS = {"1": "share", "nats": "nats per token", "": "value"}
_NO_DATE: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True)
class Ink:
    """How a variant is drawn.

    Attributes:
        colour: of the light palette.
        bright: whether it has a colour of its own, seeds and a band.
    """

    word: str
    colour: str
    dash: Any
    bright: bool


@dataclass(frozen=True)
class Row:
    """One row of a forest plot.

    Attributes:
        variant: whose colour it has.
        about: what was compared; above the bar.
        reading: the claim and its verdict; below that.
        difference: with the interval that the verdict was taken from; None in the baseline's own
            row, which shows its seeds only.
        points: each seed of the variant minus the baseline's mean, shape (n,).
        margins: signed margins of the prediction.
    """

    variant: str
    about: str
    reading: str
    difference: Difference | None
    points: FloatArray
    margins: list[float]


def columns(words: str) -> int:
    """Width in columns of a terminal: a Chinese character takes two, an accent none."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in words
    )


def short(words: str, most: int = WORD) -> str:
    """One line, cut in its middle to `most` columns."""
    text = shown.line(words)
    if columns(text) <= most:
        return text
    head = _fitting(text, most - most // 3 - 1)
    return f"{head}…{_fitting(text[::-1], most // 3)[::-1]}"


def _fitting(text: str, most: int) -> str:
    end = len(text)
    while columns(text[:end]) > most:
        end -= 1
    return text[:end]


def shortened(labels: Sequence[str]) -> dict[str, str]:
    """A word for every label; where two labels would share one, both get their number."""
    words = {label: short(label) for label in labels}
    taken = list(words.values())
    return {
        label: word if taken.count(word) == 1 else f"{short(label, WORD - 4)} ({number})"
        for number, (label, word) in enumerate(words.items(), 1)
    }


def inks(labels: Sequence[str], bright: Sequence[str]) -> dict[str, Ink]:
    """A colour and a dash for each of `bright`, of which there are at most MOST_BRIGHT.

    All others share the background's grey.
    """
    words = shortened(labels)
    found = {label: Ink(words[label], LIGHT["other"], "-", False) for label in labels}
    for i, label in enumerate(x for x in labels if x in set(bright)):
        found[label] = Ink(words[label], LIGHT[VARIANTS[i]], DASHES[i], True)
    return found


def curve(title: str, unit: str, axis: Axis, drawn: list[Curve], ink: dict[str, Ink]) -> Figure:
    """Every bright seed as a thin line, its mean over seeds as a thick one with its band."""
    with mpl.rc_context(STYLE):
        figure, ax = _panel(title, _legend(drawn, ink))
        for line in sorted(drawn, key=lambda c: ink[c.label].bright):
            own = ink[line.label]
            seeds = LineCollection(
                [np.column_stack(pair) for pair in line.seeds],
                colors=own.colour, linewidths=0.8, alpha=0.5,
            )  # fmt: skip
            ax.add_collection(seeds)
            ax.fill_between(line.x, line.low, line.high, color=own.colour, alpha=0.16, linewidth=0)
            width = 2.2 if own.bright else 1.0
            ax.plot(line.x, line.mean, linestyle=own.dash, color=own.colour, linewidth=width)
        _fit(ax, drawn)
        ax.set_xlabel(AXIS_LABELS[axis])
        ax.set_ylabel(UNITS.get(unit, unit))
        _ticks(ax, axis)
    return figure


def _panel(title: str, legend: list[Line2D]) -> tuple[Figure, Axes]:
    columns_of = 2 if _narrow(legend) else 1
    rows = math.ceil(len(legend) / columns_of)
    height = HEIGHT + LEGEND_ROW * rows
    figure = Figure(figsize=(WIDTH / DOTS, height / DOTS), dpi=DOTS)
    ax = figure.subplots()
    # The same frame in each panel, so that neighbours line up.
    figure.subplots_adjust(
        left=58 / WIDTH,
        right=1 - 10 / WIDTH,
        bottom=42 / height,
        top=1 - (30 + LEGEND_ROW * rows) / height,
    )
    for patch in (figure.patch, ax.patch):
        patch.set_visible(False)
    figure.text(4 / WIDTH, 1 - 15 / height, title, fontsize=12.5, weight="bold")
    if legend:
        figure.legend(
            handles=legend, loc="upper left", bbox_to_anchor=(0, 1 - 18 / height), ncols=columns_of,
            borderaxespad=0.2, labelspacing=0.25, columnspacing=1.2, handlelength=2.4,
        )  # fmt: skip
    return figure, ax


def _narrow(legend: list[Line2D]) -> bool:
    """Whether labels fit side by side. What DejaVu lacks is measured wrongly: one column then."""
    words = [str(line.get_label()) for line in legend]
    return all(len(w) <= LEGEND_COLUMN and columns(w) == len(w) for w in words)


def _legend(drawn: Sequence[Curve], ink: dict[str, Ink]) -> list[Line2D]:
    there = [c.label for c in drawn]
    bright = [ink[label] for label in there if ink[label].bright]
    lines = [_key(own.word, own.colour, own.dash, 2.2) for own in bright]
    if others := len(there) - len(bright):
        lines.append(_key(f"{others} others, means", LIGHT["other"], "-", 1.0))
    return lines


def _key(word: str, colour: str, dash: Any, width: float) -> Line2D:
    # The space: matplotlib leaves out of a legend what begins with an underscore.
    return Line2D([], [], color=colour, linestyle=dash, linewidth=width, label=f" {word}")


def _fit(ax: Axes, drawn: Iterable[Curve]) -> None:
    """Fit the view to seeds and means: with 2 seeds an interval can be 12 spreads wide."""
    lines = list(drawn)
    y = np.concatenate([a for c in lines for a in (c.mean, *(v for _, v in c.seeds))])
    x = np.concatenate([a for c in lines for a in (c.x, *(k for k, _ in c.seeds))])
    low, high = float(np.nanmin(y)), float(np.nanmax(y))
    pad = 0.1 * (high - low) or 0.05 * abs(high) or 0.05
    ax.set_ylim(low - pad, high + pad)
    start, end = float(np.nanmin(x)), float(np.nanmax(x))
    side = 0.03 * (end - start) or 0.5
    ax.set_xlim(start - side, end + side)


def _ticks(ax: Axes, axis: Axis) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=axis is Axis.STEPS))
    if axis is Axis.TOKENS:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(_plain)
    ax.tick_params(length=0)


def _plain(value: float, position: int | None = None) -> str:
    """`0.8`, `12k`: five characters or so, whatever the size; no offset beside the axis."""
    if abs(value) >= 10_000:
        return EngFormatter(sep="")(value)
    return f"{value:z.4g}".replace("-", "−")


def trade(
    title: str, unit: str, points: list[Point], best: list[Point], ink: dict[str, Ink]
) -> Figure:
    """A metric against tokens: every evaluation, and the front that none of them passes.

    Args:
        points, best: `curves.points` and `curves.front` of them.
    """
    with mpl.rc_context(STYLE):
        there = [label for label in ink if any(p.label == label for p in points)]
        legend = [
            _mark(ink[x].word, ink[x].colour, i) for i, x in enumerate(there) if ink[x].bright
        ]
        if len(there) > len(legend):
            legend.append(_mark(f"{len(there) - len(legend)} others", LIGHT["other"], 0))
        legend.append(_key("Pareto front", LIGHT["ink"], "-", 1.2))
        figure, ax = _panel(title, legend)
        steps = np.array([(p.tokens, p.value) for p in best])
        ax.step(*steps.T, where="post", color=LIGHT["ink"], linewidth=1.2)
        for i, label in enumerate(there):
            own = np.array([(p.tokens, p.value) for p in points if p.label == label])
            mark = MARKS[i % len(MARKS)] if ink[label].bright else MARKS[0]
            ax.plot(*own.T, mark, color=ink[label].colour, markersize=5, alpha=0.85)
        ax.set_xlabel(AXIS_LABELS[Axis.TOKENS])
        ax.set_ylabel(UNITS.get(unit, unit))
        _ticks(ax, Axis.TOKENS)
    return figure


MARKS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def _mark(word: str, colour: str, number: int) -> Line2D:
    mark = MARKS[number % len(MARKS)]
    return Line2D([], [], color=colour, marker=mark, linestyle="", markersize=5, label=f" {word}")


def profile(
    title: str, lines: dict[str, tuple[FloatArray, FloatArray]], ink: dict[str, Ink]
) -> Figure:
    """Share of results above each threshold (Agarwal et al. 2021): variant -> thresholds, shares."""
    with mpl.rc_context(STYLE):
        keys = [_key(ink[x].word, ink[x].colour, ink[x].dash, 2.2) for x in lines if ink[x].bright]
        figure, ax = _panel(title, keys)
        for label, (threshold, share) in lines.items():
            own = ink[label]
            ax.plot(
                threshold, share, linestyle=own.dash, color=own.colour, linewidth=1 + own.bright
            )
        ax.set_xlabel("threshold")
        ax.set_ylabel("share of results above it")
        _ticks(ax, Axis.SECONDS)
    return figure


def forest(title: str, unit: str, rows: list[Row], ink: dict[str, Ink]) -> Figure:
    """Differences with the intervals that verdicts were taken from; seeds below, margins dotted."""
    height = FOREST_EDGES + FOREST_ROW * len(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / DOTS, height / DOTS), dpi=DOTS)
        ax = figure.subplots()
        figure.subplots_adjust(
            left=8 / WIDTH, right=1 - 8 / WIDTH, bottom=42 / height, top=1 - 22 / height
        )
        for patch in (figure.patch, ax.patch):
            patch.set_visible(False)
        figure.text(4 / WIDTH, 1 - 15 / height, title, fontsize=12.5, weight="bold")
        low, high = _range(rows)
        ax.axvline(0, color=LIGHT["soft"], linewidth=1)
        for y, row in enumerate(rows):
            _forest_row(ax, y, row, ink, (low, high))
        ax.set_xlim(low, high)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(f"difference, {UNITS.get(unit, unit)}")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(_plain)
    return figure


def _range(rows: list[Row]) -> tuple[float, float]:
    """The view: all seeds and margins, and intervals as far as they leave those room."""
    seen = [0.0, *(float(p) for row in rows for p in (*row.points, *row.margins))]
    seen += [row.difference.value for row in rows if row.difference]
    seen = [x for x in seen if math.isfinite(x)]
    low, high = min(seen), max(seen)
    reach = WIDEST * (high - low) or 1.0
    bounds = [x for r in rows if r.difference for x in (r.difference.low, r.difference.high)]
    for bound in (x for x in bounds if math.isfinite(x)):
        low, high = min(low, max(bound, low - reach)), max(high, min(bound, high + reach))
    pad = 0.05 * (high - low) or 0.5
    return low - pad, high + pad


def _forest_row(ax: Axes, y: int, row: Row, ink: dict[str, Ink], view: tuple[float, float]) -> None:
    colour = ink[row.variant].colour
    left = ax.get_yaxis_transform()
    ax.text(0, y - 0.24, row.about, transform=left, weight="bold")
    ax.text(0, y - 0.02, row.reading, transform=left)
    for margin in row.margins:
        ax.vlines(margin, y + 0.04, y + 0.46, color=LIGHT["bad"], linestyle=":", linewidth=1.6)
    n = len(row.points)
    heights = y + 0.36 + np.linspace(-0.04, 0.04, n) * (n > 1)
    ax.plot(row.points, heights, "o", color=colour, markersize=3.6, alpha=0.75)
    d = row.difference
    if d is None or not math.isfinite(d.value):
        return
    ax.plot([d.value], [y + 0.17], "D", color=colour, markersize=6.5)
    if math.isfinite(d.low):
        ax.hlines(y + 0.17, max(d.low, view[0]), min(d.high, view[1]), color=colour, linewidth=2.2)
        cut = [(view[0], "<")] * (d.low < view[0]) + [(view[1], ">")] * (d.high > view[1])
        for x, arrow in cut:
            ax.plot([x], [y + 0.17], arrow, color=colour, markersize=7, clip_on=False)


def written(figure: Figure, name: str, alternative: str) -> str:
    """A figure's SVG: no date, colours of its own in the light and in the dark.

    Args:
        name: of the file, without its ending; unique in the report.
        alternative: what the figure shows, in words.
    """
    raw = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The reader's fonts draw the words; matplotlib's is only asked how wide they may be.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        figure.savefig(raw, format="svg", dpi=DOTS, metadata=_NO_DATE)
    return svg.finished(raw.getvalue(), re.sub(r"\W", "-", name), alternative)
