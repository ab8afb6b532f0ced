"""Verdicts -> forest plots: one panel per metric, one row per verdict."""

import math
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.canvas import STYLE, blank, ticks
from analysis.labels import Ink, columns
from analysis.stats import Difference, FloatArray
from analysis.svg import LIGHT

SIDE, TOP, BOTTOM = 16, 24, 42  # margins, in pixels
BAND = 28  # pixels of a row for its bar and its seeds
LINE = 15  # pixels of a line of words
ONE_LINE = 46  # columns that fit in one line of a panel
# An interval more than this many times as wide as all else would leave nothing to be seen.
WIDEST = 6.0


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


def forest(
    title: str, axis: str, rows: list[Row], ink: dict[str, Ink], is_ratio: bool = False
) -> Figure:
    """Differences with the intervals that verdicts were taken from; seeds below, margins dotted.

    Args:
        axis: what the axis is called.
        is_ratio: whether the differences are of logarithms; the axis then tells ratios.
    """
    words = _words(rows)
    pitch = BAND + LINE * max(map(len, words)) + 8
    with mpl.rc_context(STYLE):
        figure, ax = blank(title, TOP + BOTTOM + pitch * len(rows), SIDE, TOP)
        view = _range(rows)
        for i, (row, lines) in enumerate(zip(rows, words, strict=True)):
            for number, line in enumerate(lines):
                place = i * pitch + LINE * (number + 1)
                weight = "bold" if number == 0 and len(lines) > 1 else "normal"
                ax.text(0, place, line, transform=ax.get_yaxis_transform(), weight=weight)
            _band(ax, i * pitch + LINE * len(lines) + 5, row, ink[row.variant].colour, view)
        ax.set_xlim(*view)
        ax.set_ylim(pitch * len(rows), 0)
        ax.set_yticks([])
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(axis)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(ratio if is_ratio else ticks(*view))
    return figure


def ratio(log: float, _: float) -> str:
    """A tick of an axis of logarithms, `×0.5`."""
    return f"×{math.exp(log):.2g}"


def _words(rows: list[Row]) -> list[list[str]]:
    """What stands above the bars: one line where each row's fits, so that all rows look alike."""
    lines = [f"{row.about}: {row.reading}" for row in rows]
    if max(map(columns, lines)) <= ONE_LINE:
        return [[line] for line in lines]
    return [[row.about, row.reading] for row in rows]


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


def _band(ax: Axes, top: float, row: Row, colour: str, view: tuple[float, float]) -> None:
    """The bar of a row, its seeds below, zero and margins through both; heights in pixels."""
    bar, seeds, bottom = top + 8, top + 20, top + BAND
    ax.vlines(0, top, bottom, color=LIGHT["soft"], linewidth=1)
    ax.vlines(row.margins, top, bottom, color=LIGHT["bad"], linestyle=":", linewidth=1.6)
    n = len(row.points)
    # Spread a little, so that equal points all show.
    heights = seeds + np.linspace(-2.5, 2.5, n) * (n > 1)
    ax.plot(row.points, heights, "o", color=colour, markersize=3.6, alpha=0.75)
    d = row.difference
    if d is None or not math.isfinite(d.value):
        return
    ax.plot([d.value], [bar], "D", color=colour, markersize=6.5)
    if math.isfinite(d.low):
        ax.hlines(bar, max(d.low, view[0]), min(d.high, view[1]), color=colour, linewidth=2.2)
        cut = [(view[0], "<")] * (d.low < view[0]) + [(view[1], ">")] * (d.high > view[1])
        for x, arrow in cut:
            ax.plot([x], [bar], arrow, color=colour, markersize=7, clip_on=False)
