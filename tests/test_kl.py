"""KL in the reward: the controller, by hand."""

import pytest
import torch

from harness.errors import ConfigError
from harness.kl import KlController, KlInReward, adapted
from harness.maths.tensor_ops import KL
from harness.types import Outcome

OLD = torch.tensor([[-1.0, -2.0, 9.0], [-0.5, -0.5, -0.5]], dtype=torch.float64)
REF = torch.tensor([[-1.5, -2.0, -9.0], [-0.5, -0.5, -1.4]], dtype=torch.float64)
# Lengths 2 and 3: token means (0.5 + 0) / 2 = 0.25 and (0 + 0 + 0.9) / 3 = 0.3; their mean 0.275.
KL_MEAN = 0.275


def outcome() -> Outcome:
    return Outcome(
        lengths_B=torch.tensor([2, 3]),
        correct_B=torch.tensor([True, False]),
        progress=0.5,
        columns={"old_logprobs_BT": OLD, "ref_logprobs_BT": REF},
    )


def test_a_fixed_coefficient_stays() -> None:
    controller = KlController(KlInReward(coefficient=0.02))
    controller.observe(outcome())
    assert controller.metrics() == {
        "critic/kl": pytest.approx(KL_MEAN),
        "critic/kl_coeff": 0.02,
    }
    assert controller.coefficient == 0.02


def test_an_adaptive_one_moves_and_reports_the_one_that_was_used() -> None:
    controller = KlController(KlInReward(coefficient=0.02, target=0.25, horizon=100))
    controller.observe(outcome())
    # error 0.275 / 0.25 - 1 = 0.1; 0.02 * (1 + 0.1 * 2 / 100) = 0.02004
    assert controller.metrics()["critic/kl_coeff"] == 0.02
    assert controller.coefficient == pytest.approx(0.02004)
    resumed = KlController(KlInReward(coefficient=0.02, target=0.25, horizon=100))
    resumed.load_state_dict(controller.state_dict())
    assert resumed.coefficient == controller.coefficient


def test_the_error_is_clipped() -> None:
    settings = KlInReward(coefficient=1.0, target=0.1, horizon=1000)
    assert adapted(1.0, 5.0, 100, settings) == pytest.approx(1.02)  # 1 + 0.2 * 100 / 1000
    assert adapted(1.0, -5.0, 100, settings) == pytest.approx(0.98)


def test_the_estimator_is_the_one_that_is_asked_for() -> None:
    controller = KlController(KlInReward(coefficient=0.02, estimator=KL.K2))
    controller.observe(outcome())
    # (0.5^2 / 2 + 0) / 2 = 0.0625 and 0.9^2 / 2 / 3 = 0.135; mean 0.09875
    assert controller.metrics()["critic/kl"] == pytest.approx(0.09875)


def test_switched_off_it_reads_nothing() -> None:
    controller = KlController(KlInReward())
    controller.observe(Outcome(lengths_B=torch.ones(1), correct_B=torch.ones(1), progress=0.0))
    assert controller.metrics() == {}


@pytest.mark.parametrize("wrong", [{"coefficient": -1.0}, {"horizon": 0}, {"target": 0.0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"algorithm\.kl\.\w+ must be"):
        KlInReward(**wrong)  # type: ignore[arg-type]
