"""Learning that was killed: a trial that spent its budget and has nothing left to learn with.

Such a trial ends as any other does, with a result; its result says nothing about the question. It
is told by numbers that every trial records, so that a trial and a report say the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A gradient is dead if it is exactly 0 at every step of this last share of a trial: one step's
# groups may all agree by chance, and a solved task has no gradient for a while.
TAIL = 0.25
# Steps of that tail, at least: fewer may be chance in a trial of a few steps.
MIN_STEPS = 3
# Held-out accuracy below this share of the base model's is a loss, and no noise of an evaluation.
LOST = 0.5
# Nats per token from the base: trained policies, the control arms included, stay below 1 or 2; from
# here on hardly a token that is sampled is one that the base would write.
FAR = 5.0

# Every metric that is looked at.
SIGNS = (
    *("actor/grad_norm", "reward/no_signal_groups", "critic/score/mean"),
    *("eval/accuracy", "eval/kl"),
)

History = Sequence[tuple[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Collapse:
    """That a trial has collapsed.

    Attributes:
        since: first step of the dead stretch.
        reason: what was seen, in one line.
    """

    since: int
    reason: str


def of(history: History) -> Collapse | None:
    """Whether and since when a trial has collapsed.

    It has, if its gradient is exactly 0 throughout the tail and either

    - groups differ in their rewards: there is something to learn, and it does not arrive; or
    - held-out accuracy is below half of the base's, and the training reward is not above what the
      base got. A reward that is had by all (a solved task, the format alone) has gone up, and a
      base that solves nothing has nothing to lose: neither is a collapse.

    With a gradient it has collapsed if accuracy is lost and the policy is out of the base's sight.

    Args:
        history: (step, metrics) of every recorded step, in order, from step 0 on. Without the
            evaluation of the base only the first sign is looked for.
    """
    steps = [(step, metrics) for step, metrics in history if "actor/grad_norm" in metrics]
    tail = steps[-max(MIN_STEPS, math.ceil(TAIL * len(steps))) :]
    if len(steps) < MIN_STEPS:
        return None
    lost = _lost(history)
    if any(metrics["actor/grad_norm"] != 0 for _, metrics in tail):
        far = [step for step, metrics in history if metrics.get("eval/kl", 0.0) > FAR]
        distance = _last(history, "eval/kl")
        if lost and far and distance > FAR:
            return Collapse(far[0], f"{lost}, {distance:.1f} nats per token from it, {_at(far[0])}")
        return None
    since = _since(steps)
    dead = f"the gradient is exactly 0 {_at(since)}"
    if any(metrics.get("reward/no_signal_groups", 1.0) < 1 for _, metrics in tail):
        return Collapse(since, f"{dead} although rewards differ")
    began = steps[0][1].get("critic/score/mean", math.nan)
    now = sum(metrics.get("critic/score/mean", math.nan) for _, metrics in tail) / len(tail)
    return Collapse(since, f"{dead}; {lost}") if lost and not now > began else None


def _lost(history: History) -> str:
    """That held-out accuracy has fallen far below the base's, in words."""
    base = next((m["eval/accuracy"] for step, m in history[:1] if "eval/accuracy" in m), 0.0)
    end = _last(history, "eval/accuracy")
    if history[0][0] != 0 or not end < LOST * base:
        return ""
    return f"held-out accuracy {end:.3f}, the base's was {base:.3f}"


def _last(history: History, key: str) -> float:
    """The last value that was recorded."""
    return next((m[key] for _, m in reversed(history) if key in m), math.nan)


def _since(steps: History) -> int:
    """First step of the stretch without a gradient that lasts to the end."""
    since = steps[-1][0]
    for step, metrics in reversed(steps):
        if metrics["actor/grad_norm"] != 0:
            break
        since = step
    return since


def _at(step: int) -> str:
    return f"since step {step}"
