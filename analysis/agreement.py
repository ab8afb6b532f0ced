"""Whether a new run of an ablation agrees with the finding that is kept of it.

Results that could not have disagreed do not agree. An arm agrees where all its seeds repeat what is
kept to the bit, and else only where its comparison would show, with 80 % power, a change as large
as what the finding is about on that metric: the largest difference between its arms, or the margin
of a prediction where that is larger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from analysis import stats
from analysis.quantity import Kind
from analysis.stats import Difference
from harness.errors import ConfigError

# Chance of calling a faithful run of any arm and metric in disagreement, for all of them together.
ALPHA = 0.05


class Reading(Enum):
    """What one arm of the new run says."""

    AGREES = "agrees"
    DISAGREES = "DISAGREES"
    BLIND = "cannot tell"


@dataclass(frozen=True)
class Compared:
    """One arm's results on one metric, now and as they are kept.

    Attributes:
        difference: now minus kept, with the interval at which all arms hold together (Bonferroni);
            without a spread on both sides it has none.
        shows: the smallest change that the comparison shows with 80 % power; NaN below 3 seeds.
        about: the change that it has to show.
        reading: AGREES where every seed gives the same to the bit; DISAGREES where the interval
            excludes 0 or, without a spread, results differ; else AGREES where it would have shown
            what the finding is about.
    """

    metric: str
    variant: str
    difference: Difference
    shows: float
    about: float
    reading: Reading


def compared(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[Compared]:
    """Every arm and metric of a kept finding against those of a new run, by Welch's t.

    Raises:
        ConfigError: the new run asks something else, or one of both has fewer than two seeds in
            an arm.
    """
    for key in ("question", "baseline", "primary", "budget"):
        if kept[key] != now[key]:
            raise ConfigError(
                f"{kept['name']}: {key} is not that of the finding, {kept[key]!r:.80} there and "
                f"{now[key]!r:.80} in the new run; run the ablation's file as it was"
            )
    arms = [(metric, label) for metric, own in kept["seeds"].items() for label in own]
    for what, side in (("the new run", now), ("the finding", kept)):
        lacking = [f"{m} of {v}" for m, v in arms if len(side["seeds"].get(m, {}).get(v, ())) < 2]
        if lacking:
            raise ConfigError(
                f"{kept['name']}: at least 2 seeds of every arm are compared, {what} has fewer of "
                f"{lacking[0]}; run more seeds"
            )
    alpha = ALPHA / len(arms)
    return [_compared(kept, now, metric, label, alpha) for metric, label in arms]


def turned(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Claims of which the new run says the opposite."""
    opposite = [{"supported", "refuted"}, {"higher", "lower"}]
    return [claim for claim, *both in _verdicts(kept, now) if set(both) in opposite]


def beside(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What else is not as it was kept, a line each: verdicts, arms, what the runs were made of."""
    lines = [
        f"the new run says nothing of: {claim}"
        if new is None
        else f"verdict {new}, kept {old}: {claim}"
        for claim, old, new in _verdicts(kept, now)
        if old != new
    ]
    arms = {label for own in kept["seeds"].values() for label in own}
    more = {label for own in now["seeds"].values() for label in own} - arms
    lines += [f"the new run has an arm {label!r} that is not kept" for label in sorted(more)]
    there, here = _makings(kept), _makings(now)
    lines += [
        f"{key} {here.get(key, 'none')}, kept {there.get(key, 'none')}"
        for key in there | here
        if here.get(key) != there.get(key)
    ]
    return lines


def _verdicts(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """Each kept claim, its verdict, and that of the new run; None where it says nothing of it."""
    words = {each["claim"]: each["verdict"] for each in now["verdicts"]}
    return [(each["claim"], each["verdict"], words.get(each["claim"])) for each in kept["verdicts"]]


def _makings(finding: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was made of, the versions of its libraries among it."""
    made = dict(finding["made_of"])
    versions: dict[str, Any] = made.pop("versions")
    return made | versions


def _compared(
    kept: Mapping[str, Any], now: Mapping[str, Any], metric: str, label: str, alpha: float
) -> Compared:
    new, old = (np.array(list(of["seeds"][metric][label].values())) for of in (now, kept))
    repeated = now["seeds"][metric][label] == kept["seeds"][metric][label]
    difference = stats.welch(new, old, 1 - alpha)
    shows, about = stats.detectable(new, old, alpha).value, _about(kept, metric)
    if repeated:
        reading = Reading.AGREES
    elif np.isnan(difference.low):
        same = np.ptp([*new, *old]) == 0
        reading = Reading.AGREES if same else Reading.DISAGREES
    elif not difference.low <= 0 <= difference.high:
        reading = Reading.DISAGREES
    else:
        reading = Reading.AGREES if shows <= about else Reading.BLIND
    return Compared(metric, label, difference, shows, about, reading)


def _about(kept: Mapping[str, Any], metric: str) -> float:
    """The difference that a finding is about on a metric; of a single arm its whole value."""
    means = [float(np.mean(list(own.values()))) for own in kept["seeds"][metric].values() if own]
    margins: list[float] = [
        p["margin"]
        for p in kept["predictions"]
        if p["metric"] == metric and p["quantity"] == Kind.RESULT.value
    ]
    apart = max(means) - min(means) if len(means) > 1 else abs(means[0])
    return max([apart, *margins])
