"""What kind of number a metric is, as far as statistics, tables and figures care."""

import dataclasses
import math

from analysis import stats
from analysis.stats import Estimate, FloatArray
from harness.schema import EVAL, METRICS, Metric

# What one counts, or measures with a clock: never below zero.
COUNTED = {"tokens", "attempts", "steps", "levels", "responses", "prompts", "updates", "s", "B"}
# Short names for sentences and titles; any other metric goes by its key.
NAMES = {
    "critic/score/mean": "training reward",
    "reward/accuracy": "training accuracy",
    "reward/no_signal_groups": "groups without a signal",
    "response_length/mean": "length of training responses",
    "response_length/clip_ratio": "training responses cut by the window",
    "window/current": "response budget (window)",
    "curriculum/level": "level of the curriculum",
    "rollout/accepted": "groups accepted",
    "rollout/mismatch/ess": "tokens that importance weights leave",
    "rollout/mismatch/mean": "sampler against trainer",
    "actor/entropy": "entropy in training",
    "actor/ppo_kl": "KL of one step (old, new)",
    "actor/pg_clipfrac": "tokens that are clipped",
    "actor/grad_norm": "gradient norm",
    "actor/log_ratio_sum": "log ratio of a response to the base",
    "actor/weight/mean": "weight of a response",
    "eval/accuracy": "held-out accuracy",
    "eval/greedy_accuracy": "greedy held-out accuracy",
    "eval/pass_at_k": "pass@k",
    "eval/kl": "KL from the base model",
    "eval/entropy": "entropy on held-out prompts",
    "eval/truncated": "held-out responses cut",
    "eval/response_length/mean": "length of responses",
    "eval/response_length/right": "length of right responses",
    "eval/response_length/wrong": "length of wrong responses",
    "eval/behaviour/attempts": "attempts per response",
    "eval/behaviour/retry_rate": "another attempt after a miss",
    "eval/behaviour/give_up_rate": "gives up after a miss",
    "eval/behaviour/checked": "answers checked before they are given",
    "eval/behaviour/computed_rightly": "attempts computed rightly",
    "eval/behaviour/success_per_attempt": "attempts that reach the target",
}


def of(metric: str) -> Metric:
    """The declaration of a metric.

    A part or a difficulty, `eval/accuracy/part_a`, has its whole's. What only a plug-in declares
    has no unit here: the store does not keep it.
    """
    if metric in METRICS:
        return METRICS[metric]
    whole, _, part = metric.rpartition("/")
    if whole in EVAL:
        kind = part.replace("_", " ")
        return Metric(METRICS[whole].unit, f"{METRICS[whole].meaning}; {kind}")
    return Metric("", "declared by a plug-in")


def name(metric: str) -> str:
    """Its short name, or its key."""
    whole, _, part = metric.rpartition("/")
    if metric not in NAMES and whole in NAMES and metric not in METRICS:
        return f"{NAMES[whole]}, {part.replace('_', ' ')}"
    return NAMES.get(metric, metric)


def label(metric: str) -> str:
    """Its unit in words, as an axis has it."""
    unit = of(metric).unit
    if unit == "1":
        shares = ("share", "unbiased chance", "sampled accuracy", "mean accuracy")
        return "share" if of(metric).meaning.startswith(shares) else "no unit"
    return {"nats": "nats per token", "": "value"}.get(unit, unit)


def is_evaluation(metric: str) -> bool:
    """Whether it is measured on held-out prompts, as a whole or by part."""
    return metric in EVAL or (metric not in METRICS and metric.rpartition("/")[0] in EVAL)


def is_share(metric: str) -> bool:
    """Whether its values lie in [0, 1]: an evaluation metric without a unit is a share."""
    return is_evaluation(metric) and of(metric).unit == "1"


def limit(metric: str) -> float:
    """Largest difference that two values can have."""
    return 1.0 if is_share(metric) else math.inf


def floor(metric: str) -> float:
    """Smallest value that it can have: evaluation metrics and counts are never negative."""
    return 0.0 if is_evaluation(metric) or of(metric).unit in COUNTED else -math.inf


def estimate(x: FloatArray, metric: str) -> Estimate:
    """Mean over seeds with its 95 % interval, which never leaves what the metric can be.

    That of a share is taken on the logit; that of another quantity ends at its floor, which the
    true mean cannot pass either.
    """
    e = stats.mean_interval(x, share=is_share(metric))
    return dataclasses.replace(e, low=max(e.low, floor(metric))) if e.low < floor(metric) else e
