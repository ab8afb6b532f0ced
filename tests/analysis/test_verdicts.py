"""Verdicts: over their family, of one direction, of one level with their interval, or withheld."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.ablation import Relation
from analysis.stats import (
    ALPHA,
    Claim,
    FloatArray,
    Outcome,
    Verdict,
    decide,
    directed_p,
    holm,
    welch,
    welch_terms,
)

SUPPORTED, REFUTED, UNDECIDED = Outcome.SUPPORTED, Outcome.REFUTED, Outcome.UNDECIDED
GREATER, LESS, EQUAL = Relation.GREATER, Relation.LESS, Relation.EQUAL

# d of HIGH - LOW: value .06, s = .01 each, se = .01 * sqrt(2/3) = .0081650, df = 4.
# 95 %: t = 2.77645, half .022670 -> [.03733, .08267]; 90 %: t = 2.13185, half .017407
# -> [.04259, .07741].
HIGH, LOW = np.array([0.87, 0.88, 0.89]), np.array([0.81, 0.82, 0.83])

values = st.floats(-100, 100).map(lambda x: round(x, 3))
samples = st.lists(values, min_size=3, max_size=8).map(np.array)
claims = st.builds(
    Claim, st.sampled_from(Relation), st.floats(0.001, 50), samples, samples, st.just(False)
)


def single(relation: Relation, margin: float, x: FloatArray = HIGH, y: FloatArray = LOW) -> Verdict:
    return decide([Claim(relation, margin, x, y)])[0]


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
def test_verdict_alone_against_the_margin(
    relation: Relation, margin: float, expected: Outcome
) -> None:
    assert single(relation, margin).outcome is expected


def test_p_is_of_the_direction_decided() -> None:
    # Refuted equal, margin .01: .05 beyond it is 6.1237 standard errors; two-sided p at df = 4
    # is .003600. It used to print the p of "supported", 1.000.
    refuted = single(EQUAL, 0.01)
    assert (refuted.outcome, refuted.p) == (REFUTED, pytest.approx(0.0036, abs=1e-5))
    # Supported equal, margin .11: .05 inside it is as far, tested on one side at .05.
    supported = single(EQUAL, 0.11)
    assert (supported.outcome, supported.p) == (SUPPORTED, pytest.approx(0.0018, abs=1e-5))


def test_a_family_pays_for_its_size() -> None:
    """Alone each is supported; five of them are not (p = .0367 each, Holm .1836)."""
    # t(4; two-sided .0367) = 3.0619 standard errors = .025: margin .035.
    alone = single(GREATER, 0.035)
    assert alone.outcome is SUPPORTED
    assert alone.p == pytest.approx(0.0376, abs=1e-3)
    family = decide([Claim(GREATER, 0.035, HIGH, LOW)] * 5)
    assert {v.outcome for v in family} == {UNDECIDED}
    assert family[0].p == pytest.approx(5 * (alone.p or 0))
    assert family[0].alone == alone.p
    assert [v.difference.level for v in family] == pytest.approx([0.99] * 5)


def test_levels_step_down_as_holm_does() -> None:
    # p of margins 0, .02, .035 are .0018, .0080, .0376: tested at .05/3, .05/2, .05/1.
    family = decide([Claim(GREATER, m, HIGH, LOW) for m in (0.035, 0.0, 0.02)])
    levels = [v.difference.level for v in family]
    assert levels == pytest.approx([0.95, 1 - 0.05 / 3, 0.975])
    assert {v.outcome for v in family} == {SUPPORTED}


def test_touching_the_margin_decides_nothing() -> None:
    for relation in (GREATER, EQUAL):
        inside = welch(HIGH, LOW).low
        verdict = single(relation, inside * (1 + 1e-12))
        assert verdict.outcome is UNDECIDED


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([9.0, 9.1], [0.0, 0.1, 0.2], "n = 2 and 3, a verdict needs 3 seeds"),
        ([9.0], [0.0], "n = 1 and 1, a verdict needs 3 seeds"),
        ([], [0.0, 0.1, 0.2], "n = 0 and 3, a verdict needs 3 seeds"),
        ([9.0, 9.0, 9.0], [0.0, 0.1, 0.2], "all seeds of the variant give the same value"),
        ([0.0, 0.1, 0.2], [9.0, 9.0, 9.0], "all seeds of the baseline give the same value"),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], "all seeds of the variant give the same value"),
        ([0.3, 0.1 + 0.2, 0.3], [1.0, 2.0, 3.0], "all seeds of the variant give the same value"),
    ],
)
@pytest.mark.parametrize("relation", Relation)
def test_what_lacks_seeds_or_spread_is_withheld(
    relation: Relation, x: list[float], y: list[float], reason: str
) -> None:
    verdict = single(relation, 0.01, np.array(x), np.array(y))
    assert (verdict.outcome, verdict.reason) == (Outcome.WITHHELD, reason)
    assert verdict.p is None
    assert verdict.alone is None


def test_a_difference_that_is_the_same_at_every_seed_is_withheld() -> None:
    verdict = decide([Claim(GREATER, 0.0, LOW + 0.06, LOW, paired=True)])[0]
    assert verdict.reason == "the difference is the same at every seed"


def test_nothing_is_decided_where_verdicts_are_barred() -> None:
    verdict = decide([Claim(GREATER, 0.0, HIGH, LOW, barred="trust gate FAIL: x")])[0]
    assert (verdict.outcome, verdict.reason) == (Outcome.WITHHELD, "trust gate FAIL: x")
    assert verdict.difference.value == pytest.approx(0.06)


def test_what_is_withheld_still_counts_in_its_family() -> None:
    missing = Claim(GREATER, 0.0, HIGH[:1], LOW)
    verdict = decide([missing] * 4 + [Claim(GREATER, 0.035, HIGH, LOW)])[-1]
    assert verdict.outcome is UNDECIDED
    assert verdict.difference.level == pytest.approx(0.99)


def test_paired_uses_what_seeds_share() -> None:
    # Differences .01, .02, .03: mean .02, s = .01, se = .0057735, t = 3.4641, df = 2, p .0742; as
    # groups, with a spread of .1 over seeds, se = .0865 and t = .2312.
    base = np.array([0.3, 0.4, 0.5])
    x = base + np.array([0.01, 0.02, 0.03])
    together = decide([Claim(GREATER, 0.0, x, base, paired=True)])[0]
    assert together.p == pytest.approx(0.0742, abs=1e-4)
    assert together.difference.df == 2
    assert single(GREATER, 0.0, x, base).p == pytest.approx(0.83, abs=0.01)
    assert together.resolution.value < single(GREATER, 0.0, x, base).resolution.value


def test_resolution_is_of_the_test_and_level_that_were_used() -> None:
    """3.507 and 3.160 sd alone; at a fifth of .05, more."""
    assert single(GREATER, 0.03).resolution.value == pytest.approx(0.03507, abs=1e-5)
    assert single(EQUAL, 0.05).resolution.value == pytest.approx(0.0316, abs=1e-5)
    family = decide([Claim(EQUAL, 0.05, HIGH, LOW)] * 5)
    assert family[0].resolution.value == pytest.approx(0.0543, abs=1e-4)


@given(samples, samples, st.floats(0, 50))
def test_less_is_greater_with_the_arms_exchanged(
    x: FloatArray, y: FloatArray, margin: float
) -> None:
    assert single(LESS, margin, x, y).outcome is single(GREATER, margin, y, x).outcome


@given(samples, samples, st.floats(0.001, 50), st.floats(0, 50))
def test_verdict_is_monotone_in_the_margin(
    x: FloatArray, y: FloatArray, margin: float, more: float
) -> None:
    rank = {REFUTED: 0, UNDECIDED: 1, SUPPORTED: 2, Outcome.WITHHELD: 1}
    for relation, sign in ((GREATER, -1), (LESS, -1), (EQUAL, 1)):
        narrow = rank[single(relation, margin, x, y).outcome]
        wide = rank[single(relation, margin + more, x, y).outcome]
        assert sign * wide >= sign * narrow


@given(st.lists(claims, min_size=1, max_size=6))
def test_interval_p_and_verdict_say_the_same(family: list[Claim]) -> None:
    for claim, verdict in zip(family, decide(family), strict=True):
        d, margin = verdict.difference, claim.margin
        if verdict.p is None or abs(verdict.p - ALPHA) < 1e-6:
            continue
        above, below = d.low > margin, d.high < margin
        if claim.relation is LESS:
            above, below = d.high < -margin, d.low > -margin
        if claim.relation is EQUAL:
            above, below = max(-d.low, d.high) < margin, d.low > margin or d.high < -margin
        shown = SUPPORTED if above else REFUTED if below else UNDECIDED
        assert verdict.outcome is shown
        assert (verdict.p < ALPHA) == (shown is not UNDECIDED)
        assert not math.isnan(d.low)


def test_studies_at_once_are_decided_like_one_by_one() -> None:
    """The calibration computes 40,000 studies at once; here 30 of them go through `decide`."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4, 3)) + 3, rng.normal(size=(30, 4, 3))
    relations, margins = [EQUAL, GREATER, LESS, EQUAL], [3.0, 0.5, 0.1, 0.5]
    columns = [
        directed_p(relation, margin, welch_terms(x[:, i], y[:, i]))
        for i, (relation, margin) in enumerate(zip(relations, margins, strict=True))
    ]
    p, agrees = (np.stack(part, axis=-1) for part in zip(*columns, strict=True))
    shown = np.where(holm(p) < ALPHA, np.where(agrees, "supported", "refuted"), "undecided")
    found = [
        [v.outcome.value for v in decide(list(map(Claim, relations, margins, a, b)))]
        for a, b in zip(x, y, strict=True)
    ]

    assert found == shown.tolist()
    assert {word for study in found for word in study} == {"supported", "refuted", "undecided"}
