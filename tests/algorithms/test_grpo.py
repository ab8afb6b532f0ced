"""GRPO against hand-computed values (arithmetic beside each)."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from harness.algorithms.grpo import Grpo
from harness.errors import ConfigError, ContractError
from harness.maths.tensor_ops import KL, Counts, Reduction, reduced
from harness.types import Batch, Minibatch

# Row 0 has three tokens, row 1 two; ratios e^0.4, e^-0.4, 1 | e^1.3, e^-2.
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
OLD = torch.tensor([[-1.0, -2.0, -0.5, 0.0], [-1.5, -0.7, 0.0, 0.0]], dtype=torch.float64)
NEW = torch.tensor([[-0.6, -2.4, -0.5, 0.0], [-0.2, -2.7, 0.0, 0.0]], dtype=torch.float64)
ADVANTAGES = torch.tensor([[1.0, 1, 1, 0], [-1, -1, 0, 0]], dtype=torch.float64)


def batch_of(rewards: list[float], groups: list[int]) -> Batch:
    rewards_BT = torch.tensor(rewards, dtype=torch.float64)[:, None]
    mask_BT = torch.ones(len(rewards), 1, dtype=torch.bool)
    return Batch(
        group_B=torch.tensor(groups), mask_BT=mask_BT, rewards_BT=rewards_BT, budget=1, columns={}
    )


def advantages(rewards: list[float], groups: list[int], algorithm: Grpo) -> list[float]:
    found: list[float] = algorithm.advantages(batch_of(rewards, groups))[:, 0].tolist()
    return found


def minibatch_of(**columns: Tensor) -> Minibatch:
    return Minibatch(
        logprobs_BT=NEW, advantages_BT=ADVANTAGES, mask_BT=MASK, budget=4, columns=columns
    )


def test_binary_rewards() -> None:
    # mean 1/2; Bessel std sqrt(4 * 0.25 / 3) = 0.577350; 0.5 / (0.577350 + 1e-6) = 0.866024
    found = advantages([1, 0, 0, 1], [0, 0, 0, 0], Grpo())
    assert found == pytest.approx([0.866024, -0.866024, -0.866024, 0.866024], abs=1e-6)


def test_graded_rewards() -> None:
    # mean 0.3; squares 0.49 + 0.04 + 0.09 + 0.04 = 0.66; std sqrt(0.66/3) = 0.469042
    # 0.7, -0.2, -0.3, -0.2 over 0.469043
    found = advantages([1, 0.1, 0, 0.1], [7, 7, 7, 7], Grpo())
    assert found == pytest.approx([1.492402, -0.426401, -0.639601, -0.426401], abs=1e-6)


def test_std_epsilon_is_added_to_the_standard_deviation() -> None:
    # 0.5 / (0.577350 + 1e-4) = 0.865875, TRL's value
    found = advantages([1, 0, 0, 1], [0, 0, 0, 0], Grpo(std_epsilon=1e-4))
    assert found[0] == pytest.approx(0.865875, abs=1e-6)


def test_degenerate_groups() -> None:
    # Group 3 has equal rewards: 0. Group 8 has one member, mean 0 and std 1: 0.5 / (1 + 1e-6).
    found = advantages([0.25, 0.5, 0.25, 0.25], [3, 8, 3, 3], Grpo())
    assert found == pytest.approx([0, 0.4999995, 0, 0], abs=1e-12)


def test_advantage_stands_on_every_token_of_its_response() -> None:
    rewards_BT = torch.tensor([[0, 0, 1.0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    batch = Batch(
        group_B=torch.tensor([4, 4]), mask_BT=MASK, rewards_BT=rewards_BT, budget=4, columns={}
    )
    # mean 1/2, std sqrt(0.5 / 1) = 0.707107; 0.5 / 0.707108 = 0.707106
    a = 0.5 / (math.sqrt(0.5) + 1e-6)
    expected = torch.tensor([[a, a, a, 0], [-a, -a, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(Grpo().advantages(batch), expected, rtol=1e-12, atol=0)


def test_loss_divides_each_response_by_its_own_length() -> None:
    (term,) = Grpo().loss(minibatch_of(old_logprobs_BT=OLD)).terms
    assert term.name == "policy"
    assert term.weight == 1
    assert term.reduction is Reduction.SEQUENCE_MEAN_TOKEN_MEAN
    # max(-e^.4, -1.2) = -1.2, max(-e^-.4, -.8) = -.67032, -1 | max(e^1.3, 1.2), max(e^-2, .8)
    expected = [-1.2, -0.67032, -1, 3.669297, 0.8]
    assert term.values[MASK].tolist() == pytest.approx(expected, abs=1e-6)
    # (-2.87032/3 + 4.469297/2) / 2 = (-0.956773 + 2.234648) / 2
    loss = reduced(term.values, MASK, term.reduction, Counts.of(MASK, 4))
    assert loss.item() == pytest.approx(0.638937, abs=1e-6)


def test_clip_higher() -> None:
    (term,) = Grpo(clip_high=0.28).loss(minibatch_of(old_logprobs_BT=OLD)).terms
    # Only the first token changes: max(-1.491825, -1.28)
    assert term.values[MASK].tolist() == pytest.approx([-1.28, -0.67032, -1, 3.669297, 0.8])


def test_diagnostics() -> None:
    diagnostics = Grpo().loss(minibatch_of(old_logprobs_BT=OLD)).diagnostics
    # The clipped term is the larger one for tokens 1 and 5; old - new.
    assert diagnostics["actor/pg_clipfrac"][MASK].tolist() == [1, 0, 0, 0, 1]
    assert diagnostics["actor/ppo_kl"][MASK].tolist() == pytest.approx([-0.4, 0.4, 0, -1.3, 2])


def test_kl_term_is_k3_with_its_coefficient() -> None:
    reference = NEW - 0.3
    minibatch = minibatch_of(old_logprobs_BT=OLD, ref_logprobs_BT=reference)
    policy, kl = Grpo(kl_coefficient=0.04).loss(minibatch).terms
    assert (policy.name, kl.name, kl.weight) == ("policy", "kl", 0.04)
    assert kl.reduction is Reduction.SEQUENCE_MEAN_TOKEN_MEAN
    # d = 0.3: exp(-0.3) + 0.3 - 1 = 0.040818 on every token
    assert kl.values[MASK].tolist() == pytest.approx([0.040818] * 5, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "value", "slope"),
    # d = 0.3 and the derivative by the log-prob: 1, sign(d), d, 1 - exp(-d)
    [
        (KL.K1, 0.3, 1.0),
        (KL.ABS, 0.3, 1.0),
        (KL.K2, 0.045, 0.3),
        (KL.K3, 0.040818, 0.259182),
    ],
)
def test_every_kl_estimator_in_the_loss(kind: KL, value: float, slope: float) -> None:
    minibatch = minibatch_of(old_logprobs_BT=OLD, ref_logprobs_BT=NEW - 0.3)
    logprobs_BT = NEW.clone().requires_grad_()
    minibatch = dataclasses.replace(minibatch, logprobs_BT=logprobs_BT)
    _, kl = Grpo(kl_coefficient=0.04, kl_estimator=kind).loss(minibatch).terms
    assert kl.values[MASK].tolist() == pytest.approx([value] * 5, abs=1e-6)
    (gradient_BT,) = torch.autograd.grad(kl.values[MASK].sum(), logprobs_BT)
    assert gradient_BT[MASK].tolist() == pytest.approx([slope] * 5, abs=1e-6)


def test_columns_are_what_is_read() -> None:
    assert Grpo().columns == {"old_logprobs_BT"}
    assert Grpo(kl_coefficient=0.1).columns == {"old_logprobs_BT", "ref_logprobs_BT"}


def test_reading_an_undeclared_column_is_refused() -> None:
    minibatch = minibatch_of(old_logprobs_BT=OLD)
    with pytest.raises(ContractError, match=r"'ref_logprobs_BT'.*declared: old_logprobs_BT"):
        Grpo(kl_coefficient=0.1).loss(minibatch)


@pytest.mark.parametrize("size", [1, 0, -3])
def test_a_group_of_one_is_refused_in_one_line(size: int) -> None:
    with pytest.raises(ConfigError) as refusal:
        Grpo(group_size=size)
    message = str(refusal.value)
    assert "\n" not in message
    assert "algorithm.group_size" in message
    assert f"received {size}" in message
    assert "algorithm.group_size=8" in message


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.2), (1.0, 0.2), (0.2, -0.1), (math.nan, 0.2)])
def test_bad_clip_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="clip_low"):
        Grpo(clip_low=low, clip_high=high)


def test_the_group_size_reaches_the_rollout() -> None:
    plan = Grpo(group_size=5).rollout_plan(0.5)
    assert (plan.group_size, plan.temperature) == (5, None)
