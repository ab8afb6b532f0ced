"""How often the report errs: its own functions on simulated studies. Tables: tests/README.md.

`pytest -m calibration -n 0 -s tests/analysis/test_calibration.py` prints them (about a minute).
"""

from collections.abc import Callable

import numpy as np
import pytest

from analysis import stats
from analysis.ablation import Relation
from analysis.stats import ALPHA, Claim, FloatArray, Terms, Times, verdicts

DRAWS = 40_000
SEEDS = (3, 5, 10)
Draw = Callable[[np.random.Generator, tuple[int, ...]], FloatArray]

pytestmark = pytest.mark.calibration


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Lognormal, mean 0."""
    return rng.lognormal(size=shape) - np.exp(0.5)


def collapsing(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """One seed in five ends 10 standard deviations lower; mean 0."""
    return rng.normal(size=shape) - 10.0 * (rng.random(shape) < 0.2) + 2.0


def share(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Beta(18, 2): mean .9, standard deviation .065; a t interval often leaves [0, 1]."""
    return rng.beta(18, 2, size=shape)


def inside(terms: Terms, truth: float = 0.0) -> float:
    """How often a 95 % interval of differences holds the truth: p of "d = truth" above .05."""
    p, _ = stats.directed_p(Relation.GREATER, truth, terms)
    return float(np.mean(p >= ALPHA))


def covered(draw: Draw, n: int, truth: float, bounded: bool = False) -> float:
    """How often the interval of a mean holds the truth."""
    rng = np.random.default_rng(n)
    found = [stats.mean_interval(x, share=bounded) for x in draw(rng, (20_000, n))]
    return float(np.mean([e.low <= truth <= e.high for e in found]))


def show(what: str, rates: list[float]) -> None:
    print(f"| {what} | " + " | ".join(f"{rate:.3f}" for rate in rates) + " |")


def test_intervals_of_a_mean() -> None:
    plain = [covered(normal, n, 0.0) for n in SEEDS]
    bounded = [covered(share, n, 0.9, bounded=True) for n in SEEDS]
    show("mean, normal", plain)
    show("mean of a share (beta, .9 ± .065), on the logit", bounded)
    show("the same without the logit", [covered(share, n, 0.9) for n in SEEDS])
    show("mean, lognormal", [covered(skewed, n, 0.0) for n in SEEDS])
    show("mean, 20 % collapse", [covered(collapsing, n, 0.0) for n in SEEDS])
    assert all(0.93 <= rate <= 0.975 for rate in plain)
    assert all(rate >= 0.93 for rate in bounded)


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [(normal, 0.93, 0.975), (skewed, 0.93, 1.0), (collapsing, 0.93, 1.0)],
)
def test_intervals_of_a_welch_difference(draw: Draw, low: float, high: float) -> None:
    rates = []
    for n in SEEDS:
        rng = np.random.default_rng(n)
        x, y = draw(rng, (DRAWS, n)), draw(rng, (DRAWS, n))
        rates.append(inside(stats.welch_terms(x, y)))
    show(f"Welch difference, {draw.__name__}, equal shapes", rates)
    assert all(low <= rate <= high for rate in rates)


def test_intervals_at_unequal_spread_are_printed() -> None:
    for draw in (normal, skewed, collapsing):
        rates = []
        for n in SEEDS:
            rng = np.random.default_rng(n)
            x, y = 3 * draw(rng, (DRAWS, n)), draw(rng, (DRAWS, n))
            rates.append(inside(stats.welch_terms(x, y)))
        show(f"Welch difference, {draw.__name__}, spread ratio 3", rates)
        if draw is normal:
            assert all(0.93 <= rate <= 0.975 for rate in rates)


@pytest.mark.parametrize("effect", [0.0, 1.0, 4.0])
def test_intervals_of_an_effect_size(effect: float) -> None:
    """Hedges' g over normal arms of one spread, at effects in standard deviations."""
    rates = []
    for n in SEEDS:
        rng = np.random.default_rng(n)
        x, y = rng.normal(effect, size=(20_000, n)), rng.normal(size=(20_000, n))
        found = [stats.hedges_g_interval(a, b) for a, b in zip(x, y, strict=True)]
        rates.append(float(np.mean([low <= effect <= high for low, high in found])))
    show(f"effect size, true effect {effect:g}", rates)
    assert all(0.93 <= rate <= 0.975 for rate in rates)


@pytest.mark.parametrize("rho", [0.8, 0.0, -0.5])
def test_pairing(rho: float) -> None:
    """The paired interval holds whatever the correlation; Welch's only where it is not negative."""
    apart, together, power = [], [], []
    for n in SEEDS:
        rng = np.random.default_rng(n)
        common, own = rng.normal(size=(DRAWS, n)), rng.normal(size=(DRAWS, n))
        y, x = common, rho * common + np.sqrt(1 - rho**2) * own
        apart.append(inside(stats.welch_terms(x, y)))
        together.append(inside(stats.paired_terms(x, y)))
        found = [1 - inside(f(x + 1.5, y)) for f in (stats.welch_terms, stats.paired_terms)]
        power.append(found)
    show(f"Welch difference, correlation {rho}", apart)
    show(f"paired difference, correlation {rho}", together)
    show(f"power at 1.5 sd, Welch, correlation {rho}", [p for p, _ in power])
    show(f"power at 1.5 sd, paired, correlation {rho}", [p for _, p in power])
    assert all(0.93 <= rate <= 0.975 for rate in together)
    assert rho < 0 or all(0.93 <= rate <= 0.975 + 0.025 * (rho > 0) for rate in apart)


MARGIN = 3.0  # standard deviations over seeds
FAMILIES = {
    "five `equal`": [Relation.EQUAL] * 5,
    "five `greater`": [Relation.GREATER] * 5,
    "three `equal`, one `greater`, one `less`": [
        *[Relation.EQUAL] * 3,
        *(Relation.GREATER, Relation.LESS),
    ],
}


def false_supported(
    relations: list[Relation], n: int, draws: tuple[Draw, Draw], common: float = 0.0
) -> float:
    """How often some prediction whose difference lies at its margin is supported.

    Args:
        relations: of the family, one metric each.
        n: seeds per arm.
        draws: of variant and of baseline; mean 0.
        common: correlation between the metrics.
    """
    rng = np.random.default_rng(n)
    shape = (DRAWS, n)
    shared = [draw(rng, shape) for draw in draws]
    claims = []
    for relation in relations:
        own = [draw(rng, shape) for draw in draws]
        x, y = (
            np.sqrt(common) * s + np.sqrt(1 - common) * o for s, o in zip(shared, own, strict=True)
        )
        shift = -MARGIN if relation is Relation.LESS else MARGIN
        claims.append(Claim(relation, MARGIN, x + shift, y))
    supported, _ = stats.decided(claims)
    return float(np.mean(np.any(supported, axis=-1)))


@pytest.mark.parametrize("common", [0.0, 0.8])
@pytest.mark.parametrize("family", FAMILIES)
def test_false_supported_of_a_family_at_its_margins(family: str, common: float) -> None:
    rates = [false_supported(FAMILIES[family], n, (normal, normal), common) for n in SEEDS]
    show(f"{family}, metrics' correlation {common}", rates)
    assert all(rate <= 0.055 for rate in rates)


def test_collapse_of_one_arm_breaks_it() -> None:
    """What the page has to warn of: seeds that all escaped it make their variant look better."""
    for family in ("five `greater`", "five `equal`"):
        relations = FAMILIES[family]
        both = [false_supported(relations, n, (collapsing, collapsing)) for n in SEEDS]
        show(f"{family}, 20 % of the seeds of both arms collapse", both)
        assert all(rate <= 0.055 for rate in both)
        one = [false_supported(relations, n, (collapsing, normal)) for n in SEEDS]
        show(f"{family}, 20 % of the variant's seeds collapse", one)
        alone = [false_supported(relations[:1], n, (collapsing, normal)) for n in SEEDS]
        show("one prediction of these, 20 % of the variant's seeds collapse", alone)
        if family == "five `greater`":
            assert max(one) > 0.055


@pytest.mark.parametrize("count", [1, 4, 14])
@pytest.mark.parametrize("draw", [normal, skewed, collapsing])
def test_false_headline_among_null_arms(draw: Draw, count: int) -> None:
    """Variants like their common baseline: any called higher or lower."""
    rates = []
    for n in SEEDS:
        rng = np.random.default_rng(n)
        base, arms = draw(rng, (DRAWS, 1, n)), draw(rng, (DRAWS, count, n))
        p, _ = stats.directed_p(Relation.GREATER, 0.0, stats.welch_terms(arms, base))
        rates.append(float(np.mean(np.any(stats.holm(p) < ALPHA, axis=-1))))
    show(f"any higher/lower among {count} null arms, {draw.__name__}", rates)
    assert draw is not normal or all(rate <= 0.055 for rate in rates)


def test_false_alarms_about_odd_seeds() -> None:
    """`stats.unusual` on clean seeds, and what it sees of seeds that are not."""
    studies = 4_000
    for arms in (2, 5):
        for draw in (normal, skewed, collapsing):
            rates = []
            for n in SEEDS:
                rng = np.random.default_rng(n)
                x = draw(rng, (studies, arms, n))
                rates.append(float(np.mean([bool(stats.unusual(list(study))) for study in x])))
            show(f"a warning about odd seeds, {arms} arms, {draw.__name__}", rates)
            assert draw is not normal or all(rate <= 0.055 for rate in rates)
        wide = np.where(np.arange(arms) == 1, 3.0, 1.0)[:, None]
        rates = []
        for n in SEEDS:
            x = wide * np.random.default_rng(n).normal(size=(studies, arms, n))
            rates.append(float(np.mean([bool(stats.unusual(list(study))) for study in x])))
        show(f"a warning about odd seeds, {arms} arms, normal, one 3 times as wide", rates)


def times(rng: np.random.Generator, n: int, factor: float, budget: float) -> Times:
    """Lognormal times, median `factor`, seen until a budget."""
    time = factor * rng.lognormal(sigma=0.5, size=n)
    return Times(np.minimum(time, budget), time <= budget, np.full(n, budget))


@pytest.mark.parametrize("budget", [1.5, 1.0])
@pytest.mark.parametrize("relation", [Relation.LESS, Relation.EQUAL])
def test_false_supported_about_times(relation: Relation, budget: float) -> None:
    """The ratio lies at its margin, 1/2; about .2 or .5 of the baseline never arrive.

    Complete studies go to Welch's test and the others to the exact one, as in a report.
    """
    rates, censored = [], []
    for n in (3, 5):
        rng = np.random.default_rng(n)
        wrong = partial = 0
        for _ in range(20_000):
            arms = times(rng, n, 0.5, budget), times(rng, n, 1.0, budget)
            claim = stats.timed(relation, np.log(2), *arms)
            partial += claim.censored
            if not any(arm.reached.any() for arm in arms):
                continue
            p, agrees = verdicts.tested(claim, None)
            wrong += agrees and p < ALPHA
        rates.append(wrong / 20_000)
        censored.append(partial / 20_000)
    show(f"`{relation.value}` at its margin, budget {budget}, n = 3 and 5", rates)
    show("studies with a censored trial", censored)
    assert all(rate <= 0.055 for rate in rates)
