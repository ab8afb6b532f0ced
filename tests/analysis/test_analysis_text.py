"""Numbers and verbatim text in Markdown and HTML."""

import math
from pathlib import Path

import pytest

from analysis import page, text
from analysis.stats import Difference, Estimate, Resolution

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "metric", "expected"),
    [
        (0.07, "eval/accuracy", "+0.070"),
        (-0.0001, "eval/accuracy", "-0.0001"),
        (-1e-17, "eval/accuracy", "+0.000"),
        (-3.26, "eval/response_length/wrong", "-3.3"),
        (NAN, "eval/accuracy", "–"),
    ],
)
def test_differences_carry_a_sign(value: float, metric: str, expected: str) -> None:
    assert text.signed(value, metric) == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        # Half width .0227: its first digit is the second decimal, so three are enough.
        (0.07, 0.0473, 0.0927, "+0.070 [+0.047, +0.093]"),
        (4e-6, 1e-6, 7e-6, "+0.000004 [+0.000001, +0.000007]"),
        (0.0, -0.0004, 0.0004, "+0.0000 [-0.0004, +0.0004]"),
    ],
)
def test_an_interval_never_prints_as_a_point(
    value: float, low: float, high: float, expected: str
) -> None:
    d = Difference(value, low, high, 1.0, 4.0, 0.5, (3, 3))
    assert text.difference(d, "eval/accuracy") == expected


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(0.02, "0.020"), (1e-5, "0.00001"), (0.0125, "0.0125"), (3, "3.000"), (0.0, "0.000")],
)
def test_a_margin_prints_all_its_digits(margin: float, expected: str) -> None:
    assert text.exact(margin, "eval/accuracy") == expected


def test_interval_is_left_out_where_there_is_none() -> None:
    assert text.estimate(Estimate(0.5, NAN, NAN, 1), "eval/accuracy") == "0.500"
    assert text.estimate(Estimate(0.5, 0.5, 0.5, 3), "eval/accuracy") == "0.500"
    alone = Difference(0.5, NAN, NAN, NAN, NAN, NAN, (1, 1))
    assert text.difference(alone, "eval/accuracy") == "+0.500"


def test_p_values() -> None:
    assert [text.p_value(p) for p in (None, 0.0001, 0.0314)] == ["–", "< 0.001", "0.031"]


def test_cells_cannot_break_the_table() -> None:
    table = text.table(["a"], [["x | y\nz"]])

    assert table.splitlines()[-1] == "| x \\| y z |"
    assert "<td" in page.render(table, "t", Path())
    assert "x | y z<" in page.render(table, "t", Path())


def test_verbatim_text_cannot_leave_its_block() -> None:
    html = page.render(text.fenced("```\n<b>&\x1b[0m\ud800"), "<t>", Path())

    assert "```\n&lt;b&gt;&amp;\\x1b[0m\\ud800" in html
    assert "<title>&lt;t&gt;</title>" in html


@pytest.mark.parametrize(
    ("value", "expected"), [("a", "`a`"), ("", "–"), ("a`b", "`` a`b ``"), ([1, 2], "`[1, 2]`")]
)
def test_inline_code(value: object, expected: str) -> None:
    assert text.code(value) == expected


def test_no_size_of_a_share_exceeds_what_shares_can_differ_by() -> None:
    r = Resolution(1.092, 0.654, 3.137)
    assert text.resolution(r, "eval/accuracy") == "> 1.000 [0.654, > 1.000]"
    assert text.resolution(r, "eval/kl") == "1.092 [0.654, 3.137]"
    assert text.size(1.092, "eval/accuracy") == "> 1.000"
    assert text.size(0.4, "eval/accuracy") == "0.400"
    assert text.size(math.nan, "eval/accuracy") == text.NONE


def test_a_ratio_that_nothing_is_known_of_has_no_end() -> None:
    """e^800 is no number."""
    assert text.factors(0.0, -800.0, 800.0) == "×1 [×0, ×inf]"
