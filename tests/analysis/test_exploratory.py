"""Statistics beside the verdicts: many arms, many tasks, effect sizes, prompts as clusters."""

import math

import in_memory
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.formula.api import ols
from synthetic_store import Plan, Trial

from analysis import exploratory, stats
from analysis.findings import findings
from analysis.stats import FloatArray, Simultaneous


def array(*x: float) -> FloatArray:
    return np.array(x, dtype=np.float64)


ARMS = [array(0.81, 0.82, 0.83), array(0.87, 0.88, 0.89), array(0.80, 0.84, 0.85)]


def test_dunnett_against_its_table() -> None:
    # Critical value of two comparisons at df = 6, .05 two-sided: 2.86 (Dunnett 1964, table II).
    # Pooled variance (.0001 + .0001 + .0007) / 3 = .0003, se = sqrt(.0003 * 2 / 3) = .0141421;
    # half width 2.86 * .0141421 = .0404.
    first, second = stats.dunnett(ARMS[1:], ARMS[0])
    assert (first.value, second.value) == (pytest.approx(0.06), pytest.approx(0.01))
    assert first.high - first.value == pytest.approx(0.0404, abs=2e-4)
    assert first.p < 0.05 < second.p


@pytest.mark.parametrize(("k", "n", "m"), [(1, 3, 3), (2, 2, 30), (4, 3, 5), (7, 5, 4)])
def test_dunnett_agrees_with_scipy(k: int, n: int, m: int) -> None:
    """Which integrates by random numbers, to three digits; sizes may differ."""
    rng = np.random.default_rng(k)
    arms = [rng.normal(0.5 * i, 1, n + i % 2) for i in range(k)]
    base = rng.normal(size=m)
    expected = scipy_stats.dunnett(*arms, control=base, rng=np.random.default_rng(0))
    low, high = expected.confidence_interval(0.95)
    found = stats.dunnett(arms, base)
    assert [f.p for f in found] == pytest.approx(list(expected.pvalue), abs=1e-3)
    assert [f.low for f in found] == pytest.approx(list(low), abs=0.02)
    assert [f.high for f in found] == pytest.approx(list(high), abs=0.02)


def test_one_variant_of_dunnett_is_the_pooled_t_test() -> None:
    (found,) = stats.dunnett(ARMS[1:2], ARMS[0])
    expected = scipy_stats.ttest_ind(ARMS[1], ARMS[0])
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(float(expected.pvalue), abs=2e-6)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_dunnett_of_two_hundred_variants() -> None:
    """scipy takes minutes; the interval lies between that of one variant and Bonferroni's."""
    rng = np.random.default_rng(0)
    arms = list(rng.normal(size=(199, 3)))
    found = stats.dunnett(arms, rng.normal(size=3))
    error = math.sqrt(float(np.mean(np.var(arms, axis=1, ddof=1))) * 2 / 3)
    reach = (found[0].high - found[0].value) / error
    assert 1.966 < reach < scipy_stats.t.isf(0.025 / 199, 400) * 1.01
    assert max(f.p for f in found) <= 1


def test_games_howell_of_two_arms_is_welch() -> None:
    """With one pair the studentized range is sqrt(2) |t|."""
    d = stats.welch(ARMS[1], ARMS[2])
    found = stats.games_howell([ARMS[2], ARMS[1]])[0, 1]
    assert (found.value, found.p) == (pytest.approx(d.value), pytest.approx(d.p))
    assert (found.low, found.high) == pytest.approx((d.low, d.high), rel=1e-4)


def test_games_howell_pays_for_all_pairs() -> None:
    found = stats.games_howell(ARMS)
    assert list(found) == [(0, 1), (0, 2), (1, 2)]
    assert found[0, 1].p > stats.welch(ARMS[1], ARMS[0]).p
    expected = scipy_stats.tukey_hsd(*ARMS, equal_var=False)
    assert found[0, 2].p == pytest.approx(expected.pvalue[0, 2])


def test_arms_without_a_spread_have_no_interval() -> None:
    lone, frozen = array(0.9), array(0.5, 0.5, 0.5)
    pairs = stats.games_howell([frozen, lone, frozen, ARMS[0]])
    assert math.isnan(pairs[0, 2].p)
    assert math.isnan(pairs[0, 1].low)
    assert pairs[0, 1].value == pytest.approx(0.4)
    assert not math.isnan(pairs[0, 3].p)
    assert math.isnan(stats.dunnett([frozen], frozen)[0].p)
    alone, known = stats.dunnett([lone, ARMS[1]], ARMS[0])
    assert (alone.value, math.isnan(alone.low)) == (pytest.approx(0.08), True)
    assert known == pytest.approx(known)
    assert stats.dunnett([array()], ARMS[0])[0].value is not None
    assert isinstance(known, Simultaneous)


def test_interval_of_g_puts_t_in_its_tails() -> None:
    # 3, 4, 5 and 1, 2, 3: d = 2, t = 2 / sqrt(2/3) = 2.44949, df = 4.
    low, high = stats.hedges_g_interval(array(3, 4, 5), array(1, 2, 3))
    root = math.sqrt(2 / 3)
    assert scipy_stats.nct.cdf(2.44949, 4, low / root) == pytest.approx(0.975, abs=1e-4)
    assert scipy_stats.nct.cdf(2.44949, 4, high / root) == pytest.approx(0.025, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=2, max_size=6),
    st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=2, max_size=6),
)
def test_interval_of_g_holds_g_and_turns_with_the_arms(a: list[float], b: list[float]) -> None:
    x, y = np.array(a), np.array(b)
    g = stats.hedges_g(x, y)
    if math.isnan(g) or abs(g) > 20:  # beyond, the noncentral t is not computed that exactly
        return
    low, high = stats.hedges_g_interval(x, y)
    assert low < g / (1 - 3 / (4 * (len(a) + len(b)) - 9)) + 1e-9
    assert (low, high) == pytest.approx(
        tuple(-bound for bound in reversed(stats.hedges_g_interval(y, x))), rel=1e-3, abs=1e-4
    )


def test_interval_of_g_needs_a_spread() -> None:
    assert all(map(math.isnan, stats.hedges_g_interval(array(1, 1), array(2, 2))))


def test_iqm_interval_by_hand() -> None:
    # Two seeds 0 and 1: means of resamples are 0, .5, .5, 1, a quarter each.
    e = stats.iqm_interval(np.array([[0.0], [1.0]]), np.random.default_rng(0))
    assert (e.mean, e.low, e.high, e.n) == (0.5, 0.0, 1.0, 2)
    assert math.isnan(stats.iqm_interval(np.array([[0.5, 1.0]]), np.random.default_rng(0)).low)


def test_every_task_keeps_its_weight_in_the_bootstrap() -> None:
    """Tasks at 0 and 1 without a spread: resampled over both, the mean would move."""
    scores = np.array([[0.0, 1.0]] * 3)
    e = stats.iqm_interval(scores, np.random.default_rng(0))
    assert (e.low, e.high) == (0.5, 0.5)


def test_iqm_interval_agrees_with_scipys_bootstrap() -> None:
    """One task is one stratum."""
    scores = np.random.default_rng(3).normal(size=(60, 1))
    e = stats.iqm_interval(scores, np.random.default_rng(1))
    expected = scipy_stats.bootstrap(
        (scores[:, 0],),
        lambda x, axis: scipy_stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (e.low, e.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_by_prompt_agrees_with_clustered_least_squares() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 2, (3, 40)), rng.integers(0, 2, (4, 40))
    x[:, :20], y[:, :20] = 1, 1  # prompts that everybody solves
    rows = [
        (prompt, arm, float(right))
        for arm, table in ((1, x), (0, y))
        for (_, prompt), right in np.ndenumerate(table)
    ]
    frame = pd.DataFrame(rows, columns=["prompt", "arm", "right"])

    d = stats.by_prompt(x.astype(float), y.astype(float))

    fit = ols("right ~ arm", frame).fit(
        cov_type="cluster", cov_kwds={"groups": frame["prompt"], "use_correction": False}
    )
    assert d.value == pytest.approx(fit.params["arm"])
    # Without its correction, least squares divides by the number of prompts and not by one less.
    assert d.error == pytest.approx(fit.bse["arm"] * math.sqrt(40 / 39))
    assert d.n == (40, 40)


@pytest.mark.parametrize(("count", "columns"), [(6, 5), (7, 3)])
def test_beyond_six_variants_only_the_baseline_is_compared_with(count: int, columns: int) -> None:
    trials = [Trial(f"v{i}", s, 0.8 + 0.01 * ((i + s) % 3)) for s in range(3) for i in range(count)]
    study = in_memory.study(Plan("many", trials))
    page = exploratory.section(study, findings(study))
    title, header = (page.splitlines()[i] for i in (4, 6))
    assert title == ("### Every pair" if count == 6 else "### Against the baseline")
    assert header.count("|") == columns + 1
    assert ("all pairs" in header) == (count == 6)
