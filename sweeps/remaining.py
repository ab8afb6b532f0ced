"""How long a trial and a sweep will still take, by what their records say they took so far.

Seconds of steps are added up, so that a pause between two attempts counts for nothing. The last
evaluation is as long as the first: both measure what is measured at the ends only.
"""

import math
import os
import statistics
from collections.abc import Sequence

from harness.tracking.record import Record
from sweeps.estimate import SHARED, START, STEP, TEST, makespan

# Shares are sums of floats: this much of one is rounding.
ROUNDING = 1e-9


def used(found: Record) -> float:
    """Share of a trial's budget that is spent, in 0..1."""
    budget = found.config.get("budget", {})
    if not found.steps:
        return 0.0
    spent = found.steps[found.last].metrics.get(f"budget/{budget.get('unit')}", 0.0)
    return min(1.0, spent / float(budget.get("amount", "inf")))


def rest(found: Record) -> float | None:
    """Seconds from a trial's newest step to its end; None before training says how fast it is."""
    share, spent, tests = used(found), _worked(found), _tests(found)
    training = spent - sum(tests)
    if share <= 0 or training <= 0:
        return None
    if share >= 1:
        return 0.0
    every = float(found.config.get("evaluation", {}).get("every", 1.0))
    coming = math.ceil(1 / every - ROUNDING) - 1 - math.floor(share / every + ROUNDING)
    regular = statistics.mean(tests) * coming if tests else 0.0
    # The last evaluation is as large as the first, and none of it is another trial's.
    last = sum(found.steps[0].metrics.get(key, 0.0) for key in (TEST, SHARED))
    return training / share * (1 - share) + regular + last


def left(found: Record, now: float) -> float | None:
    """Seconds to the end of a running trial; a step that is under way counts as one at most.

    Args:
        now: seconds since 1970.
    """
    seconds = rest(found)
    if seconds is None:
        return None
    since = max(0.0, now - found.steps[found.last].time_ms / 1000)
    return max(0.0, seconds - min(since, _worked(found) / found.last))


def whole(found: Record) -> float | None:
    """Seconds of a trial from the start of its process to its end."""
    seconds = rest(found)
    if seconds is None:
        return None
    first = found.steps[0].metrics
    return first.get(START, 0.0) + first.get(TEST, 0.0) + _worked(found) + seconds


def sweep_left(
    running: Sequence[Record | None],
    waiting: Sequence[Record | None],
    ended: Sequence[Record | None],
    now: float,
    driven: bool,
) -> float | None:
    """Seconds to the end of a sweep: what waits follows what runs, as many at a time as can.

    Args:
        waiting: in the order in which they start; with a record where they go on.
        driven: what waits will be started: between two trials, or while the first ones start.

    Returns:
        None while nobody drives it, no trial has said how fast it is, or nobody knows how many run
        at a time.
    """
    known = [w for found in (*running, *waiting, *ended) if found and (w := whole(found))]
    if not known or not (running or driven):
        return None
    typical = statistics.median(known)
    seconds = [left(found, now) if found else None for found in running]
    seconds += [rest(found) if found else None for found in waiting]
    rooms = [_room(found) for found in (*running, *waiting, *ended) if found]
    room = max([len(running), *rooms])
    return (
        None
        if room == 0
        else makespan([typical if each is None else each for each in seconds], room)
    )


def _room(found: Record) -> int:
    """Trials like this one that this machine runs at a time; 0 where that is not its cores'."""
    ray, trainer = found.config.get("ray", {}), found.config.get("trainer", {})
    if ray.get("address") is not None or trainer.get("device") != "cpu":
        return 0
    cores: int = ray.get("cpus_per_rank", 1) * trainer.get("ranks", 1)
    return max(1, (os.cpu_count() or 1) // max(1, cores))


def _worked(found: Record) -> float:
    """Seconds of all steps after the first, which only measures the base."""
    return sum(found.steps[i].metrics.get(STEP, 0.0) for i in range(1, found.last + 1))


def _tests(found: Record) -> list[float]:
    """Seconds of the evaluations among them."""
    later = (found.steps[i].metrics for i in range(1, found.last + 1))
    return [metrics[TEST] for metrics in later if TEST in metrics]
