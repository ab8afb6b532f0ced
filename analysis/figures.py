"""Frames -> figures. The only module that imports matplotlib and seaborn.

Figures are built on `matplotlib.figure.Figure`, so that no global state is touched, and are
saved as PNG without dates: equal frames give equal files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis import frame
from analysis.frame import Axis
from analysis.stats import Difference, FloatArray
from analysis.units import is_share
from harness.machine import shown
from harness.schema import METRICS

DPI = 150  # sharp at twice the width of a page column
FONT = "DejaVu Sans"  # comes with matplotlib, so figures are the same everywhere
WORD = 40  # characters of a label that are drawn; a longer one would leave its panel no room
STYLE: Any = {  # matplotlib types its settings as a dict of 300 literal keys
    **sns.axes_style("ticks"),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "font.family": FONT,
    "font.size": 9.5,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "axes.titlesize": 10.5,
    "svg.hashsalt": "harness",
}
# Line styles repeat the colours, for print in grey and for colour-blind readers.
DASHES: list[Literal["-", "--", "-.", ":"]] = ["-", "--", "-.", ":"]
BAR_GAP = 0.15  # rows between two intervals of one row
AXIS_LABELS = {Axis.STEPS: "training step", Axis.TOKENS: "sampled training tokens"}
UNITS = {"1": "share", "nats": "nats per token"}


@dataclass(frozen=True)
class Panel:
    """One metric of the curves figure."""

    title: str
    metric: str


PANELS = [
    Panel("Training reward", "critic/score/mean"),
    Panel("Held-out accuracy", "eval/accuracy"),
    Panel("Length of right responses", "eval/response_length/right"),
    Panel("Length of wrong responses", "eval/response_length/wrong"),
    Panel("Entropy of the policy", "actor/entropy"),
    Panel("KL from the base model", "eval/kl"),
]
# Search and self-verification, read from the responses themselves.
BEHAVIOUR = [
    Panel("Attempts per response", "eval/behaviour/attempts"),
    Panel("Another attempt after a miss", "eval/behaviour/retry_rate"),
    Panel("Gives up after a miss", "eval/behaviour/give_up_rate"),
    Panel("Answers checked before they are given", "eval/behaviour/checked"),
    Panel("Attempts computed rightly", "eval/behaviour/computed_rightly"),
    Panel("Attempts that reach the target", "eval/behaviour/success_per_attempt"),
]


@dataclass(frozen=True)
class Contrast:
    """One row of a forest plot.

    Attributes:
        differences: with the interval of the level at which each verdict on this row was taken;
            none in the baseline's own row, which shows its seeds only.
        points: each seed of the variant minus the baseline's mean, shape (n,).
        margins: signed margins of the predictions about this row.
    """

    variant: str
    differences: list[Difference]
    points: FloatArray
    margins: list[float]


def drawable(words: str) -> str:
    """A label as a figure can show it: one line, not too long, in characters that the font has."""
    known = get_font(findfont(FONT))
    text = "".join(c if known.get_char_index(ord(c)) else ascii(c)[1:-1] for c in shown.line(words))
    return text if len(text) <= WORD else f"{text[: WORD - 1]}…"


def colours(labels: list[str]) -> dict[str, tuple[float, float, float]]:
    """One colour per variant from seaborn's colour-blind-safe palette."""
    palette = sns.color_palette("colorblind", len(labels))
    return dict(zip(labels, palette, strict=True))


def learning_curves(
    metrics: pl.DataFrame, labels: list[str], axis: Axis, panels: list[Panel]
) -> Figure:
    """Six panels: every seed as a thin line, the mean over seeds as a thick one, its band.

    Args:
        metrics: columns of `analysis.reading.columns.METRICS`.
        labels: variants in the order of the legend.
        axis: what the curves are drawn against.
        panels: PANELS or BEHAVIOUR.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 9.8), layout=_layout())
        axes = figure.subplots(3, 2)
        for panel, ax in zip(panels, axes.flat, strict=True):
            _curve_panel(ax, panel, metrics, labels, axis)
        for ax in axes[-1]:
            ax.set_xlabel(AXIS_LABELS[axis])
        figure.legend(
            handles=_legend(labels),
            loc="outside upper center",
            ncols=min(4, len(labels)),
            frameon=False,
        )
    return figure


def _layout() -> ConstrainedLayoutEngine:
    """Room between panels, so that a title is not read as the label of the panel above (inch)."""
    return ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.08)


def _legend(labels: list[str]) -> list[Line2D]:
    return [
        # The space: matplotlib leaves out of a legend what begins with an underscore.
        Line2D(
            [],
            [],
            color=colour,
            linestyle=DASHES[i % len(DASHES)],
            linewidth=2,
            label=f" {drawable(label)}",
        )
        for i, (label, colour) in enumerate(colours(labels).items())
    ]


def _curve_panel(
    ax: Axes, panel: Panel, metrics: pl.DataFrame, labels: list[str], axis: Axis
) -> None:
    unit = METRICS[panel.metric].unit
    ax.set_title(panel.title, loc="left")
    ax.set_ylabel(UNITS.get(unit, unit))
    lines = frame.seed_lines(metrics, panel.metric, axis)
    if lines.is_empty():
        ax.text(0.5, 0.5, "not logged", ha="center", transform=ax.transAxes, color="#777777")
        return
    palette = colours(labels)
    sns.lineplot(
        data=lines.to_pandas(),
        x="x",
        y="value",
        hue="variant",
        units="trial",
        estimator=None,
        hue_order=labels,
        palette=palette,
        linewidth=0.7,
        alpha=0.45,
        legend=False,
        ax=ax,
    )
    shared = lines if axis is Axis.STEPS else frame.on_grid(lines)
    band = frame.mean_band(shared, is_share(panel.metric))
    for i, label in enumerate(labels):
        own = band.filter(pl.col("variant") == label)
        x, colour = own["x"].to_numpy(), palette[label]
        ax.plot(x, own["mean"].to_numpy(), DASHES[i % len(DASHES)], color=colour, linewidth=2)
        ax.fill_between(
            x, own["low"].to_numpy(), own["high"].to_numpy(), color=colour, alpha=0.15, linewidth=0
        )
    ax.set_xlabel("")
    ax.set_ylabel(UNITS.get(unit, unit))
    _clip_to_means(ax, lines, band)
    if axis is Axis.TOKENS:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _clip_to_means(ax: Axes, lines: pl.DataFrame, band: pl.DataFrame) -> None:
    """Fit the view to the seeds: with 2 seeds an interval can be 12 spreads wide."""
    seen = np.concatenate([lines["value"].to_numpy(), band["mean"].to_numpy()])
    low, high = float(seen.min()), float(seen.max())
    pad = 0.12 * (high - low) or 0.05 * abs(high) or 0.05
    ax.set_ylim(low - pad, high + pad)


def differences(panels: dict[str, list[Contrast]], labels: list[str], baseline: str) -> Figure:
    """Forest plot: one panel per metric, one row per variant.

    Args:
        panels: metric key -> rows, top to bottom.
        labels: all variants, so that colours agree with the curves.
        baseline: label that is at 0.
    """
    rows = max(len(contrasts) for contrasts in panels.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, len(panels) * (1.25 + 0.42 * rows)), layout=_layout())
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for ax, (metric, contrasts) in zip(axes, panels.items(), strict=True):
            _forest_panel(ax, contrasts, colours(labels))
            unit = METRICS[metric].unit
            ax.set_title(drawable(metric), loc="left")
            ax.set_xlabel(f"difference from {drawable(baseline)}, {UNITS.get(unit, unit)}")
    return figure


def _forest_panel(
    ax: Axes, contrasts: list[Contrast], palette: dict[str, tuple[float, float, float]]
) -> None:
    ax.axvline(0, color="#444444", linewidth=1)
    for y, contrast in enumerate(contrasts):
        colour = palette[contrast.variant]
        ax.scatter(contrast.points, _beside(y, len(contrast.points)), s=14, color=colour, alpha=0.7)
        for margin in contrast.margins:
            ax.vlines(margin, y - 0.4, y + 0.4, color="#b00020", linestyle=":", linewidth=1.5)
        heights = y - BAR_GAP * np.arange(len(contrast.differences))
        for height, d in zip(heights, contrast.differences, strict=True):
            ax.hlines(height, d.low, d.high, color=colour, linewidth=2)
            ax.plot([d.value], [height], "D", color=colour, markersize=6)
    ax.xaxis.set_major_locator(MaxNLocator(7))
    ax.set_yticks(range(len(contrasts)), [drawable(c.variant) for c in contrasts])
    ax.set_ylim(len(contrasts) - 0.45, -0.55)
    ax.grid(axis="y", visible=False)


def _beside(y: int, n: int) -> FloatArray:
    """Heights of n points just below row y, spread a little so that equal points both show."""
    return y + 0.25 + np.linspace(-0.08, 0.08, n) * (n > 1)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without date or version, so that equal figures are equal files."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})
