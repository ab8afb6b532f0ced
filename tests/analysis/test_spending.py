"""Boundaries against published ones, and what is decided at looks."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from analysis import stats
from analysis.ablation import Relation
from analysis.stats import ALPHA, At, Claim, Looks, Outcome, Verdict
from analysis.until import Spending

GREATER, LESS, EQUAL = Relation.GREATER, Relation.LESS, Relation.EQUAL
OBRIEN_FLEMING, POCOCK = Spending.OBRIEN_FLEMING, Spending.POCOCK


def evenly(count: int, spending: Spending) -> Looks:
    return Looks(tuple((k + 1) / count for k in range(count)), spending)


# Two-sided .05, so .025 a side, at evenly spaced looks. O'Brien-Fleming type, K = 5: Lan and DeMets
# 1983, table 1. The others: what ld98 and R's ldbounds give (Reboussin, DeMets, Kim and Lan 2000).
@pytest.mark.parametrize(
    ("spending", "bounds"),
    [
        (OBRIEN_FLEMING, [2.963, 1.969]),
        (OBRIEN_FLEMING, [3.710, 2.511, 1.993]),
        (OBRIEN_FLEMING, [4.333, 2.963, 2.359, 2.014]),
        (OBRIEN_FLEMING, [4.877, 3.357, 2.680, 2.290, 2.031]),
        (POCOCK, [2.157, 2.201]),
        (POCOCK, [2.279, 2.295, 2.296]),
        (POCOCK, [2.368, 2.368, 2.358, 2.350]),
        (POCOCK, [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
)
def test_boundaries_are_the_published_ones(spending: Spending, bounds: list[float]) -> None:
    found = stats.crossing(evenly(len(bounds), spending), 0.025)

    assert reference.norm.isf(found) == pytest.approx(bounds, abs=6e-4)


def test_what_is_spent() -> None:
    """O'Brien-Fleming type at t = .2, .025: 2 - 2 Phi(2.2414 / sqrt(.2)) = 2 sf(5.0119) = 5.39e-7.
    Pocock type: .025 log(1 + 1.71828 * .2) = .025 * .29540 = .007385. All of it at the end."""
    assert stats.spent(0.025, 0.2, OBRIEN_FLEMING) == pytest.approx(5.39e-7, rel=2e-3)
    assert stats.spent(0.025, 0.2, POCOCK) == pytest.approx(0.007385, abs=1e-6)
    for spending in Spending:
        assert stats.spent(0.025, 1.0, spending) == pytest.approx(0.025)


def test_uneven_looks_cross_as_often_as_is_spent() -> None:
    """Paths of a Brownian motion: at each look, how many have crossed by then."""
    looks, level = Looks((0.25, 0.4, 1.0), POCOCK), 0.05
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(200_000, 3)) * np.sqrt([0.25, 0.15, 0.6])
    z = np.cumsum(steps, axis=1) / np.sqrt(looks.fractions)
    crossed = np.logical_or.accumulate(reference.norm.sf(z) < stats.crossing(looks, level), axis=1)

    spent = [stats.spent(level, t, POCOCK) for t in looks.fractions]
    assert crossed.mean(axis=0) == pytest.approx(spent, abs=4 * math.sqrt(0.05 / 200_000))


def test_boundaries_rise_with_the_level() -> None:
    """On this rests that Holm's procedure holds over looks."""
    for spending in Spending:
        looks = evenly(4, spending)
        table = np.array([stats.crossing(looks, level) for level in np.geomspace(1e-9, 0.9, 60)])
        assert (np.diff(table, axis=0) > 0).all()


def test_the_level_that_a_look_needs_is_that_of_its_boundary() -> None:
    looks = evenly(4, OBRIEN_FLEMING)
    for level in (1e-6, 0.005, 0.025, 0.4):
        for number, p in enumerate(stats.crossing(looks, level)):
            assert stats.needed(looks, number, p) == pytest.approx(level, rel=1e-3)


def test_p_values_at_the_ends_need_a_level_that_is_one() -> None:
    looks = evenly(3, POCOCK)

    assert 0 < stats.needed(looks, 0, 0.0) < 1e-9
    assert stats.needed(looks, 0, 0.9) == 1.0


def test_one_look_at_everything_is_a_fixed_number_of_seeds() -> None:
    rng = np.random.default_rng(3)
    family = [Claim(r, 0.5, rng.normal(size=6) + d, rng.normal(size=6)) for r, d in CASES]
    fixed = stats.decide(family)
    once = stats.decide_in_looks(Looks((1.0,), OBRIEN_FLEMING), [family])

    assert [v.outcome for v in once] == [v.outcome for v in fixed]
    for a, b in zip(once, fixed, strict=True):
        assert (a.p, a.alone) == (pytest.approx(b.p, rel=1e-6), pytest.approx(b.alone, rel=1e-6))
        assert a.difference.low == pytest.approx(b.difference.low, rel=1e-6)
        assert (a.look, b.look) == (1, 0)


CASES = [(GREATER, 3.0), (LESS, 0.0), (EQUAL, 0.0), (GREATER, 1.0), (EQUAL, 4.0), (LESS, -2.0)]


def staged(study: tuple[np.ndarray, np.ndarray], at: tuple[int, ...]) -> list[list[Claim]]:
    """The family of CASES at each look; arms are (..., cases, n)."""
    x, y = study
    return [
        [
            Claim(relation, 2.0 if relation is EQUAL else 0.5, x[..., i, :n] + shift, y[..., i, :n])
            for i, (relation, shift) in enumerate(CASES)
        ]
        for n in at
    ]


def drawn(studies: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    shape = (studies, len(CASES), n)
    return rng.normal(size=shape), rng.normal(size=shape)


@pytest.mark.parametrize("spending", Spending)
def test_studies_at_once_are_decided_like_one_by_one(spending: Spending) -> None:
    at = (3, 5, 8)
    looks = Looks(tuple(n / at[-1] for n in at), spending)
    x, y = drawn(5, at[-1])
    supported, refuted, when = stats.decided_in_looks(looks, staged((x, y), at))
    words = np.where(supported, "supported", np.where(refuted, "refuted", "undecided"))
    single = [stats.decide_in_looks(looks, staged(study, at)) for study in zip(x, y, strict=True)]

    assert words.tolist() == [[v.outcome.value for v in study] for study in single]
    number = np.minimum(when, len(at) - 1) + 1
    assert number.tolist() == [[v.look for v in study] for study in single]
    assert len(np.unique(words)) == 3
    assert len(np.unique(when)) >= 3


def agrees(claim: Claim, verdict: Verdict) -> bool:
    """Whether interval, p and verdict say the same."""
    d, margin = verdict.difference, claim.margin
    above, below = d.low > margin, d.high < margin
    if claim.relation is LESS:
        above, below = d.high < -margin, d.low > -margin
    if claim.relation is EQUAL:
        above, below = max(-d.low, d.high) < margin, d.low > margin or d.high < -margin
    shown = Outcome.SUPPORTED if above else Outcome.REFUTED if below else Outcome.UNDECIDED
    assert verdict.p is not None
    return verdict.outcome is shown and (verdict.p < ALPHA) == (shown is not Outcome.UNDECIDED)


def test_interval_p_and_verdict_say_the_same_at_every_look() -> None:
    at = (3, 5, 8)
    looks = Looks(tuple(n / at[-1] for n in at), POCOCK)
    for study in zip(*drawn(12, at[-1]), strict=True):
        stages = staged(study, at)
        for i, verdict in enumerate(stats.decide_in_looks(looks, stages)):
            assert agrees(stages[verdict.look - 1][i], verdict)
            assert verdict.difference.n == (at[verdict.look - 1],) * 2


def test_a_repeated_interval_is_at_the_looks_level() -> None:
    """One claim, two looks, Pocock type: the first decides at a two-sided p below 2 sf(2.157) =
    .0310, so its interval is one of 96.90 %; n = 4 and 4 here."""
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 1.5, 3.0, 4.5])
    (verdict,) = stats.decide([Claim(GREATER, 0.0, x, y)], [At(evenly(2, POCOCK), 0)])

    assert verdict.difference.level == pytest.approx(1 - 0.0310, abs=1e-4)
    exact = reference.ttest_ind(x, y, equal_var=False).confidence_interval(1 - 0.031005)
    assert verdict.difference.low == pytest.approx(exact.low, abs=1e-3)


def test_a_verdict_stays_whatever_comes_after_it() -> None:
    """Clear at 3 seeds; 9 later ones that say the opposite are another arm's, and do not count."""
    x = np.array([5.0, 5.1, 4.9, *[-90.0] * 9])
    y = np.array([0.0, 0.1, -0.1, *np.linspace(-1, 1, 9)])
    looks = Looks((0.25, 0.5, 1.0), POCOCK)
    stages = [[Claim(GREATER, 0.0, x[:n], y[:n])] for n in (3, 6, 12)]
    (verdict,) = stats.decide_in_looks(looks, stages)

    assert (verdict.outcome, verdict.look) == (Outcome.SUPPORTED, 1)
    assert verdict.difference.n == (3, 3)


def test_what_falls_leaves_the_others_more_of_the_level() -> None:
    """Two claims: alone the second is decided; beside one that is not, it is not; beside one that
    is, it is. Its p at the only look is between .025 and .05."""
    base = np.array([0.0, 1.0, 2.0, 3.0])
    clear, close, none = base + 20, base + 2.35, base + 0.1
    once = Looks((1.0,), POCOCK)

    def outcome(*arms: np.ndarray) -> list[Outcome]:
        claims = [Claim(GREATER, 0.0, arm, base) for arm in arms]
        return [v.outcome for v in stats.decide_in_looks(once, [claims])]

    p = reference.ttest_ind(close, base, equal_var=False).pvalue
    assert 0.025 < p < 0.05
    assert outcome(clear, close) == [Outcome.SUPPORTED, Outcome.SUPPORTED]
    assert outcome(none, close) == [Outcome.UNDECIDED, Outcome.UNDECIDED]


def test_an_arm_without_more_data_is_not_tested_again() -> None:
    """At the second look of a Pocock type the same p would need a higher level; it stays."""
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.5])
    looks = evenly(2, OBRIEN_FLEMING)
    claim = Claim(GREATER, 0.0, x, y)
    (verdict,) = stats.decide_in_looks(looks, [[claim], [None]])

    assert (verdict.outcome, verdict.look) == (Outcome.UNDECIDED, 1)
    assert stats.decide_in_looks(looks, [[claim], [claim]])[0].look == 2


def test_pairs_spend_less_of_a_level() -> None:
    """Their degrees of freedom are half of Welch's; the calibration shows what it is for."""
    looks = evenly(4, OBRIEN_FLEMING)

    assert stats.crossing(looks.on(paired=True), 0.025) == pytest.approx(
        stats.crossing(looks, 0.02125)
    )
    x, y = np.array([3.0, 4.0, 5.5]), np.array([0.0, 0.5, 1.0])
    claims = [Claim(GREATER, 0.0, x, y, paired) for paired in (True, False)]
    levels = [stats.decide_in_looks(looks, [[claim]])[0].difference.level for claim in claims]
    half = [stats.crossing(looks, level)[0] for level in (0.02125, 0.025)]
    assert levels == pytest.approx([1 - 2 * p for p in half])
