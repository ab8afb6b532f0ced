"""Dr. GRPO against hand-computed values (arithmetic beside each)."""

import pytest
import torch

from harness.algorithms.dr_grpo import DrGrpo
from harness.errors import ConfigError, ContractError
from harness.maths.tensor_ops import Counts, Reduction, reduced
from harness.types import Batch, Minibatch

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
OLD = torch.tensor([[-1.0, -2.0, -0.5, 0.0], [-1.5, -0.7, 0.0, 0.0]], dtype=torch.float64)
NEW = torch.tensor([[-0.6, -2.4, -0.5, 0.0], [-0.2, -2.7, 0.0, 0.0]], dtype=torch.float64)
ADVANTAGES = torch.tensor([[1.0, 1, 1, 0], [-1, -1, 0, 0]], dtype=torch.float64)
MINIBATCH = Minibatch(
    logprobs_BT=NEW,
    advantages_BT=ADVANTAGES,
    mask_BT=MASK,
    budget=4,
    columns={"old_logprobs_BT": OLD},
)


def advantages(rewards: list[float], groups: list[int]) -> list[float]:
    rewards_BT = torch.tensor(rewards, dtype=torch.float64)[:, None]
    batch = Batch(
        group_B=torch.tensor(groups),
        mask_BT=torch.ones_like(rewards_BT, dtype=torch.bool),
        rewards_BT=rewards_BT,
        budget=1,
        columns={},
    )
    found: list[float] = DrGrpo().advantages(batch)[:, 0].tolist()
    return found


def test_advantages_are_centred_but_not_scaled() -> None:
    # mean 0.3
    assert advantages([1, 0.1, 0, 0.1], [7, 7, 7, 7]) == pytest.approx([0.7, -0.2, -0.3, -0.2])
    # Interleaved: group 1 has mean 2/3, group 0 mean 1/2.
    found = advantages([1, 1, 0, 1, 0], [1, 0, 1, 1, 0])
    assert found == pytest.approx([1 / 3, 1 / 2, -2 / 3, 1 / 3, -1 / 2])


def test_degenerate_groups() -> None:
    # Equal rewards: 0. One member: the raw reward.
    found = advantages([0.25, 0.5, 0.25, 0.25], [3, 8, 3, 3])
    assert found == pytest.approx([0, 0.5, 0, 0], abs=1e-12)


def test_loss_divides_every_response_by_the_same_budget() -> None:
    (term,) = DrGrpo().loss(MINIBATCH).terms
    assert (term.name, term.weight) == ("policy", 1)
    assert term.reduction is Reduction.CONSTANT_BUDGET
    # Token losses -1.2, -0.67032, -1 | 3.669297, 0.8 as in GRPO; sums -2.87032 and 4.469297.
    # C = 4: (-2.87032/4 + 4.469297/4) / 2 = 1.598977 / 8
    loss = reduced(term.values, MASK, term.reduction, Counts.of(MASK, 4))
    assert loss.item() == pytest.approx(0.199872, abs=1e-6)
    # Twice the budget, half the loss, whatever the width of the batch is.
    half = reduced(term.values, MASK, term.reduction, Counts.of(MASK, 8))
    assert half.item() == pytest.approx(0.099936, abs=1e-6)


def test_gradient_of_a_token_does_not_depend_on_the_length_of_its_response() -> None:
    leaf = OLD.clone().requires_grad_()
    minibatch = Minibatch(
        logprobs_BT=leaf,
        advantages_BT=ADVANTAGES,
        mask_BT=MASK,
        budget=4,
        columns={"old_logprobs_BT": OLD},
    )
    (term,) = DrGrpo().loss(minibatch).terms
    loss = reduced(term.values, MASK, term.reduction, Counts.of(MASK, 4))
    (gradient,) = torch.autograd.grad(loss, leaf)
    # -A / C / N = ∓1 / 4 / 2 on each token of either response
    expected = [[-0.125, -0.125, -0.125, 0], [0.125, 0.125, 0, 0]]
    assert gradient.tolist() == expected


def test_clip_higher_and_diagnostics() -> None:
    loss = DrGrpo(clip_high=0.28).loss(MINIBATCH)
    # max(-1.491825, -1.28) for the first token
    assert loss.terms[0].values[0, 0].item() == pytest.approx(-1.28)
    assert loss.diagnostics["actor/pg_clipfrac"][MASK].tolist() == [1, 0, 0, 0, 1]
    kl = [-0.4, 0.4, 0, -1.3, 2]
    assert loss.diagnostics["actor/ppo_kl"][MASK].tolist() == pytest.approx(kl)


def test_columns_are_what_is_read() -> None:
    assert DrGrpo().columns == {"old_logprobs_BT"}
    bare = Minibatch(logprobs_BT=NEW, advantages_BT=ADVANTAGES, mask_BT=MASK, budget=4, columns={})
    with pytest.raises(ContractError, match=r"'old_logprobs_BT'.*declared: none"):
        DrGrpo().loss(bare)


def test_a_group_of_one_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError) as refusal:
        DrGrpo(group_size=1)
    assert "\n" not in str(refusal.value)
    assert "needs at least 2, received 1" in str(refusal.value)


def test_the_group_size_reaches_the_rollout() -> None:
    assert DrGrpo(group_size=3).rollout_plan(0.0).group_size == 3
