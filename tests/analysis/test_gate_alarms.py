"""How often trust gates raise an alarm over clean studies, and over others. Table: tests/README.md.

`pytest -m calibration -n 0 -s tests/analysis/test_gate_alarms.py` prints it (20 minutes of a core).
"""

import dataclasses
from collections import Counter
from collections.abc import Callable

import in_memory
import numpy as np
import polars as pl
import pytest
from synthetic_store import Plan, Trial

from analysis.gates import Gate, Level, controls, gates, seeds, side_effects
from analysis.study import Study

pytestmark = pytest.mark.calibration

EVERY_DRAWS, NORMAL_DRAWS, SKEWED_DRAWS, PLANTED_DRAWS = 500, 20_000, 4_000, 4_000
STEPS = 4  # enough for a dead gradient to be told
ALLOWED = 0.05
RANDOM = {"reward._target_": ["harness.rewards.binary.Binary", "harness.rewards.random.Random"]}
LABELS = ["base", "grpo", "again", "coin"]
# Metric -> mean and standard deviation over seeds, of a trial's result.
SHARES = {
    "eval/accuracy": (0.80, 0.02),
    "eval/truncated": (0.06, 0.01),
    "eval/behaviour/well_formatted": (0.90, 0.02),
}
UNTRAINED, NOISE = 0.334, 0.015
QUIET = {"eval/error_rate": 0.0, "reward/error_rate": 0.0, "rollout/mismatch/mean": 1e-6}


def draws(rng: np.random.Generator, trial: Trial, skewed: bool) -> list[in_memory.Point]:
    """A trial's numbers: of every arm alike, but that the coin's accuracy stays at the base's."""
    points: list[in_memory.Point] = [("eval/accuracy", 0, UNTRAINED + NOISE * rng.normal())]
    for metric, (mean, sd) in SHARES.items():
        chance = rng.lognormal(0, 0.6) - np.exp(0.18) if skewed else rng.normal()
        control = trial.variant == "coin" and metric == "eval/accuracy"
        level, spread = (UNTRAINED, NOISE) if control else (mean, sd)
        points.append((metric, STEPS, level + spread * chance))
    points += [(metric, STEPS, value) for metric, value in QUIET.items()]
    points += [("actor/grad_norm", step, 0.25) for step in range(1, STEPS + 1)]
    points += [("budget/updates", STEPS, float(STEPS))]
    return [*points, ("budget/tokens", STEPS, 9e4 * (1 + 0.02 * rng.normal()))]


def plan(n: int) -> Plan:
    trials = [Trial(label, seed, 0.8, steps=STEPS) for seed in range(n) for label in LABELS]
    own = {"again": {}, "coin": RANDOM}
    return Plan("clean", trials, factors=["algorithm", "reward"], own=own)


def drawn(rng: np.random.Generator, n: int, skewed: bool) -> Study:
    """A clean study, in which the A/A arm has random numbers of its own: the worst case."""
    planned = plan(n)
    points = {trial.name: draws(rng, trial, skewed) for trial in planned.trials}
    return in_memory.study(planned, points)


@pytest.mark.parametrize("n", [5, 10])
def test_clean_studies(n: int) -> None:
    rng = np.random.default_rng(n)
    alarms: Counter[str] = Counter()
    for _ in range(EVERY_DRAWS):
        found = gates(drawn(rng, n, skewed=False))
        alarms.update({gate.question: gate.level is not Level.OK for gate in found})
    for question, count in alarms.items():
        print(f"| {question} | {n} | {count / EVERY_DRAWS:.3f} |")
    # Of 500 at 5 %, 40 or fewer in 99.9 of 100 repetitions.
    assert max(alarms.values()) <= 40


@pytest.mark.parametrize("skewed", [False, True], ids=["normal", "skewed"])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_gates_that_test_over_seeds(n: int, skewed: bool) -> None:
    """The four that can be wrong by chance, on redrawn values of one study."""
    rng = np.random.default_rng(n)
    study = with_laws(drawn(rng, n, skewed))
    size = SKEWED_DRAWS if skewed else NORMAL_DRAWS
    alarms: Counter[str] = Counter()
    for _ in range(size):
        other = redrawn(rng, study, skewed)
        found = [
            seeds.pairing(other),
            side_effects.differ(other),
            controls.random_reward(other),
            controls.same_twice(other),
        ]
        alarms.update({g.question: g.level is not Level.OK for g in found if g is not None})
    for question, count in alarms.items():
        print(f"| {question}, {'skewed' if skewed else 'normal'} | {n} | {count / size:.3f} |")
    assert len(alarms) == 4
    assert skewed or max(alarms.values()) <= ALLOWED * size


def with_laws(study: Study) -> Study:
    """The study with mean and standard deviation of each number beside it."""
    laws = []
    for metric, step, arm in study.metrics["metric", "step", "variant"].rows():
        control = arm == "coin" and metric == "eval/accuracy"
        before = metric == "eval/accuracy" and (step == 0 or control)
        laws.append((UNTRAINED, NOISE) if before else SHARES.get(metric, (QUIET.get(metric, 1), 0)))
    columns = pl.DataFrame(laws, schema={"mean": pl.Float64, "sd": pl.Float64}, orient="row")
    return dataclasses.replace(study, metrics=study.metrics.hstack(columns))


def redrawn(rng: np.random.Generator, study: Study, skewed: bool) -> Study:
    """The study with other random numbers in the metrics that these gates read."""
    metrics = study.metrics
    mean, sd = metrics["mean"].to_numpy(), metrics["sd"].to_numpy()
    size = len(metrics)
    chance = rng.lognormal(0, 0.6, size) - np.exp(0.18) if skewed else rng.normal(size=size)
    metrics = metrics.with_columns(value=pl.Series(mean + sd * chance))
    return dataclasses.replace(
        study, metrics=metrics, results=metrics.filter(pl.col("step") == STEPS)
    )


def moved(study: Study, metric: str, arm: str, by: float) -> Study:
    """The study with one arm's results shifted."""
    own = (pl.col("metric") == metric) & (pl.col("variant") == arm)
    value = pl.when(own).then(pl.col("value") + by).otherwise(pl.col("value"))
    return dataclasses.replace(study, results=study.results.with_columns(value=value))


def against(study: Study) -> Study:
    """The study in which grpo's seeds go against the baseline's: correlation -.9."""
    accuracy = pl.col("metric") == "eval/accuracy"
    frame = study.results
    mean, _ = SHARES["eval/accuracy"]
    base, own = (
        frame.filter(accuracy, pl.col("variant") == arm).sort("seed")["value"].to_numpy()
        for arm in ("base", "grpo")
    )
    mixed = mean - 0.9 * (base - mean) + np.sqrt(1 - 0.9**2) * (own - mean)
    rest = frame.filter(~(accuracy & (pl.col("variant") == "grpo")))
    new = frame.filter(accuracy, pl.col("variant") == "grpo").sort("seed")
    changed = pl.concat([rest, new.with_columns(value=pl.Series(mixed))])
    return dataclasses.replace(study, results=changed)


# What is planted, in words; the gate that is to see it; the planting.
PLANTED: list[tuple[str, Callable[[Study], Gate | None], Callable[[Study], Study]]] = [
    ("one arm's seeds go against the baseline's, -.9", seeds.pairing, against),
    (
        "one arm's truncation is .10 instead of .06 (4 sd)", side_effects.differ,
        lambda study: moved(study, "eval/truncated", "grpo", 0.04),
    ),
    (
        "the random reward's accuracy rises by .06 (4 sd)", controls.random_reward,
        lambda study: moved(study, "eval/accuracy", "coin", 0.06),
    ),
    (
        "one of two like arms is .08 better (4 sd)", controls.same_twice,
        lambda study: moved(study, "eval/accuracy", "again", 0.08),
    ),
]  # fmt: skip


def test_gates_that_test_over_seeds_catch_what_is_planted() -> None:
    """They can also miss it by chance: how often they do not."""
    for what, gate, plant in PLANTED:
        rates = []
        for n in (3, 5, 10):
            rng = np.random.default_rng(n)
            study = with_laws(drawn(rng, n, skewed=False))
            found = [gate(plant(redrawn(rng, study, False))) for _ in range(PLANTED_DRAWS)]
            rates.append(sum(g is not None and g.level is not Level.OK for g in found))
        shares = [rate / PLANTED_DRAWS for rate in rates]
        print(f"| {what} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
        assert shares == sorted(shares)
        assert shares[-1] >= 0.95
