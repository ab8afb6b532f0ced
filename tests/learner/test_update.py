"""Columns that move with the policy, and the critic, against forward passes written out by hand."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.algorithms.ppo import Ppo
from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout
from harness.learner.batching import row_lengths
from harness.learner.critic import Critic
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import PADDING, Models, _Totals, estimates, update
from harness.maths.returns import CriticSettings
from harness.maths.tensor_ops import Reduction, on_tokens
from harness.models.loading import Source
from harness.types import Batch, Estimates, Loss, LossTerm, Minibatch, Rollout, RolloutPlan

ADAM = Optimizer(learning_rate=1e-3, warmup=0.0, clip=1e6)


@dataclass(frozen=True)
class Reads:
    """An algorithm whose loss is one column, under the name of one term."""

    columns: frozenset[str]
    name: str
    column: str

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=4)

    def advantages(self, batch: Batch) -> Tensor:
        return on_tokens(batch.scores_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        values_BT = minibatch[self.column]
        return Loss(
            terms=(LossTerm(name=self.name, values=values_BT, reduction=Reduction.TOKEN_MEAN),)
        )


def batch_of(rollout: Rollout, **columns: Tensor) -> Batch:
    rewards_BT = torch.zeros(rollout.mask_BT.shape, dtype=torch.float64)
    return Batch(
        group_B=rollout.group_B,
        mask_BT=rollout.mask_BT,
        rewards_BT=rewards_BT,
        budget=40,
        columns=columns,
    )


def logits_of(model: Any, rollout: Rollout, i: int) -> tuple[Tensor, Tensor]:
    """Logits (S,V) that predict the tokens of response i, and the hidden states behind them."""
    length = int(rollout.lengths_B[i])
    ids = torch.cat([torch.tensor(rollout.prompt_ids[i]), rollout.tokens_BT[i, :length].clone()])
    out = model(input_ids=ids[None], use_cache=False, output_hidden_states=True)
    return out.logits[0, -length - 1 : -1], out.hidden_states[-1][0, -length - 1 : -1]


def gradients(model: Any) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("token_budget", [10**6, 100])
@pytest.mark.parametrize("column", ["entropy_BT", "kl_full_BT"])
def test_entropy_and_full_kl_have_their_gradients(
    source: Source, rollout: Rollout, column: str, token_budget: int
) -> None:
    other = source.model()
    with torch.no_grad():
        other.model.norm.weight.mul_(1.5)
    policy = Policy(source.model(), 0.8, Layout(token_budget), ADAM)
    models = Models(policy=policy, reference=Policy(other, 0.8, Layout(token_budget)))
    algorithm = Reads(frozenset({column}), "kl", column)
    batch = batch_of(rollout)
    rows_B = torch.arange(len(rollout.texts))
    zeros_BT = torch.zeros(rollout.mask_BT.shape)
    metrics = update(models, algorithm, rollout, batch, zeros_BT, rows_B)
    model = source.model()
    total = torch.zeros(())
    for i in rows_B.tolist():
        log_p_SV = (logits_of(model, rollout, i)[0] / 0.8).log_softmax(-1)
        with torch.no_grad():
            log_q_SV = (logits_of(other, rollout, i)[0] / 0.8).log_softmax(-1)
        versus_SV = log_q_SV if column == "kl_full_BT" else 0 * log_q_SV
        sign = 1 if column == "kl_full_BT" else -1
        total = total + sign * (log_p_SV.exp() * (log_p_SV - versus_SV)).sum()
    mean = total / rollout.mask_BT.sum()
    mean.backward()
    assert metrics["actor/kl_loss"] == pytest.approx(mean.item(), rel=1e-4)
    lengths_B = row_lengths(rollout)
    whole = 1 - float(lengths_B.sum()) / (len(lengths_B) * int(lengths_B.max()))  # in one pass
    assert metrics[PADDING] == whole if token_budget == 10**6 else metrics[PADDING] < whole / 2
    for got, p in zip(gradients(policy.module.model), model.parameters(), strict=True):
        torch.testing.assert_close(got, p.grad, rtol=1e-3, atol=1e-6)


def test_padding_is_what_passes_read_beside_the_rows() -> None:
    """Rows of 3, 5 and 8 tokens are read as 3 x 8 positions: 16 of 24 are meant, 1/3 is padding.

    With 4 and 4, which need none, 24 of 32; with another rank's dummy pass over 8, 24 of 40.
    """
    totals = _Totals()
    totals.add_read(torch.tensor([3, 5, 8]), counts=True)
    assert totals.over(ALONE) == {PADDING: pytest.approx(1 / 3)}
    totals.add_read(torch.tensor([4, 4]), counts=True)
    assert totals.over(ALONE) == {PADDING: pytest.approx(1 / 4)}
    totals.add_read(torch.tensor([8]), counts=False)
    assert totals.over(ALONE) == {PADDING: pytest.approx(2 / 5)}


def critic_of(model: Any) -> Critic:
    critic = Critic(model, Layout(100), ADAM)
    head = critic.module.value_head
    with torch.no_grad():
        head.weight.copy_(torch.linspace(-0.2, 0.3, head.weight.numel())[None])
        head.bias.fill_(0.1)
    return critic


def test_values_are_those_of_the_state_before_each_token(source: Source, rollout: Rollout) -> None:
    model = source.model()
    critic = critic_of(model)
    values_BT = critic.score(rollout)
    for i, length in enumerate(rollout.lengths_B.tolist()):
        with torch.no_grad():
            hidden_SD = logits_of(model, rollout, i)[1]
            expected_S = (hidden_SD * critic.module.value_head.weight[0]).sum(-1) + 0.1
        torch.testing.assert_close(values_BT[i, :length], expected_S, rtol=0, atol=1e-5)
    assert not values_BT[~rollout.mask_BT].any()


def test_a_new_critic_values_everything_at_zero(source: Source, rollout: Rollout) -> None:
    assert not Critic(source.model(), Layout(100), ADAM).score(rollout).any()


@pytest.mark.parametrize("shared", [True, False])
def test_a_value_loss_trains_the_critic(source: Source, rollout: Rollout, shared: bool) -> None:
    """Its own backbone, or the policy's, which then moves although there is no policy loss."""
    policy = Policy(source.model(), 1.0, Layout(100), ADAM, values=shared)
    critic = critic_of(policy if shared else source.model())
    models = Models(policy=policy, reference=policy, critic=critic)
    algorithm = Reads(frozenset(), "value", "values_BT")
    before = {name: p.clone() for name, p in policy.weights()}
    head = critic.module.value_head.weight.clone()
    columns = models.annotated(rollout, frozenset())
    assert torch.equal(columns["old_values_BT"], critic.score(rollout))
    rows_B = torch.arange(len(rollout.texts))
    zeros_BT = torch.zeros(rollout.mask_BT.shape)
    metrics = update(models, algorithm, rollout, batch_of(rollout, **columns), zeros_BT, rows_B)
    mean = columns["old_values_BT"].sum() / rollout.mask_BT.sum()
    assert metrics["critic/vf_loss"] == pytest.approx(mean.item(), rel=1e-4)
    assert metrics["critic/grad_norm"] > 0
    assert not torch.equal(critic.module.value_head.weight, head)
    moved = any(not torch.equal(p, before[name]) for name, p in policy.weights())
    assert moved is shared
    written = models.state_dict()
    other = Policy(source.model(), 1.0, Layout(100), ADAM, values=shared)
    fresh = Models(
        policy=other,
        reference=policy,
        critic=Critic(other if shared else source.model(), Layout(100), ADAM),
    )
    fresh.load_state_dict(written)
    assert fresh.critic is not None
    assert torch.equal(fresh.critic.score(rollout), critic.score(rollout))
    assert torch.equal(fresh.critic.module.value_head.weight, critic.module.value_head.weight)


@pytest.mark.parametrize("shared", [True, False])
def test_while_the_critic_warms_up_only_it_moves(
    source: Source, rollout: Rollout, shared: bool
) -> None:
    """To the last bit, weight decay or not; a head on the policy's backbone learns alone."""
    settings = dataclasses.replace(ADAM, weight_decay=0.1)
    policy = Policy(source.model(), 1.0, Layout(100), settings, values=shared)
    critic = Critic(policy if shared else source.model(), Layout(100), settings, warmup=0.5)
    models = Models(policy=policy, reference=policy, critic=critic)
    algorithm = Ppo(group_size=4, critic=CriticSettings(shared=shared, warmup=0.5))
    before = {name: p.clone() for name, p in policy.weights()}
    head = critic.module.value_head.weight.clone()
    for progress, still in ((0.0, True), (0.49, True), (0.5, False)):
        given = batch_of(rollout, **models.annotated(rollout, algorithm.columns))
        rewards_BT = on_tokens(torch.arange(len(rollout.texts)).double() % 2, rollout.mask_BT)
        given = dataclasses.replace(given, rewards_BT=rewards_BT, progress=progress)
        batch, advantages_BT, _ = estimates(algorithm, given)
        rows_B = torch.arange(len(rollout.texts))
        metrics = update(models, algorithm, rollout, batch, advantages_BT, rows_B)
        assert all(torch.equal(p, before[name]) for name, p in policy.weights()) is still
        assert (metrics["actor/grad_norm"] == metrics["actor/lr"] == 0) is still
        assert metrics["critic/grad_norm"] > 0
        assert not torch.equal(critic.module.value_head.weight, head)


def test_columns_of_the_whole_batch_are_cut_to_the_rows_of_a_pass(
    source: Source, rollout: Rollout
) -> None:
    """(B,T) ones to the longest response as well, (B,) and (B,N) ones by rows only."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    class Whole(Reads):
        def advantages(self, batch: Batch) -> Estimates:  # type: ignore[override]
            rows = len(batch.group_B)
            numbers_B = torch.arange(rows, dtype=torch.float64)
            return Estimates(
                advantages_BT=on_tokens(numbers_B, batch.mask_BT),
                columns={"target_B": numbers_B, "wide_BN": numbers_B[:, None].expand(rows, 3)},
                metrics={"critic/vf_explained_var": 0.5},
            )

        def loss(self, minibatch: Minibatch) -> Loss:
            targets = (minibatch["target_B"], minibatch["wide_BN"], minibatch.advantages_BT)
            seen.append(targets)
            return super().loss(minibatch)

    policy = Policy(source.model(), 1.0, Layout(100), ADAM)
    algorithm = Whole(frozenset({"entropy_BT"}), "entropy", "entropy_BT")
    batch, advantages_BT, metrics = estimates(algorithm, batch_of(rollout))
    assert metrics == {"critic/vf_explained_var": 0.5}
    rows_B = torch.arange(len(rollout.texts))
    models = Models(policy=policy, reference=policy)
    update(models, algorithm, rollout, batch, advantages_BT, rows_B)
    assert len(seen) > 1
    for target_B, wide_BN, advantages_bt in seen:
        assert torch.equal(wide_BN, target_B[:, None].expand(-1, 3))
        assert torch.equal(advantages_bt.amax(-1), target_B.float())
    assert sorted(int(x) for target_B, _, _ in seen for x in target_B) == rows_B.tolist()


def test_policy_losses_are_weighted_against_the_samplers_mismatch(
    source: Source, rollout: Rollout
) -> None:
    """The sampler's log-probs are off by ln 3 on some tokens; the cap is 2."""
    off_BT = torch.where(torch.arange(rollout.mask_BT.shape[1]) % 2 == 0, math.log(3.0), 0.0)
    shifted = dataclasses.replace(rollout, logprobs_BT=rollout.logprobs_BT - off_BT)
    policy = Policy(source.model(), 1.0, Layout(10**6), ADAM)
    models = Models(policy=policy, reference=policy, importance_cap=2.0)
    columns = models.annotated(shifted, frozenset())
    expected_BT = torch.where(off_BT > 0, 2.0, 1.0).expand_as(rollout.logprobs_BT)
    weights_BT = columns["importance_BT"]
    assert torch.allclose(weights_BT[rollout.mask_BT], expected_BT[rollout.mask_BT], atol=1e-4)
    assert not weights_BT[~rollout.mask_BT].any()
    rows_B = torch.arange(len(rollout.texts))
    zeros_BT = torch.zeros(rollout.mask_BT.shape)
    algorithm = Reads(frozenset({"entropy_BT"}), "policy", "entropy_BT")
    batch = batch_of(shifted, **columns)
    entropy_BT = policy.score(rollout)[1]
    metrics = update(models, algorithm, shifted, batch, zeros_BT, rows_B)
    mean = (entropy_BT * weights_BT)[rollout.mask_BT].mean().item()
    assert metrics["actor/pg_loss"] == pytest.approx(mean, rel=1e-4)
