"""Curves -> figures, one panel each: learning curves, the front against tokens, profiles."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis.canvas import STYLE, WIDTH, blank, ticks
from analysis.frame import Axis
from analysis.labels import Ink, columns
from analysis.lines import Curve, Point
from analysis.stats import FloatArray
from analysis.svg import LIGHT

HEIGHT, LEGEND_ROW = 236, 17  # pixels, of a panel without a legend and of a legend's row
LEFT = 58  # margin with room for a tick's seven characters, in pixels
LEGEND_COLUMN = 16  # columns of a label up to which two stand side by side
MEAN, BACKGROUND, SEED = 2.2, 1.0, 0.8  # widths of lines, in pixels
MARKS = ["o", "s", "^", "D", "v", "P", "X", "*"]
AXIS_LABELS = {
    Axis.STEPS: "training step",
    Axis.TOKENS: "sampled training tokens",
    Axis.SECONDS: "seconds of training",
}


def curve(title: str, unit: str, axis: Axis, drawn: list[Curve], ink: dict[str, Ink]) -> Figure:
    """Every bright seed as a thin line, its mean over seeds as a thick one with its band."""
    with mpl.rc_context(STYLE):
        figure, ax = _panel(title, unit, _legend(drawn, ink))
        for line in sorted(drawn, key=lambda c: ink[c.label].bright):
            own = ink[line.label]
            seeds = LineCollection(
                [np.column_stack(pair) for pair in line.seeds],
                colors=own.colour, linewidths=SEED, alpha=0.5,
            )  # fmt: skip
            ax.add_collection(seeds)
            ax.fill_between(line.x, line.low, line.high, color=own.colour, alpha=0.16, linewidth=0)
            width = MEAN if own.bright else BACKGROUND
            ax.plot(line.x, line.mean, linestyle=own.dash, color=own.colour, linewidth=width)
        _fit(ax, drawn)
        ax.set_xlabel(AXIS_LABELS[axis])
        _ticks(ax, axis)
    return figure


def _panel(title: str, unit: str, legend: list[Line2D]) -> tuple[Figure, Axes]:
    """Title, legend and unit above the axes, each on its own line."""
    side_by_side = 2 if _narrow(legend) else 1
    rows = math.ceil(len(legend) / side_by_side)
    height, top = HEIGHT + LEGEND_ROW * rows, 46 + LEGEND_ROW * rows
    figure, ax = blank(title, height, LEFT, top)
    if legend:
        figure.legend(
            handles=legend, loc="upper left", bbox_to_anchor=(0, 1 - 18 / height),
            ncols=side_by_side, borderaxespad=0.2, labelspacing=0.25, columnspacing=1.2,
            handlelength=2.4,
        )  # fmt: skip
    figure.text(4 / WIDTH, 1 - (top - 13) / height, unit, color=LIGHT["soft"])
    return figure, ax


def _narrow(legend: list[Line2D]) -> bool:
    """Whether labels fit side by side. What DejaVu lacks is measured wrongly: one column then."""
    words = [str(line.get_label()) for line in legend]
    return all(len(w) <= LEGEND_COLUMN and columns(w) == len(w) for w in words)


def _legend(drawn: Sequence[Curve], ink: dict[str, Ink]) -> list[Line2D]:
    there = [c.label for c in drawn]
    bright = [ink[label] for label in there if ink[label].bright]
    lines = [_key(own.word, own.colour, own.dash, MEAN) for own in bright]
    if others := len(there) - len(bright):
        lines.append(_key(f"{others} others, means", LIGHT["other"], "-", BACKGROUND))
    return lines


def _key(word: str, colour: str, dash: Any, width: float) -> Line2D:
    # The space: matplotlib leaves out of a legend what begins with an underscore.
    return Line2D([], [], color=colour, linestyle=dash, linewidth=width, label=f" {word}")


def _fit(ax: Axes, drawn: Iterable[Curve]) -> None:
    """Fit the view to seeds and means: with 2 seeds an interval can be 12 spreads wide."""
    lines = list(drawn)
    y = np.concatenate([a for c in lines for a in (c.mean, *(v for _, v in c.seeds))])
    x = np.concatenate([a for c in lines for a in (c.x, *(k for k, _ in c.seeds))])
    if not len(y):
        return  # variants in the background whose trials share no range
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
    ax.yaxis.set_major_formatter(ticks(*ax.get_ylim()))
    ax.tick_params(length=0)


def trade(
    title: str, unit: str, points: list[Point], best: list[Point], ink: dict[str, Ink]
) -> Figure:
    """A metric against tokens: every evaluation, and the front that none of them passes.

    Args:
        points, best: `lines.points` and `lines.front` of them.
    """
    with mpl.rc_context(STYLE):
        there = [label for label in ink if any(p.label == label for p in points)]
        legend = [
            _mark(ink[x].word, ink[x].colour, i) for i, x in enumerate(there) if ink[x].bright
        ]
        if len(there) > len(legend):
            legend.append(_mark(f"{len(there) - len(legend)} others", LIGHT["other"], 0))
        legend.append(_key("Pareto front", LIGHT["ink"], "-", BACKGROUND))
        figure, ax = _panel(title, unit, legend)
        steps = np.array([(p.tokens, p.value) for p in best])
        ax.step(*steps.T, where="post", color=LIGHT["ink"], linewidth=BACKGROUND)
        for i, label in enumerate(there):
            own = np.array([(p.tokens, p.value) for p in points if p.label == label])
            mark = MARKS[i % len(MARKS)] if ink[label].bright else MARKS[0]
            ax.plot(*own.T, mark, color=ink[label].colour, markersize=5, alpha=0.85)
        ax.set_xlabel(AXIS_LABELS[Axis.TOKENS])
        _ticks(ax, Axis.TOKENS)
    return figure


def _mark(word: str, colour: str, number: int) -> Line2D:
    mark = MARKS[number % len(MARKS)]
    return Line2D([], [], color=colour, marker=mark, linestyle="", markersize=5, label=f" {word}")


def plain(
    title: str,
    unit: str,
    axis: str,
    lines: dict[str, tuple[FloatArray, FloatArray]],
    ink: dict[str, Ink],
) -> Figure:
    """One line for each label, without seeds and bands.

    Performance profiles (Agarwal et al. 2021) and power against seeds.

    Args:
        unit, axis: what the vertical and the horizontal axis are called.
        lines: label -> places on the axis and values.
    """
    with mpl.rc_context(STYLE):
        keys = [_key(ink[x].word, ink[x].colour, ink[x].dash, MEAN) for x in lines if ink[x].bright]
        figure, ax = _panel(title, unit, keys)
        for label, (x, y) in lines.items():
            own = ink[label]
            width = MEAN if own.bright else BACKGROUND
            ax.plot(x, y, linestyle=own.dash, color=own.colour, linewidth=width)
        ax.set_xlabel(axis)
        _ticks(ax, Axis.SECONDS)
    return figure
