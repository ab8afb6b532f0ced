"""One number for a whole learning curve."""

import numpy as np

from analysis.stats.intervals import FloatArray


def mean_height(x: FloatArray, y: FloatArray) -> float:
    """Area under a curve divided by its width, in the unit of y; trapezoids.

    Curves that are compared must share x: otherwise the widest is favoured.

    Args:
        x: shape (k,), increasing, k >= 2.
        y: shape (k,).
    """
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def first_reached(x: FloatArray, y: FloatArray, threshold: float) -> float:
    """Where a curve first lies at or above a threshold; infinity if it never does.

    Between two points it is taken as straight, so that the result does not depend on where the
    points happen to lie. x[0] for a curve that begins there.

    Args:
        x: shape (k,), increasing.
        y: shape (k,).
        threshold: in the unit of y.
    """
    above = np.flatnonzero(y >= threshold)
    if not len(above):
        return float(np.inf)
    i = int(above[0])
    if i == 0:
        return float(x[0])
    part = (threshold - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + part * (x[i] - x[i - 1]))
