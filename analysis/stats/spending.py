"""Looks at accumulating data, and how much of a test's level is spent at each of them.

A hypothesis with one side is tested at several looks; `crossing` gives the p-value below which each
look rejects it, so that its chance to be rejected at any look, where it holds, is its level. The
levels are those of a Brownian motion seen at the shares of information. They are used as p-values,
also of t tests ("significance level approach"; Pocock 1977; Jennison and Turnbull 2000, chapter 3),
which `tests/README.md` shows to hold from 3 seeds on.

Own code, since Python has no kept library of it; it is held to the published boundaries.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special
from scipy.interpolate import PchipInterpolator

from analysis.stats.families import ALPHA
from analysis.stats.intervals import FloatArray
from analysis.until import Spending, Until

# Points of Gauss and Legendre's rule between a boundary and REACH standard deviations on its other
# side; what lies beyond has a chance below 1e-18. More of them for more looks, which are closer:
# the levels are then exact to 1e-12, also at 60 looks.
NODES, NODES_A_LOOK, REACH = 48, 4, 9.0
# What tests of pairs may spend of a level. They have n - 1 degrees of freedom, so that p-values of
# successive looks are less alike than those of a Brownian motion: unreduced, looks at each of 3 to
# 12 seeds err in .057 of studies (Pocock's type .060), which this makes .049 (.051). Welch's, which
# has about twice as many, errs in .052 (.047) as it is.
OF_PAIRS = 0.85
# Levels that are told apart lie between these; KNOTS of them are computed, and those of Holm's
# procedure for up to SHARES claims.
LEAST, MOST, KNOTS, SHARES = 1e-13, 1 - 1e-6, 48, 30


@dataclass(frozen=True)
class Looks:
    """When a test is looked at, and how its level is spent.

    Attributes:
        fractions: of the planned information at each look, rising to 1.
        share: of a level that is spent in all; what is kept back covers what t tests overspend.
    """

    fractions: tuple[float, ...]
    spending: Spending
    share: float = 1.0

    @classmethod
    def of(cls, until: Until) -> "Looks":
        """Those of a plan."""
        return cls(tuple(until.fractions), until.spending)

    def on(self, paired: bool) -> "Looks":
        """The same looks for tests of pairs, or for Welch's."""
        return dataclasses.replace(self, share=OF_PAIRS) if paired else self


def spent(level: float, fraction: float, spending: Spending) -> float:
    """What of a one-sided level may have been spent at a share of the information.

    Args:
        level: in (0, 1].
        fraction: in (0, 1].
    """
    if spending is Spending.POCOCK:
        return level * math.log1p((math.e - 1) * fraction)
    return float(2 * special.ndtr(special.ndtri(level / 2) / math.sqrt(fraction)))


@lru_cache(maxsize=4096)
def crossing(looks: Looks, level: float) -> tuple[float, ...]:
    """One-sided p-value below which each look rejects, together at a share of a one-sided level.

    By recursive integration over the paths that no look before has stopped (Armitage, McPherson
    and Rowe 1969; Jennison and Turnbull 2000, section 19.2).
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES + NODES_A_LOOK * len(looks.fractions))
    found: list[float] = []
    before, gone = 0.0, 0.0  # information and level so far
    # Paths so far: where they are, and with what weight; all begin at 0.
    places, mass = np.zeros(1), np.ones(1)
    for fraction in looks.fractions:
        now = spent(level * looks.share, fraction, looks.spending)
        root = math.sqrt(fraction - before)
        bound = _bound(places, mass, root, now - gone, math.sqrt(fraction))
        found.append(float(special.ndtr(-bound / math.sqrt(fraction))))
        low = -REACH * math.sqrt(fraction)
        half = max(bound - low, 0.0) / 2
        new = low + half * (nodes + 1)
        steps = np.exp(-(((new[:, None] - places[None, :]) / root) ** 2) / 2)
        density = steps @ mass / (root * math.sqrt(2 * math.pi))
        places, mass = new, density * weights * half
        before, gone = fraction, now
    return tuple(found)


def _bound(places: FloatArray, mass: FloatArray, root: float, chance: float, scale: float) -> float:
    """The value above which the paths come next with a chance."""

    def excess(log_p: float) -> float:
        bound = -scale * float(special.ndtri_exp(log_p))
        return math.log(max(over(bound), 1e-300)) - math.log(max(chance, 1e-300))

    def over(bound: float) -> float:
        return float(mass @ special.ndtr((places - bound) / root))

    # The p-value of a look is at least what is spent there; a little less is room for rounding.
    low, high = math.log(max(chance, 1e-300)) - 1, math.log(MOST)
    if excess(high) < 0:
        return -scale * float(special.ndtri_exp(high))
    return -scale * float(special.ndtri_exp(_root(excess, low, high)))


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(excess, low, high, xtol=1e-11, rtol=1e-11))


@lru_cache(maxsize=64)
def _levels(looks: Looks) -> list[PchipInterpolator]:
    """Of each look: logarithm of a one-sided p-value -> that of the level which it needs.

    Monotone, and exact at the levels of Holm's procedure, so that p-values and boundaries agree.
    """
    holm = {ALPHA / left / sides for left in range(1, SHARES + 1) for sides in (1, 2)}
    high = np.linspace(0.1, 0.95, KNOTS // 3)  # where the logarithms of levels lie close
    levels = np.array(sorted({*np.geomspace(LEAST, MOST, KNOTS), *high, *holm}))
    table = np.log([crossing(looks, float(level)) for level in levels])
    return [PchipInterpolator(column, np.log(levels)) for column in table.T]


def needed(looks: Looks, number: int, p: float) -> float:
    """The least one-sided level at which a look rejects by a one-sided p-value.

    It is a p-value itself: where the hypothesis holds, it is below any level at any look, however
    many there are, with no more than that chance (Liu and Anderson 2008). To 1 in 1,000.

    Args:
        number: of the look, from 0.
    """
    known = _levels(looks)[number]
    if p <= math.exp(known.x[0]):
        return LEAST
    return 1.0 if p >= math.exp(known.x[-1]) else math.exp(float(known(math.log(p))))


@dataclass(frozen=True)
class At:
    """One look of several.

    Attributes:
        number: from 0.
    """

    looks: Looks
    number: int

    def level(self, p: float, one_sided: bool) -> float:
        """`needed` by a p-value, two-sided (both sides spend half of a level each) or one-sided."""
        sides = 1 if one_sided else 2
        return min(1.0, sides * needed(self.looks, self.number, p / sides))

    def nominal(self, level: float, one_sided: bool) -> float:
        """The p-value below which the look rejects, at a level spent over all looks."""
        sides = 1 if one_sided else 2
        return sides * crossing(self.looks, level / sides)[self.number]
