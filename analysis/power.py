"""How often a study like this one errs, and how often it finds what is there, by simulation.

A design (which seeds each arm has, its spread, the correlations, the family of predictions) is
simulated, and every simulated study is decided as the report decides. Each prediction is asked
where the truth lies at its margin, so that "supported" is false, and where it is true: for greater
and less EFFECT standard deviations beyond the margin, for equal at no difference. What the study
found says nothing about that true value: the power at the estimate is the p-value in other words.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from analysis import stats
from analysis.ablation import Prediction, Relation
from analysis.designs import Arm, Design, subjects
from analysis.stats import Claim, FloatArray, Looks, decided

DRAWS = 10_000  # a rate of .05 is then known to .004 (two standard errors)
SEED = 20_261  # a report is the same whenever it is built
# Seeds of one variant differ by 1.4 standard deviations (root mean square): less is a seed's luck.
EFFECT = 2.0
RATE = 0.2  # of seeds that collapse, where some do: one in five
# How far a collapsed seed falls where no worst value is known, in standard deviations.
DEPTH = 10.0


class Scene(Enum):
    """What happens to the seeds."""

    NORMAL = "normal"
    BOTH = "collapse in both arms"
    VARIANT = "collapse in the variant"


@dataclass(frozen=True)
class Chance:
    """What becomes of one prediction.

    Attributes:
        true: the difference at which it counts as true, in the metric's unit.
        false: chance of "supported" where the truth lies at the margin, one per Scene.
        found: chance of "supported" where the prediction is true, one per Scene.

    NaN where no verdict can be given: fewer than 3 seeds, or an arm whose spread is unknown or 0.
    """

    prediction: Prediction
    true: float
    false: tuple[float, ...]
    found: tuple[float, ...]


@dataclass(frozen=True)
class SelfTest:
    """A design's error rates.

    Attributes:
        chances: one per prediction, in the given order.
        any_false: chance that some prediction is supported where all lie at their margins.
    """

    chances: tuple[Chance, ...]
    any_false: tuple[float, ...]


def plan_power(
    predictions: Sequence[Prediction],
    sds: Mapping[str, float],
    seeds: int,
    paired: bool = False,
    correlation: float = 0.0,
) -> SelfTest:
    """Error rates and power of a study that is only planned: how many seeds do I need?

    Example:
        >>> p = Prediction("eval/accuracy", "dr_grpo", Relation.EQUAL, "grpo", 0.05, "same maths")
        >>> for n in (3, 5, 10):
        ...     print(n, plan_power([p], {"eval/accuracy": 0.02}, n).chances[0].found[0])

    Args:
        predictions: the family.
        sds: metric -> standard deviation over seeds, of every arm alike.
        seeds: of every arm.
        paired: whether seeds are compared one by one.
        correlation: over seeds between the arms of one metric; 0 between metrics.
    """
    keys = subjects(predictions)
    arms = tuple(Arm(*key, tuple(range(seeds)), sds.get(key[0], math.nan)) for key in keys)
    shared = [[1.0 if a == b else correlation * (a[0] == b[0]) for b in keys] for a in keys]
    return simulated(Design(tuple(predictions), arms, tuple(map(tuple, shared)), paired))


@dataclass(frozen=True)
class _Test:
    """A prediction with its two arms.

    Attributes:
        x, y: arm of the variant and of the baseline; their seeds are those that the test uses.
    """

    prediction: Prediction
    x: Arm
    y: Arm

    @property
    def possible(self) -> bool:
        """Whether `decide` would give a verdict."""
        enough = min(len(self.x.seeds), len(self.y.seeds)) >= stats.MIN_SEEDS_VERDICT
        return enough and self.x.sd > 0 and self.y.sd > 0

    @property
    def true(self) -> float:
        """A difference at which the prediction is true."""
        beyond = self.prediction.margin
        beyond += EFFECT * math.sqrt((self.x.sd**2 + self.y.sd**2) / 2)
        signed = {Relation.GREATER: beyond, Relation.LESS: -beyond, Relation.EQUAL: 0.0}
        return signed[self.prediction.relation]

    def fall(self, arm: Arm) -> float:
        """How far a collapsed seed of an arm falls; to the side that misleads, where unknown."""
        if not math.isnan(arm.depth):
            return arm.depth
        return (-DEPTH if self.prediction.relation is Relation.LESS else DEPTH) * arm.sd

    def false(self, scene: Scene) -> float:
        """A difference at which the prediction is just false: the margin.

        Of equal, the one on the side of the fall; where the variant alone collapses, as far beyond
        it as its other seeds then lie above their mean, so that they look equal.
        """
        margin, relation = self.prediction.margin, self.prediction.relation
        if relation is not Relation.EQUAL:
            return margin if relation is Relation.GREATER else -margin
        fall = self.fall(self.x)
        hidden = RATE * abs(fall) if scene is Scene.VARIANT else 0.0
        return -math.copysign(max(margin, hidden), fall)


@dataclass(frozen=True)
class _Draws:
    """What chance does in every simulated study.

    Attributes:
        noise: key of an arm -> (DRAWS, seeds), standard normal; correlated over arms.
        fell: variant -> which seeds collapse, (DRAWS, seeds); a trial collapses as a whole.
        column: seed -> its place on the last axes.
    """

    noise: dict[tuple[str, str], FloatArray]
    fell: dict[str, NDArray[np.bool_]]
    column: dict[int, int]

    def values(self, test: _Test, arm: Arm, falls: bool) -> FloatArray:
        """One arm over its seeds, (DRAWS, n), with mean 0 whether or not seeds fall."""
        columns = [self.column[seed] for seed in arm.seeds]
        values = arm.sd * self.noise[arm.key][:, columns]
        if not falls:
            return values
        fall = test.fall(arm)
        return np.where(self.fell[arm.variant][:, columns], -fall, values) + RATE * fall


@cache
def simulated(design: Design) -> SelfTest:
    """Decide DRAWS studies of a design in every Scene, with false and with true predictions."""
    if not design.predictions:
        return SelfTest((), (0.0,) * len(Scene))
    tests, draws = _tests(design), _drawn(design)
    false, found = (
        [_supported(design, tests, draws, scene, truth) for scene in Scene]
        for truth in (False, True)
    )
    chances = tuple(
        Chance(test.prediction, test.true, _rates(test, false, i), _rates(test, found, i))
        for i, test in enumerate(tests)
    )
    return SelfTest(chances, tuple(float(np.mean(np.any(x, axis=-1))) for x in false))


def _rates(test: _Test, supported: list[NDArray[np.bool_]], i: int) -> tuple[float, ...]:
    """How often one prediction is supported, one rate per Scene."""
    return tuple(float(np.mean(x[:, i])) if test.possible else math.nan for x in supported)


def _tests(design: Design) -> list[_Test]:
    arms = {arm.key: arm for arm in design.arms}
    tests = []
    for p in design.predictions:
        x, y = arms[p.metric, p.variant], arms[p.metric, p.baseline]
        if design.paired:
            common = tuple(sorted(set(x.seeds) & set(y.seeds)))
            x, y = (dataclasses.replace(arm, seeds=common) for arm in (x, y))
        tests.append(_Test(p, x, y))
    return tests


def _drawn(design: Design) -> _Draws:
    rng = np.random.default_rng(SEED)
    seeds = sorted({seed for arm in design.arms for seed in arm.seeds})
    shape = (DRAWS, len(seeds))
    # Correlations over a few seeds, each pair over its own, need not belong to any distribution:
    # the nearest that does, by its eigenvalues.
    weights, axes = np.linalg.eigh(np.array(design.correlation))
    factor = axes * np.sqrt(np.maximum(weights, 0.0))
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    noise = np.tensordot(factor, rng.normal(size=(len(design.arms), *shape)), axes=1)
    variants = dict.fromkeys(arm.variant for arm in design.arms)
    return _Draws(
        {arm.key: noise[i] for i, arm in enumerate(design.arms)},
        {variant: rng.random(shape) < RATE for variant in variants},
        {seed: i for i, seed in enumerate(seeds)},
    )


def _supported(
    design: Design, tests: Sequence[_Test], draws: _Draws, scene: Scene, truth: bool
) -> NDArray[np.bool_]:
    """Which predictions are supported in each study, (DRAWS, predictions)."""
    arms = []
    for test in tests:
        x = y = np.zeros((DRAWS, 1))  # too few seeds: counts in the family, is never supported
        if test.possible:
            x = draws.values(test, test.x, scene is not Scene.NORMAL)
            y = draws.values(test, test.y, scene is Scene.BOTH)
            x = x + (test.true if truth else test.false(scene))
        arms.append((test.prediction, x, y))

    def claims(n: int | None) -> list[Claim]:
        """The family on the first seeds, or on all."""
        return [Claim(p.relation, p.margin, x[:, :n], y[:, :n], design.paired) for p, x, y in arms]

    if design.until is None:
        return decided(claims(None))[0]
    stages = [claims(n) for n in design.until.at]
    return stats.decided_in_looks(Looks.of(design.until), stages)[0]
