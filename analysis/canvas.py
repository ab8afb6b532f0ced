"""What every figure stands on: its size, its style, its file. With `figures` and `forest` the only
modules that import matplotlib.

A panel is 324 pixels wide: three stand side by side on a screen, two on A4, one on a telephone,
and none is ever scaled. Figures are built on `matplotlib.figure.Figure`, so that no global state is
touched, and written without dates: equal input gives equal files.
"""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from analysis import svg
from analysis.svg import LIGHT

WIDTH = 324  # pixels
DOTS = 72  # per inch: one unit of the file is one pixel
SIZE, TITLE_SIZE = 11.5, 12.5  # of the smallest words and of a panel's title, in pixels
STYLE: Any = {  # matplotlib types its settings as a dict of 300 literal keys
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
    "font.size": SIZE,
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
LARGE, SMALL = 10_000, 1e-3  # beyond these a number is written with a prefix or an exponent
CLOSE = 1e-3  # a view this narrow for its height is told as distances from one number
_NO_DATE: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def blank(title: str, height: float, left: float, top: float) -> tuple[Figure, Axes]:
    """An empty panel with its title; the same margins everywhere, so that neighbours line up.

    Args:
        height: of the panel, in pixels.
        left, top: margins of the axes, in pixels.
    """
    figure = Figure(figsize=(WIDTH / DOTS, height / DOTS), dpi=DOTS)
    ax = figure.subplots()
    figure.subplots_adjust(
        left=left / WIDTH, right=1 - 16 / WIDTH, bottom=42 / height, top=1 - top / height
    )
    for patch in (figure.patch, ax.patch):
        patch.set_visible(False)
    title_height = 1 - 15 / height
    figure.text(4 / WIDTH, title_height, title, fontsize=TITLE_SIZE, weight="bold")
    return figure, ax


def ticks(low: float, high: float) -> Callable[[float, float], str]:
    """How an axis with this view writes its ticks: seven characters or so, nothing beside it."""
    centre = (low + high) / 2
    if high - low >= CLOSE * abs(centre):
        return lambda value, _: plain(value)
    near = float(f"{centre:.3g}")

    def apart(value: float, _: float) -> str:
        distance = value - near
        sign = "+" if distance > 0 else ""
        return f"{near:g}{sign}{plain(distance)}" if abs(distance) > 0 else f"{near:g}"

    return apart


def plain(value: float) -> str:
    """A number, `0.8`, `12k` or `2e−7`."""
    if abs(value) >= LARGE:
        words = EngFormatter(sep="")(value)
    elif 0 < abs(value) < SMALL:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        words = f"{float(mantissa):g}e{int(exponent)}"
    else:
        words = f"{value:z.4g}"
    return words.replace("-", "−")


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
