"""Where the variance of an arm's mean comes from: seeds, prompts, and the sampling of responses."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import FloatArray

FEWEST = 2  # a variance needs two of what varies


@dataclass(frozen=True)
class VarianceSplit:
    """Components of variance of one graded response, in squared units of the share.

    The mean of S seeds on N prompts with k responses each has the variance
    seed/S + prompt/N + interaction/(S N) + sampling/(S N k). On a fixed evaluation set the prompts
    are the same for every arm, and `prompt` cancels in a difference.

    Attributes:
        seed: between training seeds.
        prompt: between prompts, in how hard they are for every seed.
        sampling: between responses of one seed to one prompt, on average.
        interaction: between seeds, in what is hard for them. NaN at k = 1, where `sampling` holds
            it as well.
    """

    seed: float
    prompt: float
    sampling: float
    interaction: float


def split(correct: NDArray[np.int_], k: int) -> VarianceSplit:
    """Unbiased estimates from a balanced table, by the two-way analysis of variance.

    Unbiased estimates of a variance that is 0 are below 0 half of the time; they are returned so.
    Unequal variances within the cells, as shares have them, leave the estimates unbiased.

    Args:
        correct: (seeds, prompts), right responses among k.
        k: responses per seed and prompt, at least 1.

    Returns:
        NaN for what cannot be told: seed, prompt and interaction below 2 seeds or 2 prompts;
        sampling there at k = 1.

    Raises:
        ValueError: counts outside 0..k; a caller's mistake.

    Source: Searle, Casella and McCulloch 1992, section 4.4 (method of moments); the sampling term
        is Miller 2024, section 3.2.
    """
    if k < 1 or np.any((correct < 0) | (correct > k)):
        raise ValueError(f"counts must lie in 0..k with k >= 1, received k = {k}")
    shares = correct / k
    within = math.nan if k < FEWEST else float(np.mean(shares * (1 - shares))) * k / (k - 1)
    seeds, prompts = shares.shape
    if min(seeds, prompts) < FEWEST:
        return VarianceSplit(math.nan, math.nan, within, math.nan)
    by_seed, by_prompt = shares.mean(axis=1), shares.mean(axis=0)
    rest = _residual(shares, by_seed, by_prompt)
    return VarianceSplit(
        seed=float(np.var(by_seed, ddof=1)) - rest / prompts,
        prompt=float(np.var(by_prompt, ddof=1)) - rest / seeds,
        sampling=rest if k < FEWEST else within,
        interaction=rest - within / k,
    )


def _residual(shares: FloatArray, by_seed: FloatArray, by_prompt: FloatArray) -> float:
    """Mean square of what neither seed nor prompt explains."""
    left = shares - by_seed[:, None] - by_prompt[None, :] + shares.mean()
    return float(np.sum(left**2)) / ((len(by_seed) - 1) * (len(by_prompt) - 1))
