"""Figures: everything is drawn, nothing is left behind, equal input gives equal files."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from analysis import figures
from analysis.figures import PANELS, Contrast
from analysis.frame import Axis
from analysis.reading import columns
from analysis.stats import welch

LABELS = ["reinforce", "grpo"]


@pytest.fixture
def metrics() -> pl.DataFrame:
    rows = [
        (f"r{v}{s}", f"{v}{s}", v, s, key, step, value)
        for v in LABELS
        for s in range(3)
        for step in range(4)
        for key, value in (
            ("eval/accuracy", 0.3 + 0.1 * step + 0.01 * s),
            ("budget/tokens", 1000.0 * step),
        )
    ]
    return pl.DataFrame(rows, schema=columns.METRICS, orient="row")


@pytest.mark.parametrize("axis", list(Axis))
def test_every_seed_and_every_mean_is_drawn(metrics: pl.DataFrame, axis: Axis) -> None:
    figure = figures.learning_curves(metrics, LABELS, axis, PANELS)

    drawn = {ax.get_title(loc="left"): len(ax.lines) for ax in figure.axes}
    # 2 variants x 3 seeds, and 2 means; metrics that were not logged say so.
    assert drawn == {panel.title: 8 * (panel.metric == "eval/accuracy") for panel in PANELS}
    assert [text.get_text() for text in figure.axes[0].texts] == ["not logged"]
    assert plt.get_fignums() == []


def test_forest_shows_interval_seeds_and_margins(tmp_path: Path) -> None:
    base, other = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.7])
    d = welch(other, base)
    narrow = d.at(0.9)
    rows = [
        Contrast("reinforce", [], base - 0.2, []),
        Contrast("grpo", [d, narrow], other - 0.2, [-0.1, 0.1]),
    ]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        figure = figures.differences({"eval/accuracy": rows}, LABELS, "reinforce")
        figures.save(figure, path)

    axes = figure.axes[0]
    segments = [c.get_segments() for c in axes.collections if hasattr(c, "get_segments")]
    bounds = [segment[:, 0].tolist() for group in segments for segment in group]
    assert [d.low, d.high] in bounds
    assert [narrow.low, narrow.high] in bounds
    assert [0.1, 0.1] in bounds
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert plt.get_fignums() == []
