"""What an arm is estimated to reach, within what its metric can be."""

import dataclasses

from analysis import stats
from analysis.stats import Estimate, FloatArray
from analysis.units import floor, is_share


def estimate(x: FloatArray, metric: str) -> Estimate:
    """Mean over seeds with its 95 % interval, which never leaves what the metric can be.

    That of a share is taken on the logit; that of another quantity ends at its floor, which the
    true mean cannot pass either.
    """
    e = stats.mean_interval(x, share=is_share(metric))
    return dataclasses.replace(e, low=max(e.low, floor(metric))) if e.low < floor(metric) else e
