"""Statistics: hand-computed values, golden files, and laws that hold for any data."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.weightstats import ttost_ind

from analysis import stats
from analysis.ablation import Prediction, Relation
from analysis.stats import Outcome

GOLDEN = Path(__file__).parents[1] / "golden"

SUPPORTED, REFUTED, UNDECIDED = Outcome.SUPPORTED, Outcome.REFUTED, Outcome.UNDECIDED
GREATER, LESS, EQUAL = Relation.GREATER, Relation.LESS, Relation.EQUAL


def array(*x: float) -> stats.FloatArray:
    return np.array(x, dtype=np.float64)


def predict(relation: Relation, margin: float) -> Prediction:
    return Prediction("eval/accuracy", "a", relation, "b", margin, "why")


def golden(name: str) -> list[Any]:
    cases: list[Any] = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))["cases"]
    return cases


# Values of a scale where neither squares underflow nor differences drown in rounding.
values = st.floats(-100, 100).map(lambda x: round(x, 3))
samples = st.lists(values, min_size=2, max_size=8).map(lambda x: np.array(x))


def test_t_interval_by_hand() -> None:
    # x = 1, 2, 3: mean 2, s = 1, standard error 1 / sqrt(3) = .57735; t(2; .975) = 4.30265.
    # Half width 4.30265 * .57735 = 2.48414.
    e = stats.mean_interval(array(1, 2, 3))

    assert (e.mean, e.n) == (2, 3)
    assert e.low == pytest.approx(2 - 2.48414, abs=1e-5)
    assert e.high == pytest.approx(2 + 2.48414, abs=1e-5)


def test_no_interval_without_a_spread() -> None:
    one, none = stats.mean_interval(array(0.5)), stats.mean_interval(array())

    assert one.mean == 0.5
    assert math.isnan(one.low)
    assert math.isnan(none.mean)


def test_welch_by_hand() -> None:
    # x = 2, 4, 6 (mean 4, s² = 4), y = 1, 2, 3 (mean 2, s² = 1), n = 3 each.
    # se² = 4/3 + 1/3 = 5/3; df = (5/3)² / ((4/3)²/2 + (1/3)²/2) = (25/9) / (17/18) = 50/17.
    d = stats.welch(array(2, 4, 6), array(1, 2, 3))

    assert d.value == 2
    assert d.error == pytest.approx(math.sqrt(5 / 3))
    assert d.df == pytest.approx(50 / 17)
    assert d.n == (3, 3)


def test_welch_golden() -> None:
    for case in golden("welch_t"):
        d = stats.welch(np.array(case["inputs"]["x"]), np.array(case["inputs"]["y"]))
        found = {"statistic": d.value / d.error, "pvalue": d.p, "df": d.df}

        assert found == pytest.approx(case["expected"], rel=1e-6, abs=1e-12), case["name"]


def test_holm_golden() -> None:
    for case in golden("holm"):
        adjusted = stats.holm(case["inputs"]["pvalues"])

        expected = case["expected"]["adjusted"]
        assert adjusted == pytest.approx(expected, rel=1e-5, abs=1e-9), case["name"]


@given(samples, samples)
def test_welch_agrees_with_scipy(x: stats.FloatArray, y: stats.FloatArray) -> None:
    d = stats.welch(x, y)
    if min(np.var(x), np.var(y)) < 1e-6:
        return
    reference = scipy_stats.ttest_ind(x, y, equal_var=False)
    interval = reference.confidence_interval(0.95)

    assert d.p == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


@given(samples, samples)
def test_welch_is_antisymmetric(x: stats.FloatArray, y: stats.FloatArray) -> None:
    d, back = stats.welch(x, y), stats.welch(y, x)

    assert (back.value, back.low, back.high) == pytest.approx((-d.value, -d.high, -d.low))
    assert back.p == pytest.approx(d.p)


@given(samples, samples, values, st.floats(0.1, 10))
def test_welch_follows_shift_and_scale(
    x: stats.FloatArray, y: stats.FloatArray, shift: float, scale: float
) -> None:
    d, moved = stats.welch(x, y), stats.welch(scale * x + shift, scale * y + shift)

    expected = [scale * v for v in (d.value, d.low, d.high)]
    assert [moved.value, moved.low, moved.high] == pytest.approx(expected, rel=1e-6, abs=1e-8)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    adjusted = stats.holm(p)

    assert all(raw <= a <= 1 for raw, a in zip(p, adjusted, strict=True))
    ranked = [a for _, a in sorted(zip(p, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_hedges_g_by_hand() -> None:
    # Both s² = 1, so the pooled sd is 1 and d = 2; J = 1 - 3 / (4 * 6 - 9) = .8; g = 1.6.
    assert stats.hedges_g(array(3, 4, 5), array(1, 2, 3)) == pytest.approx(1.6)
    assert math.isnan(stats.hedges_g(array(3, 3), array(1, 1)))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 3), (3, 3), (5, 5), (3, 10), (64, 64)])
def test_detectable_difference_agrees_with_statsmodels(n: int, m: int) -> None:
    expected = TTestIndPower().solve_power(nobs1=n, ratio=m / n, alpha=0.05, power=0.8)

    assert stats.minimum_detectable(n, m, 0.5) == pytest.approx(0.5 * expected, rel=1e-4)


def test_detectable_difference_is_unknown_without_spread() -> None:
    assert math.isnan(stats.minimum_detectable(3, 3, 0.0))
    assert math.isnan(stats.minimum_detectable(1, 3, 1.0))


# d of HIGH - LOW: value .06, s = .01 each, se = .01 * sqrt(2/3) = .0081650, df = 4.
# 95 %: t = 2.77645, half .022670 -> [.03733, .08267]; 90 %: t = 2.13185, half .017407
# -> [.04259, .07741].
HIGH, LOW = array(0.87, 0.88, 0.89), array(0.81, 0.82, 0.83)


@pytest.mark.parametrize(
    ("relation", "margin", "expected"),
    [
        (GREATER, 0.0, SUPPORTED),
        (GREATER, 0.0373, SUPPORTED),
        (GREATER, 0.0374, UNDECIDED),
        (GREATER, 0.0826, UNDECIDED),
        (GREATER, 0.0827, REFUTED),
        (LESS, 0.0, REFUTED),
        (EQUAL, 0.0373, REFUTED),
        (EQUAL, 0.0374, UNDECIDED),
        (EQUAL, 0.0774, UNDECIDED),
        (EQUAL, 0.0775, SUPPORTED),
    ],
)
def test_verdict_against_the_margin(relation: Relation, margin: float, expected: Outcome) -> None:
    assert stats.verdict(predict(relation, margin), HIGH, LOW).outcome is expected


def test_touching_the_margin_decides_nothing() -> None:
    for relation in (GREATER, EQUAL):
        bound = stats.welch(HIGH, LOW).low
        assert stats.verdict(predict(relation, bound), HIGH, LOW).outcome is UNDECIDED


def test_no_verdict_from_one_seed_and_no_p_from_two() -> None:
    one = stats.verdict(predict(GREATER, 0), array(9), LOW)
    two = stats.verdict(predict(GREATER, 0), array(9, 9.1), array(0, 0.1))

    assert (one.outcome, one.p) == (UNDECIDED, None)
    assert (two.outcome, two.p) == (SUPPORTED, None)


@pytest.mark.parametrize(
    ("relation", "margin", "gap", "expected", "p"),
    [
        (GREATER, 0.0, 0.1, SUPPORTED, 0.0),
        (GREATER, 0.0, 0.0, UNDECIDED, 1.0),
        (GREATER, 0.2, 0.1, REFUTED, 0.0),
        (LESS, 0.0, -0.1, SUPPORTED, 0.0),
        (EQUAL, 0.01, 0.0, SUPPORTED, 0.0),
        (EQUAL, 0.01, 0.1, REFUTED, 1.0),
    ],
)
def test_no_spread_compares_one_number_with_the_margin(
    relation: Relation, margin: float, gap: float, expected: Outcome, p: float
) -> None:
    base = array(0.5, 0.5, 0.5)
    result = stats.verdict(predict(relation, margin), base + gap, base)

    assert (result.outcome, result.p) == (expected, p)


@given(samples, samples, st.floats(0, 50))
def test_less_is_greater_with_the_arms_exchanged(
    x: stats.FloatArray, y: stats.FloatArray, margin: float
) -> None:
    less = stats.verdict(predict(LESS, margin), x, y)
    greater = stats.verdict(predict(GREATER, margin), y, x)

    assert less.outcome is greater.outcome


@given(samples, samples, st.floats(0.001, 50), st.floats(0, 50))
def test_verdict_is_monotone_in_the_margin(
    x: stats.FloatArray, y: stats.FloatArray, margin: float, more: float
) -> None:
    rank = {REFUTED: 0, UNDECIDED: 1, SUPPORTED: 2}
    for relation, sign in ((GREATER, -1), (LESS, -1), (EQUAL, 1)):
        narrow = rank[stats.verdict(predict(relation, margin), x, y).outcome]
        wide = rank[stats.verdict(predict(relation, margin + more), x, y).outcome]
        assert sign * wide >= sign * narrow


@given(samples, samples, st.floats(0.001, 50))
def test_p_agrees_with_the_verdict(x: stats.FloatArray, y: stats.FloatArray, margin: float) -> None:
    for relation in Relation:
        result = stats.verdict(predict(relation, margin), x, y)
        if result.p is None or abs(result.p - 0.05) < 1e-6:
            continue
        decided = result.outcome is not UNDECIDED
        if relation is EQUAL:
            decided = result.outcome is SUPPORTED
        assert decided == (result.p < 0.05)


def test_equivalence_p_agrees_with_statsmodels() -> None:
    expected = ttost_ind(HIGH, LOW, -0.08, 0.08, usevar="unequal")[0]

    assert stats.verdict(predict(EQUAL, 0.08), HIGH, LOW).p == pytest.approx(expected)
