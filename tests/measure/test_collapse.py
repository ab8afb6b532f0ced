"""What is a collapse and what is not: histories as trials record them."""

import logging
from typing import Any

import pytest

from harness.errors import CollapsedError
from harness.guard import Guard, OnCollapse
from harness.measure import collapse
from harness.tracking.recording import NoRun


def history(
    gradients: list[float],
    accuracy: tuple[float, float],
    scores: tuple[float, float] = (0.3, 0.0),
    silent: float = 1.0,
    kl: float = 0.1,
) -> list[tuple[int, dict[str, float]]]:
    """The base's evaluation at step 0, a step for each gradient, an evaluation at the end."""
    steps: list[tuple[int, dict[str, float]]] = [(0, {"eval/accuracy": accuracy[0], "eval/kl": 0})]
    for i, gradient in enumerate(gradients, 1):
        score = scores[0] if i == 1 else scores[1]
        flat = 0.0 if gradient else silent
        row = {"actor/grad_norm": gradient, "critic/score/mean": score}
        steps.append((i, {**row, "reward/no_signal_groups": flat}))
    steps[-1][1].update({"eval/accuracy": accuracy[1], "eval/kl": kl})
    return steps


DEAD = [0.4] * 4 + [0.0] * 8
CASES: list[tuple[str, dict[str, Any], int | None]] = [
    ("a learning rate of 1e6", {"gradients": DEAD, "accuracy": (0.3, 0.0)}, 5),
    (
        "rewards of 1e300, whose spread is infinite",
        {"gradients": [0.0] * 8, "accuracy": (0.3, 0.3), "scores": (1e299, 1e299), "silent": 0.5},
        1,
    ),
    (
        "far away with a gradient left",
        {"gradients": [0.4] * 8, "accuracy": (0.3, 0.0), "kl": 9.0},
        8,
    ),
    (
        "a healthy trial",
        {"gradients": [0.4] * 12, "accuracy": (0.3, 0.7), "scores": (0.3, 0.7)},
        None,
    ),
    (
        "a solved task: every group agrees",
        {"gradients": DEAD, "accuracy": (0.3, 1.0), "scores": (0.3, 1.0)},
        None,
    ),
    (
        "format only, had by all: accuracy is lost, the reward is not",
        {"gradients": DEAD, "accuracy": (0.6, 0.05), "scores": (0.7, 1.0)},
        None,
    ),
    ("a random reward", {"gradients": [0.4] * 12, "accuracy": (0.6, 0.1), "kl": 1.5}, None),
    ("a base that solves nothing", {"gradients": [0.0] * 12, "accuracy": (0.0, 0.0)}, None),
    ("a silent step at the end", {"gradients": [0.4] * 11 + [0.0], "accuracy": (0.3, 0.1)}, None),
    ("a worse policy that still learns", {"gradients": [0.4] * 12, "accuracy": (0.3, 0.1)}, None),
    ("two steps", {"gradients": [0.0] * 2, "accuracy": (0.3, 0.0)}, None),
]


@pytest.mark.parametrize(("what", "given", "since"), CASES)
def test_collapses(what: str, given: dict[str, Any], since: int | None) -> None:
    found = collapse.of(history(**given))
    assert (found.since if found else None) == since, what
    assert found is None or f"since step {since}" in found.reason


def test_a_resumed_history_lacks_the_base_and_is_given_the_benefit_of_the_doubt() -> None:
    assert collapse.of(history(DEAD, (0.3, 0.0))[1:]) is None
    assert collapse.of([]) is None


# --- while it runs --------------------------------------------------------------------------------

HEALTHY = {
    "critic/score/max": 1.0,
    "critic/score/min": 0.0,
    "critic/score/mean": 0.5,
    "actor/grad_norm": 0.3,
    "actor/lr": 1e-3,
    "actor/entropy": 0.4,
    "reward/accuracy": 0.5,
    "response_length/empty": 0.0,
}
EQUAL = {"critic/score/max": 0.25, "critic/score/min": 0.25, "critic/score/mean": 0.25}
SIGNS: list[tuple[str, dict[str, float], list[str]]] = [
    ("healthy", {}, []),
    ("rewards all equal", EQUAL, ["no signal"]),
    ("groups that agree, each with itself", {"actor/grad_norm": 0.0}, ["no signal"]),
    ("a critic warms up", {"actor/grad_norm": 0.0, "actor/lr": 0.0}, []),
    ("solved", {**EQUAL, "actor/grad_norm": 0.0, "reward/accuracy": 1.0}, []),
    ("nothing said", {"response_length/empty": 1.0}, ["empty responses"]),
    ("nearly nothing said", {"response_length/empty": 0.99}, []),
    ("below the floor", {"actor/entropy": 0.009}, ["no entropy"]),
    ("at the floor", {"actor/entropy": 0.01}, []),
    (
        "all at once",
        {**EQUAL, "response_length/empty": 1.0, "actor/entropy": 0.0},
        ["no signal", "empty responses", "no entropy"],
    ),
]


@pytest.mark.parametrize(("what", "changed", "expected"), SIGNS)
def test_signs_must_last(what: str, changed: dict[str, float], expected: list[str]) -> None:
    sick = {**HEALTHY, **changed}
    found = collapse.signs([(4, sick), (5, sick)], entropy_floor=0.01)
    assert [sign.name for sign in found] == expected, what
    assert all("at each of the last 2 steps" in sign.words for sign in found)
    assert collapse.signs([(4, HEALTHY), (5, sick)], entropy_floor=0.01) == []


class Kept(NoRun):
    """A run that keeps what it is warned of."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, str]] = []

    def warn(self, step: int, sign: str, words: str) -> bool:
        new = sign not in [one for _, one in self.kept]
        self.kept += [(step, sign)] * new
        return new


def looked(settings: Guard, steps: list[dict[str, float]]) -> Kept:
    run = Kept()
    lookout = collapse.Lookout(settings, run)
    for step, metrics in enumerate(steps, 1):
        lookout(step, metrics)
    return run


def test_a_warning_comes_once_and_when_its_steps_are_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sick = {**HEALTHY, **EQUAL}
    steps = [sick, sick, HEALTHY, sick, sick, sick, sick]
    with caplog.at_level(logging.WARNING, "harness"):
        run = looked(Guard(collapse_steps=3), steps)
    assert run.kept == [(6, "no signal")]
    (said,) = caplog.messages
    assert said.startswith("warning: step 6: every reward was 0.25 at each of the last 3 steps")
    assert "algorithm.group_size" in said


def test_stop_ends_the_trial_and_off_says_nothing() -> None:
    sick = [{**HEALTHY, **EQUAL}] * 3
    with pytest.raises(CollapsedError, match=r"step 3: every reward.*\(guard.collapse=stop\)"):
        looked(Guard(collapse_steps=3, collapse=OnCollapse.STOP), sick)
    assert looked(Guard(collapse_steps=3, collapse=OnCollapse.OFF), sick).kept == []
