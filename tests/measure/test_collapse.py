"""What is a collapse and what is not: histories as trials record them."""

from typing import Any

import pytest

from harness.measure import collapse


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
