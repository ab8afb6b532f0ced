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
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_ind

from analysis import stats
from analysis.ablation import Relation
from analysis.stats import Claim

GOLDEN = Path(__file__).parents[1] / "golden"


def array(*x: float) -> stats.FloatArray:
    return np.array(x, dtype=np.float64)


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
        adjusted = stats.holm(np.array(case["inputs"]["pvalues"]))

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

    mirrored = (-d.value, -d.high, -d.low, d.p)
    found = (back.value, back.low, back.high, back.p)
    assert found == pytest.approx(mirrored, nan_ok=True)


@given(samples, samples, values, st.floats(0.1, 10))
def test_welch_follows_shift_and_scale(
    x: stats.FloatArray, y: stats.FloatArray, shift: float, scale: float
) -> None:
    d, moved = stats.welch(x, y), stats.welch(scale * x + shift, scale * y + shift)

    expected = [scale * v for v in (d.value, d.low, d.high)]
    found = [moved.value, moved.low, moved.high]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8, nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    adjusted = stats.holm(np.array(p)).tolist()

    assert all(raw <= a <= 1 for raw, a in zip(p, adjusted, strict=True))
    ranked = [a for _, a in sorted(zip(p, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_hedges_g_by_hand() -> None:
    # Both s² = 1, so the pooled sd is 1 and d = 2; J = 1 - 3 / (4 * 6 - 9) = .8; g = 1.6.
    assert stats.hedges_g(array(3, 4, 5), array(1, 2, 3)) == pytest.approx(1.6)
    assert math.isnan(stats.hedges_g(array(3, 3), array(1, 1)))


# d of HIGH - LOW: value .06, s = .01 each, se = .01 * sqrt(2/3) = .0081650, df = 4.
# 95 %: t = 2.77645, half .022670 -> [.03733, .08267]; 90 %: t = 2.13185, half .017407
# -> [.04259, .07741].
HIGH, LOW = array(0.87, 0.88, 0.89), array(0.81, 0.82, 0.83)


def test_equivalence_p_agrees_with_statsmodels() -> None:
    expected = ttost_ind(HIGH, LOW, -0.08, 0.08, usevar="unequal")[0]

    (verdict,) = stats.decide([Claim(Relation.EQUAL, 0.08, HIGH, LOW)])
    assert verdict.p == pytest.approx(expected)


@given(samples, st.floats(-5, 5))
def test_paired_agrees_with_scipy(x: stats.FloatArray, slope: float) -> None:
    y = slope * x + np.sin(np.arange(len(x)))
    d = stats.paired(x, y)
    reference = scipy_stats.ttest_rel(x, y)
    if np.std(x - y) < 1e-3:
        return

    assert d.p == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)
    interval = reference.confidence_interval(0.95)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


def test_interval_of_a_share_stays_inside_by_hand() -> None:
    # .90, .93, .96: mean .93, s = .03, se = .0173205, t(2; .975) = 4.302653, half .0745242. A t
    # interval is [.855, 1.005]. On the logit: half / (.93 * .07) = 1.1447655 around
    # log(.93 / .07) = 2.5866893: 1.4419239 and 3.7314548, back .8087 and .9766.
    x = array(0.90, 0.93, 0.96)
    e = stats.mean_interval(x, share=True)

    assert stats.mean_interval(x).high > 1
    assert (e.low, e.high) == pytest.approx((0.80875, 0.97658), abs=1e-4)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8).map(np.array))
def test_interval_of_a_share_never_leaves(x: stats.FloatArray) -> None:
    e = stats.mean_interval(x, share=True)

    assert 0 <= e.low <= e.mean + 1e-12
    assert e.mean - 1e-12 <= e.high <= 1


def test_difference_of_shares_is_cut_where_nothing_can_be() -> None:
    d = stats.welch(array(0.9, 0.5, 1.0), array(0.0, 0.4, 0.1), limit=1.0)

    assert stats.welch(array(0.9, 0.5, 1.0), array(0.0, 0.4, 0.1)).high > 1
    assert d.high == 1


def test_rounding_is_no_spread() -> None:
    assert stats.no_spread(array(0.3, 0.1 + 0.2, 0.3))
    assert not stats.no_spread(array(0.3, 0.3 + 1e-9, 0.3))
    assert math.isnan(stats.welch(array(0.3, 0.1 + 0.2), array(0.1, 0.1)).low)


def unit(n: int) -> stats.FloatArray:
    """n values with standard deviation 1."""
    x = np.arange(n, dtype=np.float64)
    return x / np.std(x, ddof=1)


# Simulated independently before this was written, 200,000 draws: in standard deviations.
@pytest.mark.parametrize(
    ("n", "apart", "alike"), [(3, 3.51, 3.16), (5, 2.08, 2.07), (10, 1.33, 1.37)]
)
def test_what_welch_can_show_in_standard_deviations(n: int, apart: float, alike: float) -> None:
    x = unit(n)

    assert stats.detectable(x, x, 0.05).value == pytest.approx(apart, abs=0.01)
    assert stats.expected_detectable((1.0, 1.0), n, 0.05) == pytest.approx(apart, abs=0.01)
    assert stats.attainable(x, x, 0.05).value == pytest.approx(alike, abs=0.02)


def test_what_the_paired_test_can_show_agrees_with_statsmodels() -> None:
    x, y = unit(5), np.zeros(5)
    expected = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)

    assert stats.detectable(x, y, 0.05, paired=True).value == pytest.approx(expected, rel=1e-3)


def test_what_can_be_shown_is_as_uncertain_as_the_spread() -> None:
    # df = 4: chi-squared quantiles .48442 and 11.14329; sqrt(4 / 11.14329) = .59913 and
    # sqrt(4 / .48442) = 2.87356 of the value.
    r = stats.detectable(unit(3), unit(3), 0.05)

    assert (r.low / r.value, r.high / r.value) == pytest.approx((0.59913, 2.87356), rel=1e-4)


def test_what_can_be_shown_is_unknown_without_spread_or_verdict() -> None:
    assert math.isnan(stats.detectable(array(1, 1, 1), array(2, 2, 2), 0.05).value)
    assert math.isnan(stats.attainable(array(1, 2), array(2, 3), 0.05).value)


def test_correlation_over_seeds() -> None:
    assert stats.correlation(array(1, 2, 3), array(2, 4, 7)) == pytest.approx(0.99339927)
    assert math.isnan(stats.correlation(array(1, 2), array(2, 4)))
    assert math.isnan(stats.correlation(array(1, 1, 1), array(2, 4, 7)))


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e-160])
def test_a_spread_whose_square_is_nothing_is_no_spread(size: float) -> None:
    """(1e-170)^2 is 0 in double precision: an error of 0 would make any difference certain."""
    x, y = array(1, 2, 3) * size, array(4, 6, 8) * size
    (verdict,) = stats.decide([Claim(Relation.LESS, 0.0, x, y)])
    assert verdict.outcome is stats.Outcome.WITHHELD
    assert np.isnan(stats.detectable(x, y, 0.05).value)


def test_a_spread_whose_square_is_infinite_shows_nothing() -> None:
    x, y = array(1, 2, 3) * 1e200, array(4, 6, 8) * 1e200
    with np.errstate(over="ignore", invalid="ignore"):
        (verdict,) = stats.decide([Claim(Relation.LESS, 0.0, x, y)])
        assert np.isnan(stats.detectable(x, y, 0.05).value)
    assert verdict.outcome is stats.Outcome.UNDECIDED


def test_permutations_beyond_those_that_can_be_enumerated_are_drawn() -> None:
    """20 and 20 seeds have 1.4e11 assignments; 99,999 of them know a p of .05 to .0007."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.6, 1, 20), rng.normal(size=20)
    p = stats.permutation_p(x, y)
    assert p == pytest.approx(float(scipy_stats.ttest_ind(x, y).pvalue), abs=0.004)
    assert stats.permutation_p(x, y) == p, "the same whenever it is built"
    assert stats.permutation_p(x + 9, y) == pytest.approx(2 / 100_000), "what was seen is one more"
    paired = stats.sign_flip_p(x, y)
    assert paired == pytest.approx(float(scipy_stats.ttest_rel(x, y).pvalue), abs=0.004)


def test_permutations_are_enumerated_up_to_ten_seeds_in_each_arm() -> None:
    # Of 10 and 10, only one assignment of C(20, 10) = 184,756 lies as far, and its mirror.
    x, y = np.arange(10.0) + 100, np.arange(10.0)
    assert stats.permutation_p(x, y) == pytest.approx(2 / 184_756)
