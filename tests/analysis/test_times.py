"""Times to a threshold: where they are read, what censoring does to them, and their verdicts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import SurvfuncRight

from analysis import stats
from analysis.ablation import Relation
from analysis.stats import Outcome, Times, survival
from analysis.stats.survival import logrank_scores, ratio, slower

GREATER, LESS, EQUAL = Relation.GREATER, Relation.LESS, Relation.EQUAL


def times(*seen: float, never: int = 0, end: float = 100.0) -> Times:
    """Trials that reached the threshold, and some that did not until the end."""
    time = np.array([*seen, *[end] * never])
    return Times(time, np.arange(len(time)) < len(seen), np.full(len(time), end))


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.25, 5.0),  # halfway from .2 at 0 to .3 at 10
        (0.3, 10.0),
        (0.55, 28.0),  # .5 at 20 falls to .3 at 25; of the way to .75 at 25 + 5.4...
        (0.1, 0.0),
        (0.9, math.inf),
    ],
)
def test_first_reached_by_hand(threshold: float, expected: float) -> None:
    # From .3 at 25 to .75 at 30.4 the line rises by .45 in 5.4: .55 is at 25 + .25 / .45 * 5.4.
    x = np.array([0, 10, 20, 25, 30.4])
    assert stats.first_reached(x, np.array([0.2, 0.3, 0.5, 0.3, 0.75]), threshold) == (
        pytest.approx(expected)
    )


def test_mean_height_by_hand() -> None:
    # Trapezoids: 2 * (0 + 1) / 2 + 6 * (1 + 1) / 2 = 1 + 6 = 7, over a width of 8.
    assert stats.mean_height(np.array([0.0, 2, 8]), np.array([0.0, 1, 1])) == pytest.approx(7 / 8)


def test_restricted_mean_by_hand() -> None:
    # 1 reached, 2 censored, 3 reached: 1 until 1, 2/3 until 3. Until 2: 1 + 2/3.
    seen = Times(np.array([1.0, 2, 3]), np.array([True, False, True]), np.array([2.0, 2, 4]))
    assert stats.restricted_mean(seen, 2.0) == pytest.approx(5 / 3)
    # Nothing censored: the mean itself, (10 + 20 + 60) / 3; until 30: (10 + 20 + 30) / 3.
    assert stats.restricted_mean(times(10, 20, 60), 100.0) == pytest.approx(30)
    assert stats.restricted_mean(times(10, 20, 60), 30.0) == pytest.approx(20)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=2, max_size=8).filter(
        lambda rows: any(reached for _, reached in rows)
    )
)
def test_survival_agrees_with_statsmodels(rows: list[tuple[int, bool]]) -> None:
    time, reached = np.array([t for t, _ in rows], float), np.array([r for _, r in rows])

    when, share = survival(Times(time, reached, time))

    expected = SurvfuncRight(time, reached)
    found = dict(zip(when, share, strict=True))
    assert [found[t] for t in expected.surv_times] == pytest.approx(list(expected.surv_prob))


def test_logrank_scores_by_hand() -> None:
    # 1, 2 against 3, 4+: at risk 4, 3, 2, 1; hazards 1/4, 7/12, 13/12, 13/12.
    x, y = times(1, 2), times(3, never=1, end=4.0)
    a, b = logrank_scores(x, y)
    assert a == pytest.approx([3 / 4, 5 / 12])
    assert b == pytest.approx([-1 / 12, -13 / 12])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=2, max_size=6),
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=2, max_size=6),
)
def test_logrank_scores_are_the_numerator_of_scipys_test(
    x: list[tuple[int, bool]], y: list[tuple[int, bool]]
) -> None:
    arms = [
        Times(np.array([t for t, _ in a], float), np.array([r for _, r in a]), np.full(len(a), 9.0))
        for a in (x, y)
    ]
    scores, _ = logrank_scores(*arms)
    pooled = np.concatenate([arms[0].time, arms[1].time])
    reached = np.concatenate([arms[0].reached, arms[1].reached])
    variance = 0.0
    for t in np.unique(pooled[reached]):
        n, n1 = np.sum(pooled >= t), np.sum(arms[0].time >= t)
        d = np.sum(reached & (pooled == t))
        variance += d * n1 * (n - n1) * (n - d) / (n**2 * (n - 1)) if n > 1 else 0.0
    if variance < 1e-9:
        return
    data = [
        scipy_stats.CensoredData(uncensored=a.time[a.reached], right=a.time[~a.reached])
        for a in arms
    ]
    assert scores.sum() / math.sqrt(variance) == pytest.approx(
        scipy_stats.logrank(*data).statistic, abs=1e-9
    )


def test_exact_logrank_by_hand() -> None:
    """All of four before all of four: 2 of 70 assignments are as extreme, 1 of them this way."""
    x, y = times(10, 11, 12, 13), times(never=4)
    assert slower(x, y, 1.0, paired=False) == (False, pytest.approx(1 / 70))
    assert slower(y, x, 1.0, paired=False) == (True, pytest.approx(1 / 70))
    # Seed by seed: 1 of 16 exchanges.
    assert slower(x, y, 1.0, paired=True) == (False, pytest.approx(1 / 16))


def test_a_factor_is_asked_only_of_what_both_arms_were_watched_for() -> None:
    """x / 0.1 until 1000, y until 100: 11, 12 and 13 become 110, 120, 130, unseen until then."""
    x, y = times(9, 11, 12, 13), times(90, 95, 99, never=1)
    # Within 100: x / .1 has 90 and three unseen; y has three seen and one unseen.
    late, p = slower(x, y, 0.1, paired=False)
    assert late
    assert p > 0.1


def test_ratio_of_restricted_means_by_hand() -> None:
    # Until 100: (10 + 20 + 30 + 40) / 4 = 25 and (50 + 50 + 100 + 100) / 4 = 75.
    assert ratio(times(10, 20, 30, 40), times(50, 50, never=2)) == pytest.approx(1 / 3)


def decided(relation: Relation, factor: float, x: Times, y: Times) -> stats.Verdict:
    return stats.decide([stats.timed(relation, abs(math.log(factor)), x, y)])[0]


def test_complete_times_are_tested_on_logarithms() -> None:
    """2, 4, 8 against 8, 16, 32: every log apart by log 4, s = log 2, se = log 2 * sqrt(2/3)."""
    x, y = times(2, 4, 8), times(8, 16, 32)
    verdict = decided(LESS, 1.0, x, y)
    d = verdict.difference
    assert (d.value, d.of_logs) == (pytest.approx(-math.log(4)), True)
    assert d.error == pytest.approx(math.log(2) * math.sqrt(2 / 3))
    expected = scipy_stats.ttest_ind(np.log(x.time), np.log(y.time), equal_var=False)
    assert verdict.p == pytest.approx(expected.pvalue)
    # 3.507 standard deviations of log 2.
    assert verdict.resolution.value == pytest.approx(3.507 * math.log(2), rel=1e-3)
    assert verdict.resolution.of_logs


@pytest.mark.parametrize(
    ("relation", "factor", "outcome"),
    [
        (LESS, 0.33, Outcome.SUPPORTED),  # 10 / .33 = 30 to 39 / .33... all before 100, four never
        (LESS, 0.11, Outcome.UNDECIDED),  # 10 / .11 = 91 is seen before 100, 12 / .11 = 109 not
        (GREATER, 1.0, Outcome.REFUTED),
        (EQUAL, 2.0, Outcome.REFUTED),
    ],
)
def test_verdicts_where_trials_never_arrive(
    relation: Relation, factor: float, outcome: Outcome
) -> None:
    """Four against four that never arrive: p = 2 / 70 = .0286 at most."""
    verdict = decided(relation, factor, times(10, 12, 13, 15), times(never=4))
    assert verdict.outcome is outcome
    assert math.isnan(verdict.difference.low)
    # Restricted means 12.5 and 100.
    assert verdict.difference.value == pytest.approx(math.log(0.125))
    if outcome is not Outcome.UNDECIDED:
        assert verdict.p == pytest.approx(2 / 70)


def test_equal_times_can_be_shown_though_one_never_arrives() -> None:
    """At 8 x / 8 all come before y is seen to: 1 of 252. At 1/8 no 8 x comes within 100, of y four:
    the six assignments that give y all four and one of the six that never came, of 252."""
    x, y = times(20, 22, 24, 26, 28), times(21, 23, 25, 27, never=1)
    verdict = decided(EQUAL, 8.0, x, y)
    assert (verdict.outcome, verdict.p) == (Outcome.SUPPORTED, pytest.approx(6 / 252))


def test_three_seeds_and_a_censored_one_decide_nothing() -> None:
    """The least two-sided p of three against three is .1; putting 100 for "never" gave .0001."""
    verdict = decided(LESS, 1.0, times(10, 11, 12), times(never=3))
    assert (verdict.outcome, verdict.p) == (Outcome.UNDECIDED, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (times(never=4), times(never=4), "no trial reached the threshold"),
        (times(0, 1, 2), times(1, 2, 3), "a trial is at the threshold before it is trained"),
        (times(1, 2), times(1, 2, 3), "n = 2 and 3, a verdict needs 3 seeds"),
        (times(), times(never=3), "n = 0 and 3, a verdict needs 3 seeds"),
        (times(5, 5, 5), times(1, 2, 3), "all seeds of the variant give the same value"),
    ],
)
def test_times_that_say_nothing_are_withheld(x: Times, y: Times, reason: str) -> None:
    verdict = decided(LESS, 0.5, x, y)
    assert (verdict.outcome, verdict.reason) == (Outcome.WITHHELD, reason)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1, 200).map(round), min_size=3, max_size=6),
    st.lists(st.floats(1, 200).map(round), min_size=3, max_size=6),
    st.floats(0.2, 5),
)
def test_less_is_greater_with_the_arms_exchanged(a: list[int], b: list[int], factor: float) -> None:
    x, y = (Times(np.minimum(t, 100.0), np.array(t) <= 100, np.full(len(t), 100.0)) for t in (a, b))
    less, greater = (
        decided(LESS, min(factor, 1 / factor), x, y),
        decided(GREATER, max(factor, 1 / factor), y, x),
    )
    assert less.outcome is greater.outcome
    assert less.p == pytest.approx(greater.p)
