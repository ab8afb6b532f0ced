"""Values and what is made of them, by hand (arithmetic beside each)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import ConfigError
from harness.maths.returns import (
    CriticSettings,
    Scheme,
    explained_variance,
    gae,
    length_lambda,
    to_go,
    v_star,
    value_loss,
    weights,
)

SETTINGS = settings(max_examples=100, deadline=None, derandomize=True)
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool)
REWARDS = torch.tensor([[0.0, 0.0, 1.0, 7.0], [0.5, 7.0, 7.0, 7.0]], dtype=torch.float64)
VALUES = torch.tensor([[0.2, 0.4, 0.5, 9.0], [0.1, 9.0, 9.0, 9.0]], dtype=torch.float64)


def rounded(x: Tensor) -> list[list[float]]:
    return [[round(v, 9) for v in row] for row in x.tolist()]


def test_gae_by_hand() -> None:
    # gamma .9, lambda .5, so 0.45 per step; the value after the last token is 0.
    # d2 = 1 - .5 = .5;  d1 = .9*.5 - .4 = .05;  d0 = .9*.4 - .2 = .16
    # A2 = .5;  A1 = .05 + .45*.5 = .275;  A0 = .16 + .45*.275 = .28375
    # the second response: .5 - .1 = .4
    found = gae(REWARDS, VALUES, MASK, 0.9, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert rounded(found) == [[0.28375, 0.275, 0.5, 0.0], [0.4, 0.0, 0.0, 0.0]]


def test_each_response_has_its_own_lambda() -> None:
    both = gae(REWARDS, VALUES, MASK, 1.0, torch.tensor([0.0, 1.0], dtype=torch.float64))
    # lambda 0: r + V' - V = .2, .1, .5
    assert rounded(both)[0] == [0.2, 0.1, 0.5, 0.0]


def test_a_gap_in_the_mask_is_skipped() -> None:
    """Positions inside a response that are not the model's own: as if they were not there."""
    gap = torch.tensor([[1, 0, 1]], dtype=torch.bool)
    rewards = torch.tensor([[0.0, 5.0, 1.0]], dtype=torch.float64)
    values = torch.tensor([[0.2, 9.0, 0.5]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    # A2 = .5; A0 = (0 + .5 - .2) + .5 = .8
    assert rounded(gae(rewards, values, gap, 1.0, one)) == [[0.8, 0.0, 0.5]]


@SETTINGS
@given(
    rewards=st.lists(st.floats(-2, 2), min_size=1, max_size=6),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
)
def test_with_perfect_values_nothing_is_better_than_expected(
    rewards: list[float], gamma: float, lam: float
) -> None:
    rewards_BT = torch.tensor([rewards], dtype=torch.float64)
    mask_BT = torch.ones_like(rewards_BT, dtype=torch.bool)
    values_BT = to_go(rewards_BT, mask_BT, gamma)
    lam_B = torch.tensor([lam], dtype=torch.float64)
    assert gae(rewards_BT, values_BT, mask_BT, gamma, lam_B).abs().max() < 1e-12


def test_reward_to_go() -> None:
    # 1 at the end, gamma .5: .25, .5, 1
    assert rounded(to_go(REWARDS, MASK, 0.5)) == [[0.25, 0.5, 1.0, 0.0], [0.5, 0.0, 0.0, 0.0]]


def test_length_adaptive_lambda() -> None:
    # 1 - 1/(.5*4) = .5; 1 - 1/(.5*1) < 0 -> 0; an empty response counts as one token
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert length_lambda(mask, 0.5).tolist() == [0.5, 0.0, 0.0]


def test_value_loss() -> None:
    values = torch.tensor([[1.0, 0.3, 2.0]])
    old, target = torch.tensor([[0.5, 0.4, 0.5]]), torch.tensor([[1.2, 0.0, 1.0]])
    # clip .2: .7 .3 .7; plain .04 .09 1; clipped .25 .09 .09; half of the larger: .125 .045 .5
    found = value_loss(values, old, target, 0.2)
    assert found.loss_BT.tolist()[0] == pytest.approx([0.125, 0.045, 0.5], abs=1e-6)
    assert found.clipped_BT.tolist() == [[1.0, 0.0, 0.0]]
    free = value_loss(values, old, target, None)
    assert free.loss_BT.tolist()[0] == pytest.approx([0.02, 0.045, 0.5], abs=1e-6)
    assert not free.clipped_BT.any()


def test_explained_variance() -> None:
    returns = torch.tensor([[1.0, 3.0, 5.0, 99.0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0]], dtype=torch.bool)
    assert explained_variance(returns, returns, mask) == pytest.approx(1.0, abs=1e-5)
    assert explained_variance(returns, returns * 0 + 4, mask) == pytest.approx(0.0, abs=1e-5)
    # R - V = 0 0 3: variance 2 of 8/3
    values = torch.tensor([[1.0, 3.0, 2.0, 0.0]], dtype=torch.float64)
    assert explained_variance(returns, values, mask) == pytest.approx(0.25, abs=1e-5)


def test_v_star_by_hand() -> None:
    # beta .5, one of two right: .5 ln((e^2 + 1)/2) = .5 ln 4.194528 = .716873
    found = v_star(torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64), 0.5)
    assert found.tolist() == pytest.approx([0.716890, 0.0, 1.0], abs=1e-4)
    assert found[0].item() == pytest.approx(0.5 * math.log((math.e**2 + 1) / 2))


@SETTINGS
@given(
    rewards=st.lists(st.floats(-3, 3), min_size=1, max_size=8),
    beta=st.floats(1e-3, 1e3),
)
def test_v_star_lies_between_the_mean_and_the_best(rewards: list[float], beta: float) -> None:
    found = v_star(torch.tensor([rewards], dtype=torch.float64), beta).item()
    assert sum(rewards) / len(rewards) - 1e-9 <= found <= max(rewards) + 1e-9


def weighted(scheme: Scheme, rewards: list[float], v: list[float]) -> list[float]:
    rewards_B, v_B = torch.tensor(rewards).double(), torch.tensor(v).double()
    return weights(rewards_B, v_B, scheme, 1.0, 0.1, 5.0, 0.5).tolist()


def test_weights_by_hand() -> None:
    # A = .5 -.5 0; mean 0, std .5: z = 1 -1 0, clipped at 1
    rewards, v = [1.0, 0.0, 0.5], [0.5, 0.5, 0.5]
    found = weighted(Scheme.NORMALIZED_ADVANTAGE, rewards, v)
    assert found == pytest.approx([2.0, 0.1, 1.0], abs=1e-5)  # z + 1, at least .1
    assert weighted(Scheme.SHIFTED_ADVANTAGE, rewards, v) == pytest.approx([2, 0, 1], abs=1e-5)
    # exp(A/.5): e, 1/e, 1; mean 1.362054
    expected = [math.e / 1.362054, 1 / math.e / 1.362054, 1 / 1.362054]
    assert weighted(Scheme.EXP, rewards, v) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scheme", Scheme)
def test_one_response_has_weight_one_and_equal_ones_have_equal_weights(scheme: Scheme) -> None:
    assert weighted(scheme, [0.3], [0.9]) == [1.0]
    found = weighted(scheme, [0.5, 0.5, 0.5], [0.2, 0.2, 0.2])
    assert found == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
        ({"shared": True, "path": "x"}, "set one of the two"),
    ],
)
def test_critic_settings_are_checked(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CriticSettings(**settings)  # type: ignore[arg-type]
