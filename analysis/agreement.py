"""Whether a new run of an ablation agrees with the finding that is kept of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import stats
from analysis.stats import Difference
from harness.errors import ConfigError

# Chance of calling a faithful run of any arm and metric in disagreement, for all of them together.
ALPHA = 0.05


@dataclass(frozen=True)
class Compared:
    """One arm's results on one metric, now and as they are kept.

    Attributes:
        difference: now minus kept, with the interval at which all arms hold together (Bonferroni);
            without a spread on both sides it has none.
        agrees: the interval holds 0; without one, the results are equal.
    """

    metric: str
    variant: str
    difference: Difference
    agrees: bool


def compared(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[Compared]:
    """Every arm and metric of a kept finding against those of a new run, by Welch's t.

    Raises:
        ConfigError: the new run asks something else, or has fewer than two seeds in an arm.
    """
    for key in ("question", "baseline", "primary", "budget"):
        if kept[key] != now[key]:
            raise ConfigError(
                f"{kept['name']}: {key} is not that of the finding, {kept[key]!r:.80} there and "
                f"{now[key]!r:.80} in the new run; run the ablation's file as it was"
            )
    arms = [(metric, label) for metric, own in kept["seeds"].items() for label in own]
    lacking = [f"{m} of {v}" for m, v in arms if len(now["seeds"].get(m, {}).get(v, ())) < 2]
    if lacking:
        raise ConfigError(
            f"{kept['name']}: at least 2 seeds of every arm are compared, the new run has fewer of "
            f"{lacking[0]}; run more seeds"
        )
    level = 1 - ALPHA / len(arms)
    return [
        _compared(metric, label, kept["seeds"][metric][label], now["seeds"][metric][label], level)
        for metric, label in arms
    ]


def _compared(
    metric: str, label: str, then: Mapping[str, float], now: Mapping[str, float], level: float
) -> Compared:
    new, old = (np.array(list(own.values())) for own in (now, then))
    difference = stats.welch(new, old, level)
    if np.isnan(difference.low):
        return Compared(metric, label, difference, bool(np.ptp([*new, *old]) == 0))
    return Compared(metric, label, difference, difference.low <= 0 <= difference.high)
