"""A*-PO, its weighted form, and ReMax against hand-computed values."""

import math
from typing import Any

import pytest
import torch

from harness.algorithms.a_star_po import AStarPo, some_right
from harness.algorithms.a_star_po_weighted import AStarPoWeighted
from harness.algorithms.remax import ReMax
from harness.errors import ConfigError
from harness.maths.tensor_ops import Counts, reduced
from harness.rollout.collected import Collected
from harness.types import Batch, Minibatch

MASK = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool)
REWARDS = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
REFERENCE = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
# .5 ln((e^2 + 1)/2) and 0
V = [0.5 * math.log((math.e**2 + 1) / 2), 0.0]


def batch(**columns: torch.Tensor) -> Batch:
    return Batch(
        group_B=torch.tensor([0, 1]),
        mask_BT=MASK,
        rewards_BT=REWARDS,
        budget=3,
        columns={"reference_scores_BN": REFERENCE, **columns},
    )


def test_the_advantage_is_what_is_better_than_v_star() -> None:
    made = AStarPo().advantages(batch())
    assert made.columns["advantage_B"].tolist() == pytest.approx([1 - V[0], 0.0])
    assert made.advantages_BT[0].tolist() == pytest.approx([1 - V[0]] * 3)
    assert made.metrics["critic/v_star/mean"] == pytest.approx(V[0] / 2)


def test_the_loss_is_a_regression_of_the_whole_log_ratio() -> None:
    new = torch.tensor([[-1.0, -2.0, -1.0], [-3.0, 8.0, 8.0]], dtype=torch.float64)
    ref = torch.tensor([[-2.0, -2.0, -3.0], [-1.0, 9.0, 9.0]], dtype=torch.float64)
    columns = {"ref_logprobs_BT": ref, "advantage_B": torch.tensor([0.5, -0.25])}
    mini = Minibatch(
        logprobs_BT=new, advantages_BT=REWARDS, mask_BT=MASK, budget=3, columns=columns
    )
    loss = AStarPo(beta2=0.1).loss(mini)
    # s = 1 + 0 + 2 = 3 and -2; (.3 - .5)^2 = .04, (-.2 + .25)^2 = .0025; their mean .02125
    (term,) = loss.terms
    counts = Counts.of(MASK, budget=3)
    total = reduced(term.values, MASK, term.reduction, counts).item()
    assert total == pytest.approx(0.02125)
    assert loss.diagnostics["actor/log_ratio_sum"][:, 0].tolist() == pytest.approx([3.0, -2.0])


def test_the_plan() -> None:
    plan = AStarPo(value_samples=3).rollout_plan(0.5)
    assert (plan.group_size, plan.reference_samples, plan.reference_seed) == (1, 3, None)
    assert plan.accept is None
    assert AStarPo(share_v_star=True).rollout_plan(0.5).reference_seed == 0
    assert AStarPo(drop_all_wrong=True).rollout_plan(0.5).accept is some_right


def test_prompts_that_the_base_never_solves_are_dropped() -> None:
    collected: Any = Collected(
        rollout=None,  # type: ignore[arg-type]
        grades=(),
        scores=None,  # type: ignore[arg-type]
        columns={"reference_scores_BN": REFERENCE},
        tokens=0,
        prompts=2,
        metrics={},
    )
    assert some_right(collected).tolist() == [True, False]


def test_weighted_cross_entropy() -> None:
    algorithm = AStarPoWeighted(kl_coefficient=0.5, weight_min=0.1, adv_clip=2.0)
    made = algorithm.advantages(batch())
    # A = 1 - .71689 = .28311 and 0: z = +-.7071 (two values): weights 1.7071 and .2929
    weight_B = made.columns["weight_B"]
    assert weight_B.tolist() == pytest.approx([1.70710, 0.29290], abs=1e-4)
    kl_BT = torch.full((2, 3), 0.2, dtype=torch.float64)
    mini = Minibatch(
        logprobs_BT=torch.tensor([[-1.0, -2.0, -3.0], [-4.0, 0, 0]], dtype=torch.float64),
        advantages_BT=made.advantages_BT,
        mask_BT=MASK,
        budget=3,
        columns={"weight_B": weight_B, "kl_full_BT": kl_BT},
    )
    counts = Counts.of(MASK, budget=3)
    shares = {
        t.name: (t.weight, reduced(t.values, MASK, t.reduction, counts).item())
        for t in algorithm.loss(mini).terms
    }
    # imitation: (1.7071 * 2 + .2929 * 4) / 2 = 2.2929; KL: (1.7071 + .2929) / 2 * .2 = .2
    assert shares["policy"] == (1.0, pytest.approx(2.2929, abs=1e-4))
    assert shares["kl"] == (0.5, pytest.approx(0.2, abs=1e-5))


def test_fewer_samples_of_the_base_as_training_goes_on() -> None:
    algorithm = AStarPoWeighted()
    asked = [algorithm.rollout_plan(p).reference_samples for p in (0.0, 0.14, 0.15, 0.35, 0.9)]
    assert asked == [5, 5, 3, 2, 2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"value_samples": [5, 3]}, "one number more"),
        ({"value_samples": [5, 3, 0]}, "value_samples"),
        ({"weight_min": 6.0}, "weight_min"),
        ({"beta": 0.0}, "beta"),
    ],
)
def test_settings_of_the_weighted_form_are_checked(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AStarPoWeighted(**wrong)


@pytest.mark.parametrize("wrong", [{"beta1": 0.0}, {"beta2": -1.0}, {"value_samples": 0}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"algorithm\.\w+ must be"):
        AStarPo(**wrong)


def test_remax_is_rewards_to_go_over_the_greedy_ones() -> None:
    greedy_B = torch.tensor([0.25, 0.5], dtype=torch.float64)
    found = ReMax().advantages(batch(greedy_scores_B=greedy_B))
    # 1 to go on every token of the first; nothing in the second
    assert found.tolist() == [[0.75, 0.75, 0.75], [-0.5, 0.0, 0.0]]
    assert ReMax().rollout_plan(0.0).greedy
