"""PPO against hand-computed values; its parts are in tests/maths/test_returns.py and test_kl.py."""

import dataclasses
from typing import Any

import pytest
import torch

from harness.algorithms.ppo import Ppo
from harness.errors import ConfigError
from harness.kl import KlInReward
from harness.maths.tensor_ops import Reduction, masked_whiten
from harness.types import Batch, Minibatch

MASK = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool)
REWARDS = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
VALUES = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.25, 9.0]])
OLD = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, -1.0, 5.0]], dtype=torch.float64)
REF = torch.tensor([[-1.0, -1.5, -1.0], [-2.0, -1.0, 0.0]], dtype=torch.float64)


def batch(**changes: Any) -> Batch:
    columns = {"old_values_BT": VALUES, "old_logprobs_BT": OLD, "ref_logprobs_BT": REF}
    made = Batch(
        group_B=torch.tensor([0, 0]),
        mask_BT=MASK,
        rewards_BT=REWARDS,
        budget=3,
        columns=columns,
        kl_coefficient=0.1,
    )
    return dataclasses.replace(made, **changes)


def test_monte_carlo_returns_and_whitened_advantages() -> None:
    made = Ppo().advantages(batch())
    # lambda 1: returns are the rewards to go, whatever the values; 1 1 1 | 0 0
    returns_BT = made.columns["returns_BT"]
    assert returns_BT[MASK].tolist() == pytest.approx([1, 1, 1, 0, 0])
    # R - V: .5 .5 .5 -.5 -.25: mean .15, Bessel variance (1.0625 - 5 * .0225) / 4 = .2375
    # .35 / sqrt(.2375) = .718185; -.65 / .487340 = -1.333772; -.4 / .487340 = -.820783
    expected = [0.718185, 0.718185, 0.718185, -1.333772, -0.820783]
    assert made.advantages_BT[MASK].tolist() == pytest.approx(expected, abs=1e-5)
    assert not made.advantages_BT[~MASK].any()


def test_kl_in_the_reward_is_paid_token_by_token() -> None:
    made = Ppo(kl=KlInReward(coefficient=0.3)).advantages(batch())
    # The controller's coefficient of the step, 0.1: -0.05 at (0,1), -0.1 at (1,0).
    returns = made.columns["returns_BT"][MASK].tolist()
    assert returns == pytest.approx([0.95, 0.95, 1.0, -0.1, 0.0])
    assert "ref_logprobs_BT" in Ppo(kl=KlInReward(coefficient=0.3)).columns
    assert "ref_logprobs_BT" not in Ppo().columns


def test_lambda_of_the_critic_is_its_own() -> None:
    made = Ppo(lam=0.0, critic_lam=1.0).advantages(batch())
    assert made.columns["returns_BT"][MASK].tolist() == pytest.approx([1, 1, 1, 0, 0])
    # lambda 0: V' - V = 0 0 .5 | -.25 -.25
    one_step = torch.tensor([[0, 0, 0.5], [-0.25, -0.25, 0]], dtype=torch.float64)
    assert torch.allclose(made.advantages_BT, masked_whiten(one_step, MASK))


def test_a_length_adaptive_lambda_is_the_advantages_only() -> None:
    # alpha 1: 1 - 1/3 and 1 - 1/2; the critic keeps lambda 1
    made = Ppo(length_alpha=1.0).advantages(batch())
    assert made.columns["returns_BT"][MASK].tolist() == pytest.approx([1, 1, 1, 0, 0])
    # row 0: d = 0 0 .5, times 2/3: .2222 .3333 .5; row 1: d = -.25 -.25, half: -.375 -.25
    raw = torch.tensor([[2 / 9, 1 / 3, 0.5], [-0.375, -0.25, 0]], dtype=torch.float64)
    assert torch.allclose(made.advantages_BT, masked_whiten(raw, MASK))


def minibatch(progress: float = 0.5) -> Minibatch:
    columns = {
        "old_logprobs_BT": OLD,
        "old_values_BT": VALUES,
        "values_BT": VALUES + 0.1,
        "returns_BT": REWARDS,
        "entropy_BT": torch.ones(2, 3, dtype=torch.float64),
    }
    return Minibatch(
        logprobs_BT=OLD.clone(),
        advantages_BT=REWARDS,
        mask_BT=MASK,
        budget=3,
        columns=columns,
        progress=progress,
    )


def test_the_terms_and_their_weights() -> None:
    loss = Ppo(value_coefficient=0.5, entropy_coefficient=0.01).loss(minibatch())
    weights = {term.name: term.weight for term in loss.terms}
    assert weights == {"policy": 1.0, "value": 0.5, "entropy": -0.01}
    assert {term.reduction for term in loss.terms} == {Reduction.TOKEN_MEAN}
    value_BT = next(term.values for term in loss.terms if term.name == "value")
    # (.6 - 0)^2/2 = .18; the third: (.6 - 1)^2/2 = .08; (.35 - 0)^2/2 = .06125
    assert value_BT[MASK].tolist() == pytest.approx([0.18, 0.18, 0.08, 0.18, 0.06125], abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"dual_clip": 0.9}, {"value_clip": -1.0}, {"gamma": -0.1}, {"lam": -1.0}, {"group_size": 0}],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"algorithm\.\w+ must be"):
        Ppo(**wrong)
