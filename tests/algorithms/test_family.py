"""RLOO, REINFORCE, REINFORCE++, GSPO, CISPO, DAPO and TinyZero's GRPO, by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.algorithms.cispo import Cispo
from harness.algorithms.dapo import Dapo, undecided
from harness.algorithms.gspo import Gspo
from harness.algorithms.ppo import Ppo
from harness.algorithms.reinforce import Baseline, Reinforce
from harness.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from harness.algorithms.rloo import Rloo
from harness.algorithms.tinyzero_grpo import TinyZeroGrpo
from harness.errors import ConfigError
from harness.kl import KlInReward
from harness.maths.tensor_ops import Counts, masked_whiten, reduced
from harness.rollout.collected import Collected
from harness.types import Batch, Grade, Loss, Minibatch

MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)


def batch(scores: list[float], groups: list[int], **more: Any) -> Batch:
    rewards_BT = torch.zeros(3, 3, dtype=torch.float64)
    for i, (score, last) in enumerate(zip(scores, (2, 1, 0), strict=True)):
        rewards_BT[i, last] = score
    return Batch(
        group_B=torch.tensor(groups),
        mask_BT=MASK,
        rewards_BT=rewards_BT,
        budget=3,
        columns=more.pop("columns", {}),
        **more,
    )


def per_response(advantages_BT: Tensor) -> list[float]:
    return advantages_BT[:, 0].tolist()


def test_rloo_leaves_one_out() -> None:
    # others' means: (0 + .5)/2 = .25, (1 + .5)/2 = .75, (1 + 0)/2 = .5
    found = Rloo().advantages(batch([1.0, 0.0, 0.5], [4, 4, 4]))
    assert per_response(found) == pytest.approx([0.75, -0.75, 0.0])
    # a group of one keeps its reward; the two others: 1 - 0 and 0 - 1
    found = Rloo().advantages(batch([1.0, 0.0, 0.5], [4, 4, 7]))
    assert per_response(found) == pytest.approx([1.0, -1.0, 0.5])


def test_reinforce() -> None:
    given = batch([1.0, 0.0, 0.5], [0, 0, 0])
    plain = Reinforce(baseline=Baseline.NONE, gamma=0.5).advantages(given)
    assert plain.tolist() == [[0.25, 0.5, 1.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    # the batch's mean reward is .5
    found = Reinforce().advantages(given)
    assert found.tolist() == [[0.5, 0.5, 0.5], [-0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]


def test_reinforce_plus_plus_whitens_returns_after_the_kl() -> None:
    old = torch.tensor([[-1.0, -1, -1], [-1, -1, 0], [-1, 0, 0]], dtype=torch.float64)
    ref = torch.tensor([[-1.0, -2, -1], [-1, -1, 9], [-1, 9, 9]], dtype=torch.float64)
    given = batch(
        [1.0, 0.0, 0.5],
        [0, 0, 0],
        columns={"old_logprobs_BT": old, "ref_logprobs_BT": ref},
        kl_coefficient=0.2,
    )
    algorithm = ReinforcePlusPlus(kl=KlInReward(coefficient=0.7))
    # 0.2 * (-1 + 2) is paid at the second token: returns .8 .8 1 | 0 0 | .5
    returns = torch.tensor([[0.8, 0.8, 1.0], [0, 0, 0], [0.5, 0, 0]], dtype=torch.float64)
    assert torch.allclose(algorithm.advantages(given), masked_whiten(returns, MASK))


def test_reinforce_plus_plus_with_a_group_baseline() -> None:
    # centred: .5 -.5 | 0.5 alone keeps its score; on tokens .5 .5 .5 -.5 -.5 .5
    found = ReinforcePlusPlus(group_baseline=True).advantages(batch([1.0, 0.0, 0.5], [0, 0, 1]))
    centred = torch.tensor([[0.5, 0.5, 0.5], [-0.5, -0.5, 0], [0.5, 0, 0]], dtype=torch.float64)
    assert torch.allclose(found, masked_whiten(centred, MASK))


OLD = torch.tensor([[-1.0, -2, -1], [-1, -1, 0], [-2, 0, 0]], dtype=torch.float64)
NEW = torch.tensor([[-0.7, -2, -0.7], [-1.4, -1.2, 0], [-2, 0, 0]], dtype=torch.float64)
ADVANTAGES = torch.tensor([[1.0, 1, 1], [-1, -1, 0], [2, 0, 0]], dtype=torch.float64)


def minibatch(**columns: Tensor) -> Minibatch:
    return Minibatch(
        logprobs_BT=NEW,
        advantages_BT=ADVANTAGES,
        mask_BT=MASK,
        budget=3,
        columns={"old_logprobs_BT": OLD, **columns},
    )


def shares(loss: Loss) -> dict[str, float]:
    counts = Counts.of(MASK, budget=3)
    return {
        t.name: t.weight * reduced(t.values, MASK, t.reduction, counts).item() for t in loss.terms
    }


def test_gspo_has_one_ratio_per_response() -> None:
    # mean log-ratios .2, -.3, 0: e^.2 = 1.221403 clipped to 1.1, e^-.3 = .740818 clipped to .9, 1
    # max(-1.2214, -1.1) = -1.1; max(.7408, .9) = .9; -2; mean -2.2 / 3
    loss = Gspo(clip_low=0.1, clip_high=0.1).loss(minibatch())
    assert shares(loss)["policy"] == pytest.approx(-2.2 / 3)
    assert loss.diagnostics["actor/pg_clipfrac"].tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]


def test_cispo_clips_the_weight_and_keeps_every_gradient() -> None:
    leaf = NEW.clone().requires_grad_()
    algorithm = Cispo(clip_low=0.1, clip_high=0.2)
    given = minibatch()
    loss = algorithm.loss(Minibatch(**{**vars(given), "logprobs_BT": leaf}))
    # ratios e^.3 = 1.35, 1, e^.3 | e^-.4 = .67, e^-.2 = .82 | 1: weights 1.2 1 1.2 | .9 .9 | 1
    term = loss.terms[0]
    reduced(term.values, MASK, term.reduction, Counts.of(MASK, budget=3)).backward()
    expected = torch.tensor([[-1.2, -1, -1.2], [0.9, 0.9, 0], [-2, 0, 0]]).double() / 6
    assert torch.allclose(leaf.grad, expected)
    capped = Cispo(cap=1.1).loss(given).diagnostics["actor/pg_clipfrac"]
    assert capped[MASK].tolist() == [1, 0, 1, 0, 0, 0]


def test_dapo_clips_higher() -> None:
    # ratios 1.35 1 1.35 at A = 1, clipped to 1.28; .67 .82 at A = -1: .8 .82; 1 at A = 2
    # -1.28 - 1 - 1.28 + .8 + .818731 - 2 = -3.941269
    assert shares(Dapo().loss(minibatch()))["policy"] == pytest.approx(-3.941269 / 6, abs=1e-6)


def test_dapo_keeps_groups_that_are_neither_all_right_nor_all_wrong() -> None:
    class Rows:
        group_B = torch.tensor([0, 0, 1, 1, 2, 2, 3])

    rollout: Any = Rows()
    right = [True, False, True, True, False, False, False]
    collected = Collected(
        rollout=rollout,
        grades=tuple(Grade(correct=c, formatted=True) for c in right),
        scores=None,  # type: ignore[arg-type]
        columns={},
        tokens=0,
        prompts=4,
        metrics={},
    )
    assert undecided(collected).tolist() == [True, True, False, False, False, False, True]
    assert Dapo().rollout_plan(0.0).accept is undecided
    assert Dapo(dynamic_sampling=False).rollout_plan(0.0).accept is None


def test_tinyzeros_kl_and_its_sign() -> None:
    ref = torch.full((3, 3), -1.0, dtype=torch.float64)
    # k3 = e^-d + d - 1 with d = new - ref: .3 -1 .3 | -.4 -.2 | -1
    d = [0.3, -1.0, 0.3, -0.4, -0.2, -1.0]
    k3 = sum(math.exp(-x) + x - 1 for x in d) / 6
    right = shares(TinyZeroGrpo().loss(minibatch(ref_logprobs_BT=ref)))
    wrong = shares(TinyZeroGrpo(kl_sign_bug=True).loss(minibatch(ref_logprobs_BT=ref)))
    assert right["kl"] == pytest.approx(0.001 * k3)
    assert wrong["kl"] == -right["kl"]
    assert wrong["policy"] == right["policy"]


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (Rloo, {"group_size": 1}),
        (Gspo, {"group_size": 1}),
        (Dapo, {"max_batches": 0}),
        (Cispo, {"cap": -1.0}),
        (Reinforce, {"gamma": -1.0}),
        (ReinforcePlusPlus, {"group_baseline": True, "group_size": 1}),
        (ReinforcePlusPlus, {"group_baseline": True, "kl": KlInReward(coefficient=0.1)}),
        (TinyZeroGrpo, {"kl_coefficient": -1.0}),
        (Ppo, {"dual_clip": 1.1, "clip_high": 0.2}),
        (Ppo, {"clip_low": 0.0, "clip_high": 0.0}),
        (KlInReward, {"coefficient": 0.0, "target": 0.1}),
    ],
)
def test_settings_are_checked(cls: type, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        cls(**wrong)


@pytest.mark.parametrize("name", ["ppo", "gspo", "cispo", "dapo", "reinforce_plus_plus"])
def test_clipping_algorithms_take_several_updates(name: str, composed: Callable[..., Any]) -> None:
    assert composed(f"algorithm={name}").trainer.mini_batches == 4
    assert composed(f"algorithm={name}", "trainer.mini_batches=2").trainer.mini_batches == 2
    assert composed("algorithm=grpo").trainer.mini_batches == 1


def test_dapo_brings_its_reward_unless_another_is_chosen(composed: Callable[..., Any]) -> None:
    assert set(composed("algorithm=dapo").reward.parts) == {"correct", "long"}
    assert type(composed("algorithm=dapo", "reward=binary").reward).__name__ == "Binary"
