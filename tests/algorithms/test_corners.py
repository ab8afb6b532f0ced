"""The two corners between GRPO and Dr. GRPO, by hand: each has one of the two divisions."""

import pytest
import torch

from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.algorithms.grpo_without_length import GrpoWithoutLength
from harness.algorithms.grpo_without_std import GrpoWithoutStd
from harness.errors import ConfigError
from harness.maths.tensor_ops import Counts, reduced
from tests.algorithms.test_dr_grpo import MASK, MINIBATCH, Batch

Corner = Grpo | DrGrpo | GrpoWithoutStd | GrpoWithoutLength


def advantages(algorithm: Corner, rewards: list[float], groups: list[int]) -> list[float]:
    rewards_BT = torch.tensor(rewards, dtype=torch.float64)[:, None]
    batch = Batch(
        group_B=torch.tensor(groups),
        mask_BT=torch.ones_like(rewards_BT, dtype=torch.bool),
        rewards_BT=rewards_BT,
        budget=1,
        columns={},
    )
    found: list[float] = algorithm.advantages(batch)[:, 0].tolist()
    return found


def loss(algorithm: Corner, budget: int = 4) -> float:
    (term,) = algorithm.loss(MINIBATCH).terms
    return reduced(term.values, MASK, term.reduction, Counts.of(MASK, budget)).item()


def test_without_std_rewards_are_centred_and_responses_divided_by_their_length() -> None:
    # mean 0.3
    found = advantages(GrpoWithoutStd(), [1, 0.1, 0, 0.1], [7, 7, 7, 7])
    assert found == pytest.approx([0.7, -0.2, -0.3, -0.2])
    # Token losses as in Dr. GRPO: sums -2.87032 over 3 tokens and 4.469297 over 2;
    # (-2.87032/3 + 4.469297/2) / 2, whatever the budget is.
    assert loss(GrpoWithoutStd()) == pytest.approx(0.638938, abs=1e-6)
    assert loss(GrpoWithoutStd(), budget=8) == pytest.approx(0.638938, abs=1e-6)


def test_without_length_rewards_are_scaled_and_responses_divided_by_the_budget() -> None:
    # Deviations .7, -.2, -.3, -.2 from .3; squares sum to .66, over 3 is .22, its root .469042
    found = advantages(GrpoWithoutLength(), [1, 0.1, 0, 0.1], [7, 7, 7, 7])
    assert found == pytest.approx([1.492405, -0.426401, -0.639602, -0.426401], abs=1e-5)
    # (-2.87032/4 + 4.469297/4) / 2, and half of it with twice the budget
    assert loss(GrpoWithoutLength()) == pytest.approx(0.199872, abs=1e-6)
    assert loss(GrpoWithoutLength(), budget=8) == pytest.approx(0.099936, abs=1e-6)


def test_each_corner_shares_one_half_with_either_neighbour() -> None:
    given = ([1, 0.1, 0, 0.1, 0.5, 0.25], [7, 7, 7, 7, 8, 8])
    assert advantages(GrpoWithoutStd(), *given) == advantages(DrGrpo(), *given)
    assert advantages(GrpoWithoutLength(), *given) == advantages(Grpo(), *given)
    assert loss(GrpoWithoutStd()) == loss(Grpo()) != loss(DrGrpo())
    assert loss(GrpoWithoutLength()) == loss(DrGrpo())


@pytest.mark.parametrize("corner", [GrpoWithoutStd(), GrpoWithoutLength()])
def test_degenerate_groups(corner: Corner) -> None:
    # Equal rewards: 0. One member: the raw reward (over 1 + 1e-6).
    found = advantages(corner, [0.25, 0.5, 0.25, 0.25], [3, 8, 3, 3])
    assert found == pytest.approx([0, 0.5, 0, 0], abs=1e-6)
    assert corner.columns == {"old_logprobs_BT"}
    assert corner.rollout_plan(0.0).group_size == 8
    clipped = corner.loss(MINIBATCH).diagnostics["actor/pg_clipfrac"]
    assert clipped[MASK].tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("corner", [GrpoWithoutStd, GrpoWithoutLength])
def test_what_is_refused(corner: type[GrpoWithoutStd] | type[GrpoWithoutLength]) -> None:
    with pytest.raises(ConfigError, match="needs at least 2, received 1"):
        corner(group_size=1)
    with pytest.raises(ConfigError, match="clip_low"):
        corner(clip_low=1.0)
    with pytest.raises(ConfigError, match="std_epsilon"):
        GrpoWithoutLength(std_epsilon=-1.0)
