"""Times until something is reached, some of which nobody has seen the end of.

A time is *censored* where training ended without reaching the threshold: the true one is longer,
and how much is unknown. Leaving such trials out flatters their arm; taking the end for the time
flatters it as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.stats.exact import permutation_p, sign_flip_p
from analysis.stats.intervals import FloatArray


@dataclass(frozen=True)
class Times:
    """Times of an arm's trials, shape (n,) each.

    Attributes:
        time: positive; until the threshold, or until training ended without it.
        reached: whether it is the former.
        end: until when each trial was watched, whether or not it had reached the threshold before.
    """

    time: FloatArray
    reached: NDArray[np.bool_]
    end: FloatArray

    @property
    def complete(self) -> bool:
        """Whether every trial reached the threshold."""
        return bool(self.reached.all())

    def cut(self, end: float) -> "Times":
        """The same trials, had all been watched until `end` only."""
        seen = self.reached & (self.time <= end)
        return Times(np.minimum(self.time, end), seen, np.minimum(self.end, end))

    def scaled(self, factor: float) -> "Times":
        """Every time multiplied."""
        return Times(self.time * factor, self.reached, self.end * factor)


def survival(times: Times) -> tuple[FloatArray, FloatArray]:
    """Kaplan and Meier's estimate: when, and the share not yet there from then on.

    Source: Kaplan and Meier 1958, by `scipy.stats.ecdf`.
    """
    data = stats.CensoredData(
        uncensored=times.time[times.reached], right=times.time[~times.reached]
    )
    found = stats.ecdf(data).sf
    return np.asarray(found.quantiles), np.asarray(found.probabilities)


def restricted_mean(times: Times, end: float) -> float:
    """Mean of min(time, end): the area under the survival curve until `end`.

    Args:
        times: of one arm, n >= 1.
        end: no later than the least of `times.end`, or the area is not known.

    Source: Royston and Parmar 2013, section 2.
    """
    when, share = survival(times)
    edges = np.concatenate([[0.0], when[when < end], [end]])
    heights = np.concatenate([[1.0], share[when < end]])
    return float(np.sum(np.diff(edges) * heights))


def logrank_scores(x: Times, y: Times) -> tuple[FloatArray, FloatArray]:
    """1 if reached, else 0, less the pooled Nelson-Aalen hazard by then; of x and of y.

    The sum over an arm is the log-rank numerator, observed minus expected. Pooled, the scores do
    not depend on which trial is of which arm, so they can be permuted. Early times score high.

    Source: Peto and Peto 1972.
    """
    time = np.concatenate([x.time, y.time])
    reached = np.concatenate([x.reached, y.reached])
    at_risk = np.sum(time[None, :] >= time[:, None], axis=1)
    step = np.where(reached, 1 / at_risk, 0.0)
    hazard = np.sum(np.where(time[None, :] <= time[:, None], step[None, :], 0.0), axis=1)
    scores = reached - hazard
    return scores[: len(x.time)], scores[len(x.time) :]


def slower(x: Times, y: Times, factor: float, paired: bool) -> tuple[bool, float]:
    """Whether x seems to take more than `factor` times as long as y, and the one-sided p of that.

    The exact log-rank test of x / factor against y: if x takes `factor` times as long, the two have
    one distribution, and seen until a common end they can be exchanged. So it holds its level at
    any number of trials, where the normal approximation errs in one of ten studies at n = 3.

    Args:
        x, y: at the same seeds where `paired`.
        factor: positive.
        paired: exchange within seeds only.

    Returns:
        The side on which the scores lie (True: slower), and the p-value of that side, .5 where
        neither is.
    """
    scaled = x.scaled(1 / factor)
    end = _watched(scaled, y)
    a, b = logrank_scores(scaled.cut(end), y.cut(end))
    p = (sign_flip_p if paired else permutation_p)(a, b)
    return bool(np.mean(a) < np.mean(b)), p / 2


def ratio(x: Times, y: Times) -> float:
    """Restricted mean of x over that of y, until the end of the trial that was watched least."""
    end = _watched(x, y)
    return restricted_mean(x.cut(end), end) / restricted_mean(y.cut(end), end)


def _watched(x: Times, y: Times) -> float:
    """Until when every trial was watched; the plan sets it, not what was seen."""
    return float(min(np.min(x.end), np.min(y.end)))
