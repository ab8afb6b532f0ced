"""Figures: all is drawn, in words and colours that every reader can have, each time the same."""

import dataclasses
import re
import warnings
from xml.etree import ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from analysis import canvas, figures, labels, lines, svg
from analysis.forest import Row, forest
from analysis.frame import Axis
from analysis.reading import columns
from analysis.stats import Difference, welch

LABELS = ["reinforce", "grpo"]
INK = labels.inks(LABELS, LABELS)


def rows(names: list[str], steps: int = 4, seeds: int = 3) -> pl.DataFrame:
    """Accuracy rises by .1 a step; seeds lie .01 apart, and a step takes 1000 tokens and 2 s."""
    made = [
        (f"r{v}{s}", f"{v}{s}", v, s, key, step, value)
        for v in names
        for s in range(seeds)
        for step in range(steps)
        for key, value in (
            ("eval/accuracy", 0.3 + 0.1 * step + 0.01 * s),
            ("budget/tokens", 1000.0 * step),
            ("budget/seconds", 2.0 * step),
        )
    ]
    return pl.DataFrame(made, schema=columns.METRICS, orient="row")


def drawn(names: list[str], bright: list[str], axis: Axis = Axis.STEPS) -> list[lines.Curve]:
    parts = lines.by_metric(rows(names))
    return lines.curves(parts, "eval/accuracy", axis, names, bright)


def words(file: str) -> list[str]:
    return ["".join(t.itertext()) for t in ET.fromstring(file).iter(f"{{{svg.NAMESPACE}}}text")]


@pytest.mark.parametrize(
    ("axis", "end"), [(Axis.STEPS, 3.0), (Axis.TOKENS, 3000.0), (Axis.SECONDS, 6.0)]
)
def test_every_seed_and_every_mean_is_a_line(axis: Axis, end: float) -> None:
    found = drawn(LABELS, LABELS, axis)
    figure = figures.curve("Accuracy", "share", axis, found, INK)

    assert [c.label for c in found] == LABELS
    assert all(len(c.seeds) == 3 for c in found)
    # Seeds at .59, .60 and .61: mean .61 - .01 = .61; 0.3 + 0.3 + .01.
    assert found[0].mean[-1] == pytest.approx(0.61)
    assert found[0].x[-1] == end
    ax = figure.axes[0]
    assert len(ax.lines) == 2
    assert sum(len(c.get_segments()) for c in ax.collections if hasattr(c, "get_segments")) == 6
    assert plt.get_fignums() == []


def test_beyond_eight_variants_the_rest_is_background() -> None:
    names = [f"v{i}" for i in range(12)]
    found = drawn(names, ["v0", "v7"])
    ink = labels.inks(names, ["v0", "v7"])

    assert [c.label for c in found if c.seeds] == ["v0", "v7"]
    assert np.isnan(found[1].low).all()
    assert found[1].mean.tolist() == pytest.approx([0.31, 0.41, 0.51, 0.61])
    colours = [ink[name].colour for name in names]
    assert len(set(colours)) == 3, "two colours of their own, and the background's"
    keys = [t for t in words(_file(found, ink)) if t.strip() in ("v0", "v7", "10 others, means")]
    assert len(keys) == 3


def _file(found: list[lines.Curve], ink: dict[str, labels.Ink], name: str = "a") -> str:
    figure = figures.curve("Accuracy", "share", Axis.STEPS, found, ink)
    return canvas.written(figure, name, "what it shows")


def test_no_two_of_eight_variants_look_alike() -> None:
    names = [f"v{i}" for i in range(8)]
    ink = labels.inks(names, names)

    assert len({(i.colour, str(i.dash)) for i in ink.values()}) == 8
    assert len({i.colour for i in ink.values()}) == 8


def test_a_clock_that_was_not_logged_has_no_curve() -> None:
    parts = lines.by_metric(rows(LABELS).filter(pl.col("metric") != "budget/seconds"))
    known = [axis for axis in Axis if lines.has(parts, "eval/accuracy", axis)]

    assert known == [Axis.STEPS, Axis.TOKENS]
    assert not lines.has(parts, "eval/kl", Axis.STEPS)
    apart = dict(parts) | {"budget/tokens": parts["budget/tokens"].filter(pl.col("step") < 0)}
    assert not lines.has(apart, "eval/accuracy", Axis.TOKENS)


def test_trials_that_share_no_range_are_still_drawn() -> None:
    """One trial knows its tokens early only, the other late only: no grid, two seeds."""
    tokens = pl.col("metric") == "budget/tokens"
    early = (pl.col("seed") == 0) & (pl.col("step") > 1)
    late = (pl.col("seed") == 1) & (pl.col("step") < 2)
    parts = lines.by_metric(rows(LABELS, seeds=2).filter(~(tokens & (early | late))))
    for bright in (LABELS, []):
        found = lines.curves(parts, "eval/accuracy", Axis.TOKENS, LABELS, bright)
        assert len(figures.curve("t", "share", Axis.TOKENS, found, INK).axes[0].lines) == 2


def test_a_long_line_keeps_its_ends_and_its_spikes() -> None:
    x = np.arange(10_000.0)
    y = np.zeros(10_000)
    y[4321], y[8765] = 1.0, -1.0
    short_x, short_y = lines.thinned(x, y)

    assert len(short_x) <= 2 * lines.BUCKETS + 2
    assert (short_x[0], short_x[-1]) == (0, 9999)
    assert (short_y.max(), short_y.min()) == (1.0, -1.0)


def test_front_is_what_nothing_cheaper_beats() -> None:
    points = [lines.Point("a", t, v) for t, v in [(1, 0.2), (3, 0.5), (2, 0.4), (4, 0.45)]]

    assert [(p.tokens, p.value) for p in lines.front(points)] == [(1, 0.2), (2, 0.4), (3, 0.5)]


def test_a_thousand_evaluations_are_thinned_and_keep_the_last() -> None:
    points = [lines.Point("a", t, 0.0) for t in range(1000)]
    points += [lines.Point("b", t, 0.0) for t in range(3)]
    kept = [(p.label, p.tokens) for p in lines.sparse(points)]

    assert len(kept) == lines.POINTS + 3
    assert ("a", 999) in kept
    assert {("b", 0), ("b", 1), ("b", 2)} <= set(kept)


def test_front_reads_means_over_all_seeds() -> None:
    parts = lines.by_metric(rows(LABELS))
    # grpo's third seed has no last evaluation: that point is not compared with three seeds.
    gone = ~((pl.col("trial") == "grpo2") & (pl.col("step") == 3))
    parts["eval/accuracy"] = parts["eval/accuracy"].filter(gone)
    found = lines.points(parts, "eval/accuracy", LABELS)

    last = {label: [p for p in found if p.label == label][-1] for label in LABELS}
    assert (last["reinforce"].tokens, last["reinforce"].value) == (3000.0, pytest.approx(0.61))
    assert last["grpo"].tokens == 2000.0


BASE, OTHER = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.7])
DIFFERENCE = welch(OTHER, BASE)


def forest_rows(d: Difference) -> list[Row]:
    return [
        Row("reinforce", "reinforce", "baseline", None, BASE - 0.2, []),
        Row("grpo", "grpo", "within ±0.100: refuted (90 %)", d, OTHER - 0.2, [-0.1, 0.1]),
    ]


def bounds_of(d: Difference) -> list[list[float]]:
    axes = forest("Accuracy", "share", forest_rows(d), INK).axes[0]
    segments = [c.get_segments() for c in axes.collections if hasattr(c, "get_segments")]
    return [segment[:, 0].tolist() for group in segments for segment in group]


def test_forest_shows_the_verdicts_interval_seeds_and_margins() -> None:
    narrow = DIFFERENCE.at(0.9)
    found = bounds_of(narrow)

    assert [narrow.low, narrow.high] in found
    assert [DIFFERENCE.low, DIFFERENCE.high] not in found
    assert [-0.1, -0.1] in found
    assert [0.1, 0.1] in found
    axes = forest("Accuracy", "share", forest_rows(narrow), INK).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in dots] == [
        (BASE - 0.2).tolist(),
        (OTHER - 0.2).tolist(),
    ]
    assert plt.get_fignums() == []


def test_rows_of_a_forest_look_alike() -> None:
    """One line of words above each bar where all fit into one, else two above each."""
    rows = forest_rows(DIFFERENCE)
    longer = dataclasses.replace(rows[1], about="a label of some length")
    for chosen, count in ((rows, 2), ([*rows, longer], 6)):
        axes = forest("Accuracy", "share", chosen, INK).axes[0]
        assert len(axes.texts) == count
        bold = [words.get_text() for words in axes.texts if words.get_weight() == "bold"]
        assert bold == ([] if count == 2 else [row.about for row in chosen])


def test_forest_cuts_an_interval_that_would_hide_all_else() -> None:
    wide = Difference(**{**DIFFERENCE.__dict__, "low": -900.0, "high": 900.0})
    axes = forest("Accuracy", "share", forest_rows(wide), INK).axes[0]

    assert axes.get_xlim()[1] < 10
    assert {line.get_marker() for line in axes.lines} >= {"<", ">"}, "and says so"


def test_equal_figures_are_equal_files_without_a_date() -> None:
    files = [_file(drawn(LABELS, LABELS), INK) for _ in range(2)]

    assert files[0] == files[1]
    assert "<metadata" not in files[0]
    assert len(files[0]) < 30_000


def test_file_has_its_words_as_words_its_title_and_its_own_ids() -> None:
    one, two = (_file(drawn(LABELS, LABELS), INK, name) for name in ("one", "two"))
    root = ET.fromstring(one)

    assert root.attrib["role"] == "img"
    assert root.find(f"{{{svg.NAMESPACE}}}title").text == "what it shows"
    assert {"Accuracy", "training step", "share"} <= set(words(one))
    ids = [set(re.findall(r' id="([^"]+)"', file)) for file in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1], "two figures of a page share no id"
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one))
    assert used <= ids[0]


def test_every_colour_follows_the_reader_and_no_word_is_small() -> None:
    file = _file(drawn(LABELS, LABELS), INK)
    body = re.sub(r"<style>.*?</style>", "", file, flags=re.DOTALL)

    assert not re.search(r"#[0-9a-f]{6}", body), "a colour that stays as it is in the dark"
    assert "prefers-color-scheme:dark" in file
    assert "<style" not in svg.inside(file), "the page has the style sheet already"
    assert min(map(float, re.findall(r"font-size: ([\d.]+)px", body))) >= 11


def test_colours_stand_out_in_the_light_and_in_the_dark() -> None:
    """WCAG: 3 to 1 for what is drawn, 4.5 to 1 for words."""
    from test_output import contrast

    papers = ("#ffffff", "#16181b")
    for name, pair in svg.COLOURS.items():
        if name == "grid":
            continue
        least = 4.5 if name in ("ink", "soft") else 3.0
        for colour, paper in zip(pair, papers, strict=True):
            assert contrast(colour, paper) >= least, (name, colour)


def test_names_in_any_script_are_drawn_as_they_are() -> None:
    names = ["größe", "漢字のラベル", "مرحبا", "Ωμέγα", "_x", "$x$"]
    ink = labels.inks(names, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = words(_file(drawn(names, names), ink))

    assert {w.strip() for w in found} >= set(names)


def test_a_long_label_is_shortened_and_stays_apart_from_its_likes() -> None:
    long = ["x" * 60 + "a" * 60, "x" * 60 + "b" + "a" * 59, "short", "字" * 40]
    words_of = labels.shortened(long)

    assert words_of["short"] == "short"
    assert all(labels.columns(w) <= labels.WORD for w in words_of.values())
    assert len(set(words_of.values())) == 4
    assert labels.short("y" * 30) == "y" * 30
    assert labels.columns("字é") == 3


def test_ticks_tell_near_values_apart() -> None:
    wide, near = canvas.ticks(0.0, 1.0), canvas.ticks(0.9999996, 1.0000001)

    assert [wide(v, 0) for v in (0.0, 0.25, -0.5)] == ["0", "0.25", "−0.5"]
    assert [near(v, 0) for v in (1.0, 0.9999998)] == ["1", "1−2e−7"]
    assert canvas.plain(120_000) == "120k"
    assert canvas.plain(1.5e-7) == "1.5e−7"
