"""The variance split: by hand, against statsmodels' analysis of variance, and on average."""

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis import stats
from analysis.stats import VarianceSplit


def test_split_by_hand() -> None:
    # Shares, k = 2: seed 1 has 1, .5; seed 2 has 0, .5. Means: seeds .75, .25; prompts .5, .5.
    # Within the cells p(1 - p) = 0, .25, 0, .25, on average .125; times k/(k - 1): .25.
    # What is left of each cell is ±.25: residual mean square 4 * .0625 / 1 = .25.
    # seed: var(.75, .25) = .125, less .25 / 2 prompts. prompt: 0 less .25 / 2 seeds.
    # interaction: .25 less .25 / 2 responses.
    assert stats.split(np.array([[2, 1], [0, 1]]), k=2) == VarianceSplit(
        seed=0.0, prompt=-0.125, sampling=0.25, interaction=0.125
    )


def test_split_agrees_with_the_mean_squares_of_statsmodels() -> None:
    rng = np.random.default_rng(7)
    k, right = 3, rng.random((4, 5, 3)) < rng.random((4, 5, 1))
    rows = [(s, p, float(y)) for (s, p, _), y in np.ndenumerate(right)]
    frame = pd.DataFrame(rows, columns=["s", "p", "y"])

    table = anova_lm(ols("y ~ C(s) * C(p)", frame).fit())

    square = table["sum_sq"] / table["df"]
    found = stats.split(right.sum(axis=2), k)
    assert found.sampling == pytest.approx(square["Residual"])
    assert found.interaction == pytest.approx((square["C(s):C(p)"] - square["Residual"]) / k)
    assert found.seed == pytest.approx((square["C(s)"] - square["C(s):C(p)"]) / (5 * k))
    assert found.prompt == pytest.approx((square["C(p)"] - square["C(s):C(p)"]) / (4 * k))


@pytest.mark.parametrize("k", [1, 4])
def test_split_is_unbiased(k: int) -> None:
    # Shares .5 ± .2 by seed, ± .15 by prompt: variances .04 and .0225, none of both. A response's
    # variance is E p(1 - p) = .5 - (.25 + .0625) = .1875, whatever k is.
    rng = np.random.default_rng(0)
    draws = 3000
    seed = 0.2 * rng.choice([-1, 1], (draws, 4, 1))
    prompt = 0.15 * rng.choice([-1, 1], (draws, 1, 6))
    right = rng.binomial(k, 0.5 + seed + prompt)

    found = [stats.split(table, k) for table in right]

    mean, error = (f([(x.seed, x.prompt, x.sampling) for x in found], axis=0) for f in (_mean, _se))
    assert np.all(np.abs(mean - [0.04, 0.0225, 0.1875]) < 4 * error)


def _mean(x: list[tuple[float, ...]], axis: int) -> np.ndarray:
    return np.asarray(np.mean(x, axis=axis))


def _se(x: list[tuple[float, ...]], axis: int) -> np.ndarray:
    return np.asarray(np.std(x, axis=axis) / math.sqrt(len(x)))


def test_what_cannot_be_told_is_nan() -> None:
    single = stats.split(np.array([[1, 0, 1]]), k=1)
    assert all(math.isnan(x) for x in vars(single).values())

    several = stats.split(np.array([[1, 0, 2]]), k=2)
    assert several.sampling == pytest.approx(1 / 6)  # p(1 - p) = .25, 0, 0, mean 1/12; times 2/1
    assert math.isnan(several.seed)

    once = stats.split(np.array([[1, 0], [1, 1]]), k=1)
    assert math.isnan(once.interaction)
    assert once.sampling == pytest.approx(0.25)  # residuals ±.25


def test_counts_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="counts must lie"):
        stats.split(np.array([[3, 0], [1, 1]]), k=2)
