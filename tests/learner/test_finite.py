"""A NaN or an infinite number is never learnt from: who made it is named, the weights stay."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.distributed.sharding import Layout
from harness.errors import ConfigError, ContractError, DivergedError, EngineError
from harness.learner.critic import Critic
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, update
from harness.maths.tensor_ops import Reduction
from harness.models.loading import Source
from harness.rollout.reference import _row
from harness.schema import METRICS, check_finite
from harness.types import Batch, Loss, LossTerm, Minibatch, Rollout, RolloutPlan
from tests.learner.test_update import batch_of

ADAM = Optimizer(learning_rate=1e-3, warmup=0.0)


@dataclass(frozen=True)
class Weighs:
    """The policy's log-probs, twice, with the weights of their terms."""

    weights: tuple[float, ...] = (1.0,)
    columns: frozenset[str] = frozenset()

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=4)

    def advantages(self, batch: Batch) -> Tensor:
        return batch.rewards_BT

    def loss(self, minibatch: Minibatch) -> Loss:
        x_BT = minibatch.logprobs_BT
        return Loss(
            terms=tuple(
                LossTerm(name=name, values=x_BT, reduction=Reduction.TOKEN_MEAN, weight=weight)
                for name, weight in zip(("policy", "entropy"), self.weights, strict=False)
            )
        )


def policy_of(source: Source, spoilt: float | None = None, trained: bool = True) -> Policy:
    model = source.model()
    if spoilt is not None:
        with torch.no_grad():
            model.model.norm.weight[0] = spoilt
    return Policy(model, 1.0, Layout(300), ADAM if trained else None)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("trained", "words"),
    [
        (
            True,
            r"the policy's log-probs are no numbers for 32 of 32 .*trainer.optimizer.learning_r",
        ),
        (
            False,
            r"the base model's log-probs are no numbers for 32 of 32 responses: .*numeric type",
        ),
    ],
)
def test_a_model_that_gives_no_numbers_is_named(
    source: Source, rollout: Rollout, value: float, trained: bool, words: str
) -> None:
    with pytest.raises(DivergedError, match=words):
        policy_of(source, value, trained).score(rollout)


def test_a_critic_that_gives_no_numbers_is_named(source: Source, rollout: Rollout) -> None:
    critic = Critic(source.model(), Layout(300), ADAM)
    with torch.no_grad():
        critic.module.value_head.bias.fill_(math.nan)
    with pytest.raises(DivergedError, match="the critic's values are no numbers for 32 of 32"):
        critic.score(rollout)


def test_an_engine_that_gives_no_numbers_is_named_unless_the_weights_are_none(
    source: Source, rollout: Rollout
) -> None:
    logprobs_BT = rollout.logprobs_BT.clone()
    logprobs_BT[:3, 0] = math.nan
    broken = dataclasses.replace(rollout, logprobs_BT=logprobs_BT)
    policy = policy_of(source)
    with pytest.raises(EngineError, match="rollout engine's log-probs are no numbers for 3 of 32"):
        Models(policy=policy, reference=policy).annotated(broken, frozenset())
    policy = policy_of(source, math.nan)
    with pytest.raises(DivergedError, match="the policy's log-probs"):
        Models(policy=policy, reference=policy).annotated(broken, frozenset())


def updated(policy: Policy, rollout: Rollout, algorithm: Weighs) -> None:
    models = Models(policy=policy, reference=policy)
    zeros_BT = torch.zeros(rollout.mask_BT.shape)
    update(models, algorithm, rollout, batch_of(rollout), zeros_BT, torch.arange(32))


def test_a_gradient_that_is_no_number_is_named_by_its_parameter_and_moves_nothing(
    source: Source, rollout: Rollout
) -> None:
    """What overflows in the backward pass of one layer only, as float16 does."""
    policy = policy_of(source)
    name, spoilt = list(policy.module.named_parameters())[3]
    spoilt.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
    before = [parameter.clone() for parameter in policy.parameters]
    with pytest.raises(DivergedError, match=r"gradient's norm is (nan|inf) at 0% ") as raised:
        updated(policy, rollout, Weighs())
    assert f"(that of {name})" in str(raised.value)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters, before, strict=True))


def test_a_loss_whose_terms_are_finite_and_whose_sum_is_not(
    source: Source, rollout: Rollout
) -> None:
    """3e38 is below the largest float32, 3.4e38; log-probs of a token are about -1 or less."""
    policy = policy_of(source)
    before = [parameter.clone() for parameter in policy.parameters]
    words = r"algorithm .*Weighs: the loss \(policy, entropy\) adds up to -inf at 0% of the budget"
    with pytest.raises(ContractError, match=words):
        updated(policy, rollout, Weighs((3e38, 3e38)))
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters, before, strict=True))


def test_a_learning_rate_is_finite() -> None:
    with pytest.raises(ConfigError, match="learning_rate must be finite, received inf"):
        Optimizer(learning_rate=math.inf)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_kept_score_that_is_no_number_is_drawn_again(value: str, tmp_path: Path) -> None:
    """Python's JSON reads all four."""
    assert _row('{"key": "k", "scores": [0.5], "tokens": [3]}') is not None
    assert _row(f'{{"key": "k", "scores": [{value}], "tokens": [3]}}') is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_is_a_number(value: float) -> None:
    check_finite({"eval/kl": 0.5}, METRICS, 4)
    with pytest.raises(DivergedError, match=rf"metric eval/kl \(k3 .*\) is {value:g} at step 4"):
        check_finite({"eval/accuracy": 0.5, "eval/kl": value}, METRICS, 4)
