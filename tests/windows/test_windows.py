"""Windows by hand; the success window's decisions are compared with the reference in parity."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.errors import ConfigError
from harness.schema import check_declared
from harness.types import Outcome
from harness.windows.adaptive import Adaptive, Mode
from harness.windows.cosine import CosineWindow
from harness.windows.fixed import Fixed
from harness.windows.phased import Phased

SEED = 3


def outcome(right: list[int], wrong: list[int], progress: float = 0.0) -> Outcome:
    lengths = right + wrong
    return Outcome(
        lengths_B=torch.tensor(lengths),
        correct_B=torch.tensor([True] * len(right) + [False] * len(wrong)),
        progress=progress,
    )


def adaptive(**changes: Any) -> Adaptive:
    settings = {
        "initial": 100,
        "minimum": 20,
        "maximum": 200,
        "min_samples": 1,
        "update_frequency": 1,
        "growth": 10,
        "shrink": 20,
        "tolerance": 5,
        "success_beta": 0.5,
    }
    return Adaptive(**{**settings, **changes})


def test_the_first_step_decides_nothing() -> None:
    """There is no rate from before it; the reference crashes here."""
    window = adaptive()
    window.observe(outcome([50], []))
    assert window.window(SEED) == 100


def test_it_shrinks_towards_what_success_needs_and_no_further() -> None:
    window = adaptive()
    for expected in (100, 80, 60, 60):  # at 60 the mean of 57 is within the tolerance
        window.observe(outcome([57], []))
        assert window.window(SEED) == expected


def test_it_grows_while_success_is_rare_up_to_the_maximum() -> None:
    window = adaptive(initial=190)
    for expected in (190, 200, 200):
        window.observe(outcome([100], [200, 200, 200]))
        assert window.window(SEED) == expected


def test_the_rate_is_the_one_from_before_the_step() -> None:
    window = adaptive()
    window.observe(outcome([50], [50] * 3))  # rate .25
    window.observe(outcome([50] * 4, []))  # decides on .25: grow; then .5 * .25 + .5 = .625
    assert window.window(SEED) == 110
    assert window.metrics()["window/success_rate_ema"] == 0.625
    window.observe(outcome([50] * 4, []))  # .625 is below .65: grow; then .8125
    assert window.window(SEED) == 120
    window.observe(outcome([50] * 4, []))  # .8125: shrink
    assert window.window(SEED) == 100


def test_in_the_dead_band_nothing_moves() -> None:
    window = adaptive(target=0.5, margin=0.1)
    for _ in range(4):
        window.observe(outcome([50, 50], [50, 50]))
    assert window.window(SEED) == 100


def test_a_good_window_grows_after_holding() -> None:
    window = adaptive(target=0.5, margin=0.1, hold_steps=3)
    seen = []
    for _ in range(4):
        window.observe(outcome([98, 98], [98, 98]))
        seen.append(window.window(SEED))
    assert seen == [100, 100, 110, 110]  # rate .5 = target, gap 2; 3 steps since the start


def test_an_exploring_step_is_one_step() -> None:
    window = adaptive(epsilon=0.3, min_samples=9999)
    seen = []
    for _ in range(400):
        seen.append(window.window(SEED))
        explored = window.metrics()["window/explored"]
        assert explored == float(seen[-1] == 200)
        window.observe(outcome([50], []))
    assert set(seen) == {100, 200}
    assert abs(seen.count(200) - 120) < 40  # standard deviation 9
    again = adaptive(epsilon=0.3, min_samples=9999)
    assert again.window(SEED) == seen[0]
    other = [again.window(SEED + 1 + i) for i in range(50)]
    assert set(other) == {100, 200}


def test_numbers_of_the_record() -> None:
    window = adaptive()
    window.observe(outcome([10, 20, 60], [90]))
    metrics = window.metrics()
    check_declared(metrics, Adaptive.METRICS)
    assert metrics["window/mean_success_length"] == 30.0
    assert metrics["window/median_success_length"] == 20.0
    # (400 + 100 + 900) / 3 = 466.67
    assert metrics["window/std_success_length"] == pytest.approx(21.60247)
    assert metrics["window/p95_success_length"] == 56.0  # 20 + .9 * 40
    assert metrics["window/num_success"] == 3.0
    assert metrics["window/success_rate"] == 0.75


@pytest.mark.parametrize("mode", Mode)
def test_a_resumed_window_goes_on_as_the_uninterrupted_one(mode: Mode) -> None:
    steps = [outcome([40 + 5 * (i % 3)] * (i % 4), [90] * 3) for i in range(30)]
    whole, first = adaptive(mode=mode, epsilon=0.2), adaptive(mode=mode, epsilon=0.2)
    for step in steps[:13]:
        whole.observe(step)
        first.observe(step)
    resumed = adaptive(mode=mode, epsilon=0.2)
    resumed.load_state_dict(first.state_dict())
    for step in steps[13:]:
        assert resumed.window(SEED) == whole.window(SEED)
        resumed.observe(step)
        whole.observe(step)
        assert resumed.metrics() == whole.metrics()


def test_phases() -> None:
    window = Phased(lengths=[10, 20, 40], boundaries=[0.25, 0.5])
    seen = []
    for progress in (0.2, 0.25, 0.49, 0.5, 0.9):
        window.observe(outcome([1], [], progress))
        seen.append(window.window(SEED))
    assert seen == [10, 20, 20, 40, 40]
    resumed = Phased(lengths=[10, 20, 40], boundaries=[0.25, 0.5])
    resumed.load_state_dict(window.state_dict())
    assert resumed.window(SEED) == 40


def test_half_a_cosine() -> None:
    window = CosineWindow(minimum=20, maximum=120)
    seen = [window.window(SEED)]
    for progress in (0.25, 0.5, 1.0):
        window.observe(outcome([1], [], progress))
        seen.append(window.window(SEED))
    # 20 + 50 (1 - cos 45) = 34.6; 20 + 50; 120
    assert seen == [20, 35, 70, 120]


def test_a_fixed_window_stays() -> None:
    window = Fixed(7)
    window.observe(outcome([1], []))
    assert (window.window(SEED), window.metrics(), window.state_dict()) == (7, {}, {})


@pytest.mark.parametrize(
    ("cls", "wrong", "words"),
    [
        (Adaptive, {"initial": 10, "minimum": 20}, "window.initial must be in"),
        (Adaptive, {"epsilon": 2.0}, "window.epsilon must be in 0..1"),
        (Adaptive, {"min_samples": 0}, "window.min_samples must be at least 1"),
        (Phased, {"lengths": [10], "boundaries": [0.5]}, "one fewer"),
        (Phased, {"lengths": [10, 20, 30], "boundaries": [0.6, 0.5]}, "must rise"),
        (CosineWindow, {"minimum": 50, "maximum": 20}, "window.maximum must be at least 50"),
    ],
)
def test_settings_are_checked(cls: type, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        cls(**wrong)


def test_the_name_that_users_ask_for(composed: Callable[..., Any]) -> None:
    config = composed("algorithm=adaptive_window", "rollout.max_new_tokens=96")
    assert type(config.algorithm).__name__ == "Grpo"
    assert isinstance(config.window, Adaptive)
    assert config.window.maximum == 96
