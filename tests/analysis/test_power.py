"""The self-test: simulated studies decided as real ones, beside what is known of their rates."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import test_calibration as calibration

from analysis import selftest
from analysis.ablation import Ablation, Prediction, Primary, Relation, Variant
from analysis.designs import Arm, Design, of_results
from analysis.power import EFFECT, SelfTest, plan_power, simulated
from analysis.stats import ALPHA, Claim, FloatArray, Outcome, decide, decided
from analysis.stats.power import paired_design, welch_design
from analysis.study import Study
from harness.config import Budget

GREATER, LESS, EQUAL = Relation.GREATER, Relation.LESS, Relation.EQUAL
UNKNOWN = math.nan


def predicted(relation: Relation, margin: float, metric: str = "eval/accuracy") -> Prediction:
    return Prediction(metric, "b", relation, "a", "", margin)


def alone(relation: Relation, margin: float, n: int, sd: float = 1.0) -> SelfTest:
    return plan_power([predicted(relation, margin)], {"eval/accuracy": sd}, n)


@pytest.mark.parametrize("paired", [False, True])
def test_studies_at_once_are_decided_like_one_by_one(paired: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5, 3)) + 3, rng.normal(size=(40, 5, 3))
    x[::4, 1] = 0.5  # no spread
    y[1::4, 1] = -9.0  # far away, and no spread in the baseline
    y[::7, 2] = x[::7, 2] + 1  # without a spread as pairs
    relations, margins = [EQUAL, GREATER, LESS, EQUAL, LESS], [3.0, 0.5, 0.1, 0.5, 0.0]

    def family(a: FloatArray, b: FloatArray, few: slice) -> list[Claim]:
        arms = [(a[..., i, :], b[..., i, :]) for i in range(4)] + [(a[..., 4, few], b[..., 4, few])]
        return [
            Claim(relation, margin, *arm, paired)
            for relation, margin, arm in zip(relations, margins, arms, strict=True)
        ]

    supported, refuted = decided(family(x, y, slice(2)))
    found = [[v.outcome for v in decide(family(a, b, slice(2)))] for a, b in zip(x, y, strict=True)]
    assert [[o is Outcome.SUPPORTED for o in study] for study in found] == supported.tolist()
    assert [[o is Outcome.REFUTED for o in study] for study in found] == refuted.tolist()
    assert {o for study in found for o in study} == set(Outcome)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_rates_agree_with_the_integral(n: int) -> None:
    """10,000 draws: four standard errors of a rate are at most .02."""
    design = welch_design((1.0, 1.0), (n, n))
    greater = alone(GREATER, 0.5, n).chances[0]
    assert greater.true == 0.5 + EFFECT
    assert greater.found[0] == pytest.approx(design.shows_difference(ALPHA)(EFFECT), abs=0.02)
    # At the margin the two-sided test errs on this side in half of ALPHA or less.
    assert greater.false[0] == pytest.approx(design.shows_difference(ALPHA)(0.0), abs=0.007)
    equal = alone(EQUAL, 2.0, n).chances[0]
    assert equal.true == 0.0
    assert equal.found[0] == pytest.approx(design.shows_equal(ALPHA)(2.0), abs=0.02)


@pytest.mark.parametrize("n", [3, 10])
def test_rates_agree_with_the_calibration(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its collapsed seeds fall 10 and their own noise, those of the self-test 10: hardly less."""
    monkeypatch.setattr(calibration, "DRAWS", 10_000)
    normal, collapsing = calibration.normal, calibration.collapsing
    own = alone(GREATER, calibration.MARGIN, n).chances[0].false
    pairs = [(normal, normal), (collapsing, collapsing), (collapsing, normal)]
    theirs = [calibration.false_supported([GREATER], n, draws) for draws in pairs]
    assert own == pytest.approx(theirs, abs=0.02)
    assert own[2] > 2 * ALPHA, "what the page has to warn of"
    family = plan_power(
        [predicted(EQUAL, calibration.MARGIN, f"m{i}") for i in range(5)],
        {f"m{i}": 1.0 for i in range(5)},
        n,
    )
    assert family.any_false[0] == pytest.approx(
        calibration.false_supported([EQUAL] * 5, n, (normal, normal)), abs=0.01
    )


def test_where_the_variant_alone_collapses_equal_is_asked_where_it_misleads() -> None:
    """A fall of .8 in one of five hides .16: the arms look alike where the truth is -.16."""
    results = {
        ("eval/accuracy", "b"): dict(enumerate([0.79, 0.80, 0.81])),
        ("eval/accuracy", "a"): dict(enumerate([0.80, 0.79, 0.81])),
    }
    p = predicted(EQUAL, 0.05)
    arms = [Variant("a"), Variant("b")]
    ablation = Ablation("mine", "", "", "a", arms, [], [0, 1, 2], Budget(), predictions=[p])
    (chance,) = simulated(of_results(ablation, results)).chances
    # Supported where no seed of three falls, .8^3 = .512, if the rest would be.
    assert chance.false[2] == pytest.approx(0.512 * chance.found[0], abs=0.02)
    assert chance.false[0] <= ALPHA


def test_the_direction_of_less() -> None:
    greater, less = (alone(r, 0.5, 5).chances[0] for r in (GREATER, LESS))
    assert less.true == -greater.true
    for a, b in zip(less.false + less.found, greater.false + greater.found, strict=True):
        assert a == pytest.approx(b, abs=0.02)


def test_pairs_use_the_correlation() -> None:
    p, sds = [predicted(GREATER, 0.0)], {"eval/accuracy": 1.0}
    paired, apart = (plan_power(p, sds, 5, way, 0.8).chances[0].found[0] for way in (True, False))
    # Differences have variance 1 + 1 - 1.6 = .4.
    known = paired_design(math.sqrt(0.4), 5).shows_difference(ALPHA)(EFFECT)
    assert paired == pytest.approx(known, abs=0.02)
    assert paired > apart


def test_a_prediction_without_a_spread_counts_in_the_family() -> None:
    pair = [predicted(GREATER, 0.0), predicted(GREATER, 0.0, "eval/kl")]
    both = plan_power(pair, {"eval/accuracy": 1.0, "eval/kl": 1.0}, 5)
    half = plan_power(pair, {"eval/accuracy": 1.0}, 5)
    assert all(map(math.isnan, half.chances[1].false + half.chances[1].found))
    assert half.chances[0].found[0] < alone(GREATER, 0.0, 5).chances[0].found[0] - 0.1
    assert half.chances[0].found[0] < both.chances[0].found[0]
    few = plan_power(pair[:1], {"eval/accuracy": 1.0}, 2)
    assert math.isnan(few.chances[0].found[0])
    assert few.any_false == (0.0, 0.0, 0.0)


def test_each_arm_keeps_its_own_seeds() -> None:
    """Arms of 3 and 8 seeds, standard deviations 1 and 2."""
    arms = (
        Arm("eval/accuracy", "b", (0, 2, 9), 1.0),
        Arm("eval/accuracy", "a", tuple(range(8)), 2.0),
    )
    design = Design((predicted(EQUAL, 4.0),), arms, ((1.0, 0.0), (0.0, 1.0)))
    known = welch_design((1.0, 2.0), (3, 8)).shows_equal(ALPHA)(4.0)
    assert simulated(design).chances[0].found[0] == pytest.approx(known, abs=0.02)
    together = dataclasses.replace(design, paired=True)  # seeds 0 and 2 in common
    assert math.isnan(simulated(together).chances[0].found[0])


def test_correlations_that_no_distribution_has_are_mended() -> None:
    labels = "abc"
    family = tuple(
        Prediction("eval/accuracy", x, GREATER, y, "", 0.0) for x, y in ("ab", "bc", "ca")
    )
    arms = tuple(Arm("eval/accuracy", label, (0, 1, 2), 1.0) for label in labels)
    rho = tuple(tuple(1.0 if a == b else -0.9 for b in labels) for a in labels)
    found = simulated(Design(family, arms, rho))
    assert all(0 < rate < 1 for chance in found.chances for rate in chance.found)


def test_planning_needs_no_store_and_is_repeatable() -> None:
    rates = [plan_power([predicted(EQUAL, 0.05)], {"eval/accuracy": 0.02}, n) for n in (3, 5, 10)]
    found = [each.chances[0].found[0] for each in rates]
    assert found == sorted(found)
    assert found[0] < 0.8 < found[1]  # attainable: 3.18 sd at 3 seeds, 2.07 at 5; here 2.5
    simulated.cache_clear()
    again = plan_power([predicted(EQUAL, 0.05)], {"eval/accuracy": 0.02}, 3)
    assert again == rates[0]
    assert plan_power([], {}, 3) == SelfTest((), (0.0, 0.0, 0.0))


def test_the_report_tests_its_own_design(sound: Study, asked: Callable[..., Study]) -> None:
    page, data = selftest.section(sound), selftest.data(sound)
    assert "10,000 studies like this one" in page
    row = next(line for line in page.splitlines() if "eval/accuracy is greater than 0.020" in line)
    first = data["predictions"][0]
    shown = [f"{rate:.3f}" for rate in (*first["false"], *first["found"])]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] + cells[5:] == shown
    assert cells[4] == "+0.040"  # .02 and 2 standard deviations of .01
    # A declared worst value nearer to what seeds reach misleads less than 0 does.
    near = selftest.data(asked(sound, primary=Primary(worst=0.86)))["predictions"][0]
    assert near["false"][2] < first["false"][2]
    assert "No prediction on a result" in selftest.section(asked(sound, predictions=[]))
