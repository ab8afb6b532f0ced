"""No pass for the old log-probs of rows of which the first update computes them: to the bit."""

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
        old=old,
    )


def annotated(
    models: Models, algorithm: Any, rollout: Rollout, first_b: Tensor | None
) -> tuple[Batch, Tensor]:
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
        columns=joined(models.annotated(rollout, algorithm.columns, first_b), more),
        kl_coefficient=0.1,
    )
    return estimates(algorithm, batch)[:2]


def whole(rollout: Rollout) -> list[Tensor]:
    """One update of all rows."""
    return [torch.arange(len(rollout.texts))]


def stepped(
    models: Models, algorithm: Any, rollout: Rollout, cut: list[Tensor], known: bool = True
) -> tuple[list[dict[str, float]], Tensor, list[Tensor]]:
    """Metrics of the updates, the old log-probs and the weights after a step.

    Args:
        cut: rows of each update; known: whether the first one's are, when columns are made.
    """
    batch, advantages_BT = annotated(models, algorithm, rollout, cut[0] if known else None)
    updates = [update(models, algorithm, rollout, batch, advantages_BT, rows_b) for rows_b in cut]
    weights = [p.detach() for learner in models.trained for p in learner.parameters]
    return updates, batch[OLD], weights


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Policy, list[int]]]:
    """Who has made a pass for log-probs, and of which rows."""
    seen: list[tuple[Policy, list[int]]] = []
    real = Policy.logprobs

    def recorded(self: Policy, made: Rollout, rows_b: Tensor | None = None) -> Tensor:
        seen.append((self, (whole(made)[0] if rows_b is None else rows_b).tolist()))
        return real(self, made, rows_b)

    monkeypatch.setattr(Policy, "logprobs", recorded)
    return seen


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "read"), CASES, ids=[f"{type(a).__name__}-{read}" for a, read in CASES]
)
def test_the_first_update_stands_for_the_pass(
    source: Source,
    rollout: Rollout,
    passes: list[tuple[Policy, list[int]]],
    algorithm: Any,
    read: bool,
    epochs: int,
) -> None:
    cut = whole(rollout) * epochs
    expected = stepped(models_of(source, algorithm), algorithm, rollout, cut, known=False)
    passes.clear()
    models = models_of(source, algorithm)
    updates, old_BT, weights = stepped(models, algorithm, rollout, cut)
    assert (models.policy in [policy for policy, _ in passes]) is read
    assert updates == expected[0]
    assert torch.equal(old_BT, expected[1])
    assert all(torch.equal(a, b) for a, b in zip(weights, expected[2], strict=True))
    assert old_BT.any()
    assert not old_BT[~rollout.mask_BT].any()


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "read"), CASES, ids=[f"{type(a).__name__}-{read}" for a, read in CASES]
)
def test_the_first_of_several_updates_stands_for_the_pass_over_its_rows(
    source: Source,
    rollout: Rollout,
    passes: list[tuple[Policy, list[int]]],
    monkeypatch: pytest.MonkeyPatch,
    algorithm: Any,
    read: bool,
    epochs: int,
) -> None:
    """As from a pass before, over its rows and over the others; no row is read twice by one."""
    count = len(rollout.texts)
    order_B = torch.arange(count).roll(3)
    cut = [*order_B.tensor_split(3)] * epochs
    before = models_of(source, algorithm)
    real = before.policy.logprobs
    both = (cut[0], torch.cat(cut[1:3]).sort().values)
    monkeypatch.setattr(
        before.policy, "logprobs", lambda made: sum(real(made, rows_b) for rows_b in both)
    )
    expected = stepped(before, algorithm, rollout, cut, known=False)
    passes.clear()
    models = models_of(source, algorithm)
    updates, old_BT, weights = stepped(models, algorithm, rollout, cut)
    scored = sorted(i for policy, rows in passes if policy is models.policy for i in rows)
    assert scored == (list(range(count)) if read else both[1].tolist())
    assert updates == expected[0]
    assert torch.equal(old_BT, expected[1])
    assert all(torch.equal(a, b) for a, b in zip(weights, expected[2], strict=True))
    assert old_BT[rollout.mask_BT].all()
    assert not old_BT[~rollout.mask_BT].any()


def test_weights_against_the_sampler_are_read_before(source: Source, rollout: Rollout) -> None:
    models = models_of(source, Grpo(), cap=2.0)
    made = models.annotated(rollout, frozenset({OLD}), whole(rollout)[0])
    assert {OLD, "importance_BT"} <= set(dict(made))


def test_whose_numbers_are_none_is_told_without_the_pass(source: Source, rollout: Rollout) -> None:
    """Where both are, the policy's weights are the cause and not the engine."""
    models = models_of(source, Grpo())
    with torch.no_grad():
        models.policy.module.model.model.norm.weight[0] = math.nan
    with pytest.raises(DivergedError, match="the policy's log-probs are no longer finite"):
        stepped(models, Grpo(group_size=4), rollout, whole(rollout))
    broken = dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT * math.nan)
    with pytest.raises(DivergedError, match="the policy's log-probs are no numbers"):
        models.annotated(broken, frozenset({OLD}), whole(rollout)[0])


def rounded(rollout: Rollout) -> Rollout:
    """As a sampler gives them that computes in bfloat16: off by up to 0.4 %."""
    return dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT.bfloat16().float())


@pytest.mark.parametrize(
    ("algorithm", "count"),
    [(Grpo(group_size=4), 1), *((a, 2) for a, _ in CASES)],
    ids=["Grpo-whole", *(f"{type(a).__name__}-{read}" for a, read in CASES)],
)
def test_the_samplers_own_stand_for_the_pass(
    source: Source,
    rollout: Rollout,
    passes: list[tuple[Policy, list[int]]],
    algorithm: Any,
    count: int,
) -> None:
    """No pass; every loss is given them; the mismatch is of the rows that the first update saw."""
    sampled = rounded(rollout)
    trainer_BT = Policy(source.model(), 0.9, Layout(300)).logprobs(rollout)
    passes.clear()
    models = models_of(source, algorithm, old=OldLogprobs.SAMPLER)
    order_B = torch.arange(len(rollout.texts)).flip(0)
    parts = list(order_B.tensor_split(count))
    batch, advantages_BT = annotated(models, algorithm, sampled, parts[0])
    for rows_b in parts:
        update(models, algorithm, sampled, batch, advantages_BT, rows_b)
    assert models.policy not in [policy for policy, _ in passes]
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
        models = models_of(source, algorithm, old=old)
        updates, _, _ = stepped(models, algorithm, sampled, whole(sampled))
        found[old] = updates[0]["actor/ratio"]
    trainer_BT = Policy(source.model(), 0.9, Layout(300)).logprobs(rollout)
    w_N = (trainer_BT - sampled.logprobs_BT)[rollout.mask_BT].exp()
    assert found[OldLogprobs.TRAINER] == pytest.approx(1.0, abs=1e-7)
    assert found[OldLogprobs.SAMPLER] == pytest.approx(w_N.mean().item(), abs=1e-6)
    assert abs(found[OldLogprobs.SAMPLER] - 1) > 1e-5


def test_trainers_own_are_compared_on_every_token(source: Source, rollout: Rollout) -> None:
    for count, known in ((1, True), (2, True), (2, False)):
        models = models_of(source, Grpo(group_size=4))
        cut = torch.arange(len(rollout.texts)).tensor_split(count)
        first_b = cut[0] if known else None
        batch, advantages_BT = annotated(models, Grpo(group_size=4), rollout, first_b)
        for rows_b in cut:
            update(models, Grpo(group_size=4), rollout, batch, advantages_BT, rows_b)
        own_BT, seen_BT = compared(batch)
        assert torch.equal(own_BT, batch[OLD])
        assert torch.equal(seen_BT, rollout.mask_BT)


def test_whose_numbers_are_none_is_told_of_the_samplers(source: Source, rollout: Rollout) -> None:
    """The pass is made for the message alone: whether the weights are the cause."""
    models = models_of(source, Grpo(), old=OldLogprobs.SAMPLER)
    broken = dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT * math.nan)
    with pytest.raises(EngineError, match="the rollout engine's log-probs are no numbers"):
        models.annotated(broken, frozenset({OLD}))
    with torch.no_grad():
        models.policy.module.model.model.norm.weight[0] = math.nan
    with pytest.raises(DivergedError, match="the policy's log-probs are no numbers"):
        models.annotated(broken, frozenset({OLD}))
