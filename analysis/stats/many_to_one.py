"""The distribution of Dunnett's statistic, by quadrature.

scipy integrates the same as a general multivariate t by quasi-random numbers, which takes minutes
beyond some twenty variants and differs by the seed. Its correlations are products, so given the
baseline's mean and the pooled spread the variants are independent, and two integrals remain
(Dunnett 1955, section 4).
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import optimize, special

from analysis.stats.intervals import FloatArray

# Points of Gauss and Legendre's rule for the baseline's mean, within REACH standard deviations, and
# for the spread, all but LEAST of it at each end. P-values are then exact to 1e-7, for 1 variant
# as for 200.
NODES, REACH = 96, 8.0
SPREADS, LEAST = 64, 1e-16


def reached(t: float, sizes: Sequence[int], baseline: int, df: int) -> float:
    """Chance that some |t| of the variants is at least `t`, where none differs: its adjusted p.

    Args:
        t: at least 0; infinite is never reached.
        sizes: seeds of each variant.
        baseline: seeds of the baseline.
        df: of the pooled variance.
    """
    if np.isinf(t):
        return 0.0
    z, weights = np.polynomial.legendre.leggauss(NODES)
    z, weights = REACH * z, REACH * weights * np.exp(-((REACH * z) ** 2) / 2) / np.sqrt(2 * np.pi)
    spread, chances = _spreads(df)
    inside = np.zeros((len(spread), len(z)))
    for size, count in Counter(sizes).items():
        share = size / (size + baseline)
        root, shift = np.sqrt(1 - share), np.sqrt(share) * z[None, :]
        bound = t * spread[:, None]
        between = special.ndtr((bound + shift) / root) - special.ndtr((shift - bound) / root)
        with np.errstate(divide="ignore"):
            inside += count * np.log(between)
    # 1 - chance of all inside, as a sum of what is outside: no digits are lost to the 1.
    return float(chances @ (-np.expm1(inside) @ weights))


def critical(level: float, sizes: Sequence[int], baseline: int, df: int) -> float:
    """The |t| that all variants stay below with a chance of `level`; arguments as `reached`."""
    lone = float(special.stdtrit(df, 0.5 + level / 2))
    bonferroni = float(special.stdtrit(df, 1 - (1 - level) / 2 / len(sizes)))
    if len(sizes) == 1:
        return lone
    return float(
        optimize.brentq(
            lambda t: reached(t, sizes, baseline, df) - (1 - level), lone, bonferroni, xtol=1e-9
        )
    )


@cache
def _spreads(df: int) -> tuple[FloatArray, FloatArray]:
    """Pooled standard deviations over the true one, and the chance of each."""
    nodes, weights = np.polynomial.legendre.leggauss(SPREADS)
    low, high = (
        math.sqrt(2 * p / df)
        for p in (special.gammaincinv(df / 2, LEAST), special.gammainccinv(df / 2, LEAST))
    )
    spread = low + (high - low) * (nodes + 1) / 2
    # The chi distribution's density, of spread * sqrt(df).
    log = math.log(2) + df / 2 * math.log(df / 2) - special.gammaln(df / 2)
    density = np.exp(log + (df - 1) * np.log(spread) - df * spread**2 / 2)
    return spread, density * weights * (high - low) / 2
