"""No pass for the old log-probs where the first update computes them: equal to the bit."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.algorithms.a_star_po import AStarPo
from harness.algorithms.a_star_po_weighted import AStarPoWeighted
from harness.algorithms.cispo import Cispo
from harness.algorithms.dapo import Dapo
from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.algorithms.gspo import Gspo
from harness.algorithms.ppo import Ppo
from harness.algorithms.reinforce import Reinforce
from harness.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from harness.algorithms.remax import ReMax
from harness.algorithms.rloo import Rloo
from harness.algorithms.tinyzero_grpo import TinyZeroGrpo
from harness.distributed.sharding import Layout
from harness.errors import DivergedError, EngineError
from harness.kl import KlInReward
from harness.learner.columns import OLD, OldLogprobs, compared, joined
from harness.learner.critic import Critic
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, estimates, update
from harness.maths.tensor_ops import Reduction, on_last_token, on_tokens
from harness.models.loading import Source
from harness.types import Batch, Loss, LossTerm, Minibatch, Rollout, RolloutPlan

ADAM = Optimizer(learning_rate=3e-3, warmup=0.0)
KL = KlInReward(coefficient=0.1)


@dataclass(frozen=True)
class OffPolicy:
    """Its loss reads the sampler's log-probs beside the old ones."""

    columns: frozenset[str] = frozenset({OLD, "rollout_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=4)

    def advantages(self, batch: Batch) -> Tensor:
        return on_tokens(batch.scores_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        weight_BT = (minibatch[OLD] - minibatch["rollout_logprobs_BT"]).exp()
        ratio_BT = (minibatch.logprobs_BT - minibatch[OLD]).exp()
        values_BT = -weight_BT * ratio_BT * minibatch.advantages_BT
        return Loss(
            terms=(LossTerm(name="policy", values=values_BT, reduction=Reduction.TOKEN_MEAN),)
        )


@dataclass(frozen=True)
class Reinforced(OffPolicy):
    """Tells its ratios."""

    def loss(self, minibatch: Minibatch) -> Loss:
        ratio_BT = (minibatch.logprobs_BT - minibatch[OLD]).exp()
        values_BT = -ratio_BT * minibatch.advantages_BT
        return Loss(
            terms=(LossTerm(name="policy", values=values_BT, reduction=Reduction.TOKEN_MEAN),),
            diagnostics={"actor/ratio": ratio_BT.detach()},
        )


@dataclass(frozen=True)
class ReadsBefore(OffPolicy):
    """Its advantages read the old log-probs: the pass is made for them."""

    def advantages(self, batch: Batch) -> Tensor:
        return on_tokens(batch.scores_B, batch.mask_BT) - 0.1 * batch[OLD].double()


# Algorithm, and whether somebody reads the old log-probs before the first update.
CASES: list[tuple[Any, bool]] = [
    *((cls(group_size=4), False) for cls in (Grpo, DrGrpo, Rloo, Gspo, Cispo, Dapo, TinyZeroGrpo)),
    *((cls(group_size=4), False) for cls in (Reinforce, ReinforcePlusPlus, ReMax, AStarPo, Ppo)),
    (AStarPoWeighted(), False),
    (OffPolicy(), False),
    (ReadsBefore(), True),
    (ReinforcePlusPlus(group_size=4, kl=KL), True),
    (Ppo(group_size=4, kl=KL), True),
]


def models_of(
    source: Source,
    algorithm: Any,
    whole: bool,
    cap: float | None = None,
    old: OldLogprobs = OldLogprobs.TRAINER,
) -> Models:
    layout = Layout(300)
    settings = getattr(algorithm, "critic", None)
    critic = None if settings is None else Critic(source.model(), layout, ADAM)
    return Models(
        policy=Policy(source.model(), 0.9, layout, ADAM),
        reference=Policy(source.model(), 0.9, layout),
        critic=critic,
        importance_cap=cap,
        whole=whole,
        old=old,
    )


def annotated(models: Models, algorithm: Any, rollout: Rollout) -> tuple[Batch, Tensor]:
    """A batch with every column that is known before the first update, and its advantages."""
    count = len(rollout.texts)
    rewards_B = (torch.arange(count) % 3).double()
    more = {
        "greedy_scores_B": torch.full((count,), 0.5, dtype=torch.float64),
        "reference_scores_BN": (torch.arange(4 * count).reshape(count, 4) % 2).double(),
    }
    batch = Batch(
        group_B=rollout.group_B,
        mask_BT=rollout.mask_BT,
        rewards_BT=on_last_token(rewards_B, rollout.mask_BT),
        budget=40,
        columns=joined(models.annotated(rollout, algorithm.columns), more),
        kl_coefficient=0.1,
    )
    return estimates(algorithm, batch)[:2]


def stepped(
    models: Models, algorithm: Any, rollout: Rollout, epochs: int
) -> tuple[list[dict[str, float]], Tensor, list[Tensor]]:
    """Metrics of the updates, the old log-probs and the weights after a step."""
    batch, advantages_BT = annotated(models, algorithm, rollout)
    rows_B = torch.arange(len(rollout.texts))
    updates = [
        update(models, algorithm, rollout, batch, advantages_BT, rows_B) for _ in range(epochs)
    ]
    weights = [p.detach() for learner in models.trained for p in learner.parameters]
    return updates, batch[OLD], weights


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Policy]:
    """Who has made a pass for log-probs."""
    seen: list[Policy] = []
    real = Policy.logprobs
    monkeypatch.setattr(
        Policy, "logprobs", lambda self, made: (seen.append(self), real(self, made))[1]
    )
    return seen


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "read"), CASES, ids=[f"{type(a).__name__}-{read}" for a, read in CASES]
)
def test_the_first_update_stands_for_the_pass(
    source: Source,
    rollout: Rollout,
    passes: list[Policy],
    algorithm: Any,
    read: bool,
    epochs: int,
) -> None:
    expected = stepped(models_of(source, algorithm, whole=False), algorithm, rollout, epochs)
    passes.clear()
    models = models_of(source, algorithm, whole=True)
    updates, old_BT, weights = stepped(models, algorithm, rollout, epochs)
    assert (models.policy in passes) is read
    assert updates == expected[0]
    assert torch.equal(old_BT, expected[1])
    assert all(torch.equal(a, b) for a, b in zip(weights, expected[2], strict=True))
    assert old_BT.any()
    assert not old_BT[~rollout.mask_BT].any()


def test_weights_against_the_sampler_are_read_before(source: Source, rollout: Rollout) -> None:
    models = models_of(source, Grpo(), whole=True, cap=2.0)
    made = models.annotated(rollout, frozenset({OLD}))
    assert {OLD, "importance_BT"} <= set(dict(made))


def test_whose_numbers_are_none_is_told_without_the_pass(source: Source, rollout: Rollout) -> None:
    """Where both are, the policy's weights are the cause and not the engine."""
    models = models_of(source, Grpo(), whole=True)
    with torch.no_grad():
        models.policy.module.model.model.norm.weight[0] = math.nan
    with pytest.raises(DivergedError, match="the policy's log-probs are no longer finite"):
        stepped(models, Grpo(group_size=4), rollout, 1)
    broken = dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT * math.nan)
    with pytest.raises(DivergedError, match="the policy's log-probs are no numbers"):
        models.annotated(broken, frozenset({OLD}))


def rounded(rollout: Rollout) -> Rollout:
    """As a sampler gives them that computes in bfloat16: off by up to 0.4 %."""
    return dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT.bfloat16().float())


@pytest.mark.parametrize(
    ("algorithm", "count"),
    [(Grpo(group_size=4), 1), *((a, 2) for a, _ in CASES)],
    ids=["Grpo-whole", *(f"{type(a).__name__}-{read}" for a, read in CASES)],
)
def test_the_samplers_own_stand_for_the_pass(
    source: Source, rollout: Rollout, passes: list[Policy], algorithm: Any, count: int
) -> None:
    """No pass; every loss is given them; the mismatch is of the rows that the first update saw."""
    sampled = rounded(rollout)
    trainer_BT = Policy(source.model(), 0.9, Layout(300)).logprobs(rollout)
    passes.clear()
    models = models_of(source, algorithm, whole=count == 1, old=OldLogprobs.SAMPLER)
    batch, advantages_BT = annotated(models, algorithm, sampled)
    order_B = torch.arange(len(rollout.texts)).flip(0)
    parts = list(order_B.tensor_split(count))
    for rows_b in parts:
        update(models, algorithm, sampled, batch, advantages_BT, rows_b)
    assert models.policy not in passes
    assert torch.equal(batch[OLD], sampled.logprobs_BT)
    own_BT, seen_BT = compared(batch)
    first_B = torch.isin(torch.arange(len(rollout.texts)), parts[0])
    assert torch.equal(seen_BT, rollout.mask_BT & first_B[:, None])
    assert own_BT[seen_BT] == pytest.approx(trainer_BT[seen_BT], abs=1e-5)


def test_ratios_begin_at_the_mismatch(source: Source, rollout: Rollout) -> None:
    """With the trainer's own they are exactly 1; with the sampler's, w = exp(trainer - sampler)."""
    sampled, algorithm = rounded(rollout), Reinforced()
    found = {}
    for old in OldLogprobs:
        models = models_of(source, algorithm, whole=True, old=old)
        updates, _, _ = stepped(models, algorithm, sampled, 1)
        found[old] = updates[0]["actor/ratio"]
    trainer_BT = Policy(source.model(), 0.9, Layout(300)).logprobs(rollout)
    w_N = (trainer_BT - sampled.logprobs_BT)[rollout.mask_BT].exp()
    assert found[OldLogprobs.TRAINER] == pytest.approx(1.0, abs=1e-7)
    assert found[OldLogprobs.SAMPLER] == pytest.approx(w_N.mean().item(), abs=1e-6)
    assert abs(found[OldLogprobs.SAMPLER] - 1) > 1e-5


def test_trainers_own_are_compared_on_every_token(source: Source, rollout: Rollout) -> None:
    for whole in (False, True):
        models = models_of(source, Grpo(group_size=4), whole)
        batch, advantages_BT = annotated(models, Grpo(group_size=4), rollout)
        for rows_b in torch.arange(len(rollout.texts)).tensor_split(1 if whole else 2):
            update(models, Grpo(group_size=4), rollout, batch, advantages_BT, rows_b)
        own_BT, seen_BT = compared(batch)
        assert torch.equal(own_BT, batch[OLD])
        assert torch.equal(seen_BT, rollout.mask_BT)


def test_whose_numbers_are_none_is_told_of_the_samplers(source: Source, rollout: Rollout) -> None:
    """The pass is made for the message alone: whether the weights are the cause."""
    models = models_of(source, Grpo(), whole=True, old=OldLogprobs.SAMPLER)
    broken = dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT * math.nan)
    with pytest.raises(EngineError, match="the rollout engine's log-probs are no numbers"):
        models.annotated(broken, frozenset({OLD}))
    with torch.no_grad():
        models.policy.module.model.model.norm.weight[0] = math.nan
    with pytest.raises(DivergedError, match="the policy's log-probs are no numbers"):
        models.annotated(broken, frozenset({OLD}))
