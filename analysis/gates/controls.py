"""Arms whose result is known beforehand: a reward without information, and one variant twice."""

from itertools import combinations

import numpy as np
import polars as pl

from analysis import stats
from analysis.gates.gate import ALARM, Gate, Level, about, p_of
from analysis.study import Study

REWARD = "reward._target_"
RANDOM = "harness.rewards.random.Random"
ACCURACY = "eval/accuracy"
# A control that gains this share of the best arm's gain leaves the reward no part in it.
SHARE = 0.5


def random_reward(study: Study) -> Gate | None:
    """Whether an arm whose reward is a coin has improved; None where there is no such arm.

    Accuracy at the result against the untrained model's, a one-sided paired t test, Holm over such
    arms: a false alarm in at most 5 % of studies. It is a FAIL where the gain is at least half of
    the best arm's: then what is measured is not learning from the reward.
    """
    arms = [label for label in study.labels if _reward(study, label) == RANDOM]
    if not arms:
        return None
    question = "A random reward teaches nothing"
    gains = {label: _gains(study, label) for label in study.labels}
    known = [label for label in arms if len(gains[label]) > 1]
    if known != arms:
        lacking = ", ".join(label for label in arms if label not in known)
        detail = f"no accuracy before and after of two seeds: {lacking}"
        return about(study, question, Level.WARN, detail, arms)
    tested = {x: stats.paired(gains[x], np.zeros(len(gains[x]))) for x in arms}
    p = stats.holm(np.array([_one_sided(d) for d in tested.values()]))
    detail = ", ".join(f"{x} {d.value:+.3f} in {ACCURACY}" for x, d in tested.items())
    better = [x for x, value in zip(arms, p, strict=True) if value < ALARM]
    if not better:
        return Gate(question, Level.OK, f"{detail} since before training, no gain shown")
    others = [float(np.mean(x)) for label, x in gains.items() if label not in arms and len(x)]
    best = max(others, default=0.0)
    detail += f", a gain; the best other arm {best:+.3f}"
    if others and max(tested[x].value for x in better) >= SHARE * best:
        return Gate(question, Level.FAIL, detail)
    return about(study, question, Level.WARN, detail, better)


def _one_sided(d: stats.Difference) -> float:
    """p of "no gain"."""
    return p_of(d) / 2 if d.value > 0 else 1.0


def _reward(study: Study, label: str) -> str:
    """Class of an arm's reward, by the plan's differences or by the first finished trial."""
    pairs = {
        job.variant: job.differs[REWARD] for job in study.manifest.jobs if REWARD in job.differs
    }
    if label in pairs:
        return str(pairs[label][1])
    if pairs:
        return str(next(iter(pairs.values()))[0])
    reward = study.config.get("reward")
    return str(reward.get("_target_", "")) if isinstance(reward, dict) else ""


def _gains(study: Study, label: str) -> stats.FloatArray:
    """Accuracy at the result minus that before training, shape (n,), by seed."""
    rows = pl.col("metric") == ACCURACY
    before = study.metrics.filter(rows & (pl.col("step") == 0)).select("trial", before="value")
    after = study.results.filter(rows & (pl.col("variant") == label))
    both = after.join(before, on="trial").sort("seed").filter(pl.col("before").is_finite())
    return (both["value"] - both["before"]).to_numpy()


def same_twice(study: Study) -> Gate | None:
    """Whether variants of one config give one result; None where all differ.

    Seed by seed: everything random comes from the seed, so on one machine they agree to the bit.
    An engine that batches otherwise may not; then a paired t test, Holm over pairs, tells chance
    from a fault: a false alarm in at most 5 % of studies.
    """
    group = {job.variant: job.group_hash for job in study.manifest.jobs}
    planned = [label for label in study.labels if label in group]
    twins = [(a, b) for a, b in combinations(planned, 2) if group[a] == group[b]]
    if not twins:
        return None
    question = "One variant twice gives one result"
    records = {job.record: job.trial for job in study.manifest.jobs}
    shared = [job.trial for job in study.manifest.jobs if records[job.record] != job.trial]
    if shared:
        detail = f"one record for two trials, so nothing was compared: {', '.join(shared)}"
        return Gate(question, Level.WARN, detail)
    pairs = {twin: study.common(study.primary, *twin) for twin in twins}
    apart = {twin: x - y for twin, (x, y) in pairs.items()}
    names = {twin: f"{twin[0]} and {twin[1]}" for twin in twins}
    few = [names[twin] for twin, d in apart.items() if len(d) < 2]
    if few:
        detail = f"fewer than two seeds with both results: {', '.join(few)}"
        return Gate(question, Level.WARN, detail)
    p = stats.holm(np.array([p_of(stats.paired(*pairs[twin])) for twin in twins]))
    sizes = {twin: float(np.max(np.abs(d))) for twin, d in apart.items()}
    detail = ", ".join(f"{names[x]}: largest difference at a seed {sizes[x]:.2g}" for x in twins)
    if min(p) < ALARM:
        return Gate(question, Level.FAIL, f"{detail}; not chance (paired t test)")
    note = "" if max(sizes.values()) == 0 else "; not equal to the bit, but no more than chance"
    return Gate(question, Level.OK, detail + note)
