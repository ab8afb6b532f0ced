"""Learning that was killed: a trial that spent its budget and has nothing left to learn with.

Such a trial ends as any other does, with a result; its result says nothing about the question. It
is told by numbers that every trial records, so that a trial and a report say the same: `of` judges
a whole trial, `signs` the last steps of one that runs.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import CollapsedError
from harness.guard import Guard, OnCollapse
from harness.machine.progress import warn
from harness.tracking import Run

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


@dataclass(frozen=True)
class Sign:
    """That a running trial collapses.

    Attributes:
        name: in one word; a trial is warned of each once.
        words: what was seen, what follows, and the keys to change.
    """

    name: str
    words: str


def signs(recent: History, entropy_floor: float) -> list[Sign]:
    """What every one of some training steps shows.

    Steps at which all responses were correct show nothing: a solved task has no gradient.

    Args:
        recent: (step, metrics) of consecutive training steps, without a step 0.
        entropy_floor: nats per token.
    """
    steps, over = [metrics for _, metrics in recent], f"at each of the last {len(recent)} steps"
    found = []
    if all(not _solved(m) and (_equal(m) or _still(m)) for m in steps):
        equal = all(map(_equal, steps))
        what = f"every reward was {steps[-1]['critic/score/mean']:.3g}" if equal else "the gradient"
        found.append(
            Sign(
                "no signal",
                f"{what} {'' if equal else 'was exactly 0 '}{over}, so that there is nothing to "
                f"learn from: choose a reward that tells responses apart (reward), an easier task "
                f"(task.*), or sample more (algorithm.group_size, rollout.temperature)",
            )
        )
    if all(metrics["response_length/empty"] == 1 for metrics in steps):
        found.append(
            Sign(
                "empty responses",
                f"every response was empty {over}: lower trainer.optimizer.learning_rate, or "
                f"forbid an early end with rollout.min_new_tokens",
            )
        )
    if all(metrics["actor/entropy"] < entropy_floor for metrics in steps):
        found.append(
            Sign(
                "no entropy",
                f"the policy's entropy was below {entropy_floor:g} nats per token {over}, so that "
                f"it says one thing only: lower trainer.optimizer.learning_rate, raise "
                f"rollout.temperature, or lower guard.entropy_floor where that is meant",
            )
        )
    return found


def _equal(metrics: Mapping[str, float]) -> bool:
    """Whether all rewards of a step were the same."""
    return metrics["critic/score/max"] == metrics["critic/score/min"]


def _still(metrics: Mapping[str, float]) -> bool:
    """No gradient, although the policy is to move: while a critic warms up its rate is 0."""
    return metrics["actor/grad_norm"] == 0 and metrics["actor/lr"] > 0


def _solved(metrics: Mapping[str, float]) -> bool:
    return metrics["reward/accuracy"] == 1


class Lookout:
    """Looks at a trial's last steps while it runs, and warns of it or stops it."""

    def __init__(self, settings: Guard, run: Run) -> None:
        self.settings = settings
        self.run = run
        self.recent: deque[tuple[int, Mapping[str, float]]] = deque(maxlen=settings.collapse_steps)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in a training step.

        Raises:
            CollapsedError: the trial has collapsed and guard.collapse=stop.
        """
        if self.settings.collapse is OnCollapse.OFF:
            return
        self.recent.append((step, metrics))
        if len(self.recent) < self.settings.collapse_steps:
            return
        for sign in signs(list(self.recent), self.settings.entropy_floor):
            if self.run.warn(step, sign.name, f"step {step}: {sign.words}"):
                warn(f"warning: step {step}: {sign.words}")
            if self.settings.collapse is OnCollapse.STOP:
                raise CollapsedError(f"step {step}: {sign.words} (guard.collapse=stop)")
