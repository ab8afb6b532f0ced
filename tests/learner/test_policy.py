"""The policy against row-by-row forward passes and an optimizer step written out by hand."""

import dataclasses
import io
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.distributed.sharding import Layout
from harness.errors import ConfigError
from harness.learner import scorer
from harness.learner.batching import micro_batches, mini_batches
from harness.learner.critic import Critic
from harness.learner.optimizer import Decay, Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, update
from harness.maths.tensor_ops import on_last_token
from harness.models.loading import Source
from harness.protocols import Algorithm
from harness.types import Batch, Rollout

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)
BUDGET = 40  # C of Dr. GRPO; no response is that long
# epsilon keeps the step smooth where a gradient is nothing but rounding.
ADAM = Optimizer(learning_rate=1e-3, epsilon=1e-6, weight_decay=0.02, warmup=0.1, clip=0.05)
PROGRESS = 0.05
RATE = 0.55e-3  # 1e-3 * (0.1 + 0.9 * 0.05 / 0.1)
KL_WEIGHT = 0.3


@pytest.fixture
def uneven(rollout: Rollout) -> Rollout:
    """The sampled rollout with prompts of different lengths: half of them lose two tokens."""
    ids = tuple(
        row[2:] if group % 2 else row
        for row, group in zip(rollout.prompt_ids, rollout.group_B.tolist(), strict=True)
    )
    return dataclasses.replace(rollout, prompt_ids=ids)


def naive(model: Any, rollout: Rollout, i: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of one response from an unpadded forward pass."""
    length = int(rollout.lengths_B[i])
    response = rollout.tokens_BT[i, :length].clone()  # made in inference mode
    ids = torch.cat([torch.tensor(rollout.prompt_ids[i]), response])
    logits_SV = model(input_ids=ids[None], use_cache=False).logits[0, -length - 1 : -1]
    p_SV = (logits_SV / temperature).softmax(-1)
    logprobs_S = p_SV.gather(-1, response[:, None])[:, 0].log()
    return logprobs_S, -(p_SV * p_SV.log()).sum(-1)


def noise(rollout: Rollout, scale: float, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rollout.mask_BT.shape, generator=draws)


def batch_of(rollout: Rollout, logprobs_BT: Tensor) -> Batch:
    """Uneven rewards; old log-probs far enough off that the clip is active somewhere."""
    rewards_B = torch.tensor([(i * i) % 5 / 4 for i in range(len(rollout.texts))]).double()
    rewards_B[:4] = 1.0  # a group without signal
    return Batch(
        group_B=rollout.group_B,
        mask_BT=rollout.mask_BT,
        rewards_BT=on_last_token(rewards_B, rollout.mask_BT),
        budget=BUDGET,
        progress=PROGRESS,
        columns={
            "old_logprobs_BT": logprobs_BT + noise(rollout, 0.3, 1),
            "ref_logprobs_BT": logprobs_BT + noise(rollout, 0.3, 2),
        },
    )


ALGORITHMS: dict[str, Any] = {
    "grpo": Grpo(group_size=4, kl_coefficient=KL_WEIGHT),
    "dr_grpo": DrGrpo(group_size=4),
}


def updated(
    model: Any,
    rollout: Rollout,
    algorithm: Algorithm,
    token_budget: int,
    steps: int = 1,
    settings: Optimizer = ADAM,
    change: Callable[[Rollout, Batch, Tensor], tuple[Rollout, Batch, Tensor]] | None = None,
) -> tuple[Policy, dict[str, float]]:
    """A policy after optimizer steps on the whole batch, and the metrics of the last."""
    policy = Policy(model, 0.8, Layout(token_budget), settings)
    batch = batch_of(rollout, Policy(model, 0.8, Layout(10**6), ADAM).score(rollout)[0])
    advantages_BT = algorithm.advantages(batch)
    if change is not None:
        rollout, batch, advantages_BT = change(rollout, batch, advantages_BT)
    rows_B = torch.arange(len(rollout.texts))
    metrics: dict[str, float] = {}
    for _ in range(steps):
        metrics = stepped(policy, algorithm, rollout, batch, advantages_BT, rows_B)
    return policy, metrics


def stepped(
    policy: Policy,
    algorithm: Algorithm,
    rollout: Rollout,
    batch: Batch,
    advantages_BT: Tensor,
    rows_B: Tensor,
) -> dict[str, float]:
    models = Models(policy=policy, reference=policy)
    return update(models, algorithm, rollout, batch, advantages_BT, rows_B)


# --- scoring --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("token_budget", [10**6, 100, 1])
def test_score_is_a_row_by_row_forward_pass(
    source: Source, uneven: Rollout, temperature: float, token_budget: int
) -> None:
    model = source.model()
    logprobs_BT, entropy_BT = Policy(model, temperature, Layout(token_budget)).score(uneven)
    for i, length in enumerate(uneven.lengths_B.tolist()):
        with torch.no_grad():
            logprobs_S, entropy_S = naive(model, uneven, i, temperature)
        torch.testing.assert_close(logprobs_BT[i, :length], logprobs_S, rtol=0, atol=1e-5)
        torch.testing.assert_close(entropy_BT[i, :length], entropy_S, rtol=0, atol=1e-5)
    assert not logprobs_BT[~uneven.mask_BT].any()
    assert not entropy_BT[~uneven.mask_BT].any()


@pytest.mark.parametrize("chunk", [None, 7])
def test_logprobs_alone_are_those_of_score_to_the_bit(
    source: Source, rollout: Rollout, monkeypatch: pytest.MonkeyPatch, chunk: int | None
) -> None:
    """In one piece and in chunks; nothing but log-probs is computed of the logits."""
    if chunk:
        monkeypatch.setattr(scorer, "CHUNK_LOGITS", chunk * source.model().config.vocab_size)
    policy = Policy(source.model(), 0.8, Layout(500))
    made, real = [], scorer.Scorer._chunk
    counted = lambda *given: (made.append(x := real(*given)), x)[1]  # noqa: E731
    whole_BT = policy.score(rollout)[0]
    monkeypatch.setattr(scorer.Scorer, "_chunk", counted)
    assert torch.equal(policy.logprobs(rollout), whole_BT)
    assert {len(columns) for columns in made} == {1}


def test_score_agrees_with_the_sampler(source: Source, rollout: Rollout) -> None:
    logprobs_BT, _ = Policy(source.model(), 1.0, Layout(500)).score(rollout)
    torch.testing.assert_close(logprobs_BT, rollout.logprobs_BT, rtol=0, atol=1e-5)


def test_what_stands_under_the_mask_has_no_influence(source: Source, rollout: Rollout) -> None:
    other = dataclasses.replace(
        rollout, tokens_BT=torch.where(rollout.mask_BT, rollout.tokens_BT, 9)
    )
    assert not torch.equal(other.tokens_BT, rollout.tokens_BT)
    policy = Policy(source.model(), 1.0, Layout(500))
    for got, expected in zip(policy.score(other), policy.score(rollout), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("columns", [set(), {"ref_logprobs_BT"}, {"rollout_logprobs_BT"}])
def test_annotated_columns(source: Source, rollout: Rollout, columns: set[str]) -> None:
    other = source.model()
    with torch.no_grad():
        other.model.norm.weight.mul_(1.5)
    policy, reference = (
        Policy(source.model(), 1.0, Layout(500), ADAM),
        Policy(other, 1.0, Layout(500)),
    )
    models = Models(policy=policy, reference=reference)
    made = models.annotated(rollout, frozenset(columns))
    expected = {
        "old_logprobs_BT": policy.score(rollout)[0],
        "ref_logprobs_BT": reference.score(rollout)[0],
        "rollout_logprobs_BT": rollout.logprobs_BT,
    }
    assert set(made) == columns | {"old_logprobs_BT"}
    for name, column_BT in made.items():
        assert torch.equal(column_BT, expected[name])
        assert not column_BT.requires_grad
    assert not torch.equal(expected["old_logprobs_BT"], expected["ref_logprobs_BT"])


def test_gradients_are_forgotten_after_the_updates(
    source: Source,
) -> None:
    """Of every model that is trained."""
    policy = Policy(source.model(), 1.0, Layout(500), ADAM)
    models = Models(
        policy=policy, reference=policy, critic=Critic(source.model(), Layout(500), ADAM)
    )
    for learner in models.trained:
        for parameter in learner.parameters:
            parameter.grad = torch.ones_like(parameter)
    models.forget()
    assert all(p.grad is None for learner in models.trained for p in learner.parameters)


# --- updating -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("token_budget", [400, 100, 1])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["f32", "f64"]
)
def test_update_does_not_depend_on_micro_batches(
    source: Source,
    uneven: Rollout,
    name: str,
    token_budget: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    whole, at_once = updated(source.model().to(dtype), uneven, ALGORITHMS[name], 10**6)
    parts, in_parts = updated(source.model().to(dtype), uneven, ALGORITHMS[name], token_budget)
    for (_, a), (_, b) in zip(
        whole.module.model.named_parameters(), parts.module.model.named_parameters(), strict=True
    ):
        torch.testing.assert_close(b.grad, a.grad, rtol=0, atol=tolerance)
        torch.testing.assert_close(b, a, rtol=0, atol=tolerance)
    # What of a pass is padding is about how rows are cut, and nothing else is.
    del at_once["actor/padding"], in_parts["actor/padding"]
    assert in_parts == pytest.approx(at_once, rel=1e-5, abs=1e-6)


def by_hand_loss(model: Any, rollout: Rollout, batch: Batch, name: str) -> Tensor:
    """The papers' formulas, response by response and token by token."""
    scores = batch.scores_B.tolist()
    total = torch.zeros((), dtype=torch.float64)
    for i, length in enumerate(rollout.lengths_B.tolist()):
        mates = [r for r, g in zip(scores, batch.group_B, strict=True) if g == batch.group_B[i]]
        mean = sum(mates) / len(mates)
        deviation = math.sqrt(sum((r - mean) ** 2 for r in mates) / (len(mates) - 1))
        advantage = scores[i] - mean
        if name == "grpo":
            advantage /= deviation + 1e-6
        logprobs_S, _ = naive(model, rollout, i, 0.8)
        for t in range(length):
            ratio = (logprobs_S[t] - batch["old_logprobs_BT"][i, t]).exp()
            clipped = ratio.clamp(0.8, 1.2)
            loss = -torch.minimum(advantage * ratio, advantage * clipped)
            if name == "grpo":
                log_q = batch["ref_logprobs_BT"][i, t] - logprobs_S[t]
                loss = loss + KL_WEIGHT * (log_q.exp() - log_q - 1)
            divisor = length if name == "grpo" else BUDGET
            total = total + loss / divisor / len(scores)
    return total


@pytest.mark.parametrize("name", ALGORITHMS)
def test_two_steps_are_what_autograd_and_adamw_by_hand_give(
    source: Source, uneven: Rollout, name: str
) -> None:
    policy, metrics = updated(source.model().double(), uneven, ALGORITHMS[name], 300, steps=2)
    model = source.model().double()
    batch = batch_of(uneven, Policy(model, 0.8, Layout(10**6), ADAM).score(uneven)[0])
    parameters = list(model.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    for step in (1, 2):
        gradients = torch.autograd.grad(by_hand_loss(model, uneven, batch, name), parameters)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        assert norm > ADAM.clip  # the clip acts
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                g = g * ADAM.clip / norm
                m += (1 - ADAM.beta1) * (g - m)
                v += (1 - ADAM.beta2) * (g**2 - v)
                m_hat, v_hat = m / (1 - ADAM.beta1**step), v / (1 - ADAM.beta2**step)
                p -= RATE * ADAM.weight_decay * p
                p -= RATE * m_hat / (v_hat.sqrt() + ADAM.epsilon)
    assert metrics["actor/grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert metrics["actor/lr"] == pytest.approx(RATE, rel=1e-12)
    start = dict(source.model().double().named_parameters())
    for (parameter, got), expected in zip(
        policy.module.model.named_parameters(), parameters, strict=True
    ):
        # Log-probs are float32: of a step of about 1e-3 the error is below 1 %.
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
        assert not torch.equal(got, start[parameter])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_metrics_of_an_update_by_hand(source: Source, uneven: Rollout, name: str) -> None:
    model = source.model()
    batch = batch_of(uneven, Policy(model, 0.8, Layout(10**6)).score(uneven)[0])
    advantages_BT = ALGORITHMS[name].advantages(batch)
    policy_loss = kl_loss = clipped = moved = entropy = 0.0
    with torch.no_grad():
        for i, length in enumerate(uneven.lengths_B.tolist()):
            logprobs_S, entropy_S = naive(model, uneven, i, 0.8)
            weight = 1 / (length if name == "grpo" else BUDGET) / len(uneven.texts)
            for t in range(length):
                change = float(logprobs_S[t] - batch["old_logprobs_BT"][i, t])
                a, ratio = float(advantages_BT[i, t]), math.exp(change)
                bounded = min(max(ratio, 0.8), 1.2)
                policy_loss += weight * max(-a * ratio, -a * bounded)
                clipped += -a * bounded > -a * ratio
                moved -= change
                entropy += float(entropy_S[t])
                log_q = float(batch["ref_logprobs_BT"][i, t] - logprobs_S[t])
                kl_loss += weight * (math.exp(log_q) - log_q - 1)
    tokens = int(uneven.mask_BT.sum())
    expected = {
        "actor/pg_loss": policy_loss,
        "actor/pg_clipfrac": clipped / tokens,
        "actor/ppo_kl": moved / tokens,
        "actor/entropy": entropy / tokens,
        "actor/lr": RATE,
    } | ({"actor/kl_loss": kl_loss} if name == "grpo" else {})
    _, metrics = updated(source.model(), uneven, ALGORITHMS[name], 200)
    norm = metrics.pop("actor/grad_norm")
    assert 0 < metrics.pop("actor/padding") < 0.3
    assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert 0 < clipped < tokens
    assert norm > 0


def test_rows_outside_the_optimizer_batch_have_no_influence(
    source: Source, rollout: Rollout
) -> None:
    """A step on rows 0..15 is the step on a rollout that has only these."""
    some = torch.arange(16)
    small = dataclasses.replace(
        rollout,
        prompts=rollout.prompts[:16],
        prompt_ids=rollout.prompt_ids[:16],
        texts=rollout.texts[:16],
        **{
            f.name: getattr(rollout, f.name)[:16]
            for f in dataclasses.fields(Rollout)
            if isinstance(getattr(rollout, f.name), Tensor)
        },
    )
    algorithm = ALGORITHMS["grpo"]
    alone = Policy(source.model(), 0.8, Layout(300), ADAM)
    within = Policy(source.model(), 0.8, Layout(300), ADAM)
    whole_batch = batch_of(rollout, rollout.logprobs_BT)
    small_batch = Batch(
        group_B=whole_batch.group_B[:16],
        mask_BT=whole_batch.mask_BT[:16],
        rewards_BT=whole_batch.rewards_BT[:16],
        budget=BUDGET,
        progress=PROGRESS,
        columns={k: v[:16] for k, v in whole_batch.columns.items()},
    )
    advantages_BT = algorithm.advantages(whole_batch)
    a = stepped(within, algorithm, rollout, whole_batch, advantages_BT, some)
    b = stepped(alone, algorithm, small, small_batch, advantages_BT[:16], some)
    assert a == b
    for (_, p), (_, q) in zip(within.weights(), alone.weights(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
def test_junk_under_the_mask_has_no_influence(
    source: Source, rollout: Rollout, junk: float
) -> None:
    def change(r: Rollout, b: Batch, a_BT: Tensor) -> tuple[Rollout, Batch, Tensor]:
        off_BT = ~r.mask_BT
        columns = {name: x.masked_fill(off_BT, junk) for name, x in b.columns.items()}
        other = dataclasses.replace(r, tokens_BT=r.tokens_BT.masked_fill(off_BT, 9))
        return other, dataclasses.replace(b, columns=columns), a_BT.masked_fill(off_BT, junk)

    algorithm = ALGORITHMS["grpo"]
    clean, _ = updated(source.model(), rollout, algorithm, 300)
    dirty, metrics = updated(source.model(), rollout, algorithm, 300, change=change)
    for (_, p), (_, q) in zip(clean.weights(), dirty.weights(), strict=True):
        assert torch.equal(p, q)
    assert all(map(math.isfinite, metrics.values()))


def test_the_gradient_is_clipped_to_its_norm_and_reported_before(
    source: Source, rollout: Rollout
) -> None:
    algorithm = ALGORITHMS["dr_grpo"]
    loose = dataclasses.replace(ADAM, clip=1e6)
    free, unclipped = updated(source.model(), rollout, algorithm, 300, settings=loose)
    tight = dataclasses.replace(ADAM, clip=1e-3)
    held, clipped = updated(source.model(), rollout, algorithm, 300, settings=tight)
    norm = gradient_norm(free)
    assert norm > 1e-3
    assert unclipped["actor/grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert clipped["actor/grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert gradient_norm(held) == pytest.approx(1e-3, rel=1e-3)  # torch divides by norm + 1e-6


def gradient_norm(policy: Policy) -> float:
    return math.sqrt(sum(float((p.grad**2).sum()) for p in policy.module.model.parameters()))


def test_a_policy_without_optimizer_has_no_gradient(source: Source, rollout: Rollout) -> None:
    reference = Policy(source.model(), 1.0, Layout(500))
    assert not any(p.requires_grad for p in reference.module.model.parameters())


@pytest.mark.parametrize(
    ("warmup", "progress", "rate"),
    [
        (0.1, 0.0, 1e-4),  # a tenth
        (0.1, 0.05, 5.5e-4),  # half way between a tenth and the whole
        (0.1, 0.1, 1e-3),
        (0.1, 0.9, 1e-3),
        (1.0, 0.5, 5.5e-4),
        (1.0, 1.0, 1e-3),
        (0.0, 0.0, 1e-3),
    ],
)
def test_learning_rate_by_hand(warmup: float, progress: float, rate: float) -> None:
    got = Optimizer(learning_rate=1e-3, warmup=warmup).rate(progress)
    assert got == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("decay", "progress", "rate"),
    [
        (Decay.LINEAR, 0.2, 1e-3),  # the warm-up ends
        (Decay.LINEAR, 0.6, 5e-4),  # half of what is left
        (Decay.LINEAR, 1.0, 0.0),
        (Decay.COSINE, 0.2, 1e-3),
        (Decay.COSINE, 0.4, 8.535534e-4),  # (1 + cos(pi / 4)) / 2
        (Decay.COSINE, 0.6, 5e-4),
        (Decay.COSINE, 1.0, 0.0),
        (Decay.LINEAR, 0.1, 5.5e-4),  # still warming up
    ],
)
def test_decay_by_hand(decay: Decay, progress: float, rate: float) -> None:
    got = Optimizer(learning_rate=1e-3, warmup=0.2, decay=decay).rate(progress)
    assert got == pytest.approx(rate, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    "fields", [{"learning_rate": 0.0}, {"clip": 0.0}, {"warmup": -0.1}, {"warmup": 1.1}]
)
def test_optimizer_ranges(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"trainer.optimizer.{next(iter(fields))}"):
        Optimizer(**fields)


def test_state_is_all_that_the_next_step_depends_on(source: Source, rollout: Rollout) -> None:
    algorithm = ALGORITHMS["grpo"]
    policy, _ = updated(source.model(), rollout, algorithm, 300)
    resumed = Policy(source.model(), 0.8, Layout(300), ADAM)
    batch = batch_of(rollout, rollout.logprobs_BT)
    written = io.BytesIO()
    torch.save(policy.state_dict(), written)
    written.seek(0)
    resumed.load_state_dict(torch.load(written, weights_only=True))
    rows_B, advantages_BT = torch.arange(len(rollout.texts)), algorithm.advantages(batch)
    steps = [
        stepped(p, algorithm, rollout, batch, advantages_BT, rows_B) for p in (policy, resumed)
    ]
    assert steps[0] == steps[1]
    for (_, p), (_, q) in zip(policy.weights(), resumed.weights(), strict=True):
        assert torch.equal(p, q)


# --- cutting --------------------------------------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Some row numbers in any order, the lengths of all rows, and a budget."""
    lengths = draw(st.lists(st.integers(1, 50), min_size=1, max_size=30))
    rows = draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))
    return torch.tensor(rows), torch.tensor(lengths), draw(st.integers(1, 300))


@SETTINGS
@given(cuts())
def test_micro_batches_cover_each_row_once_within_the_budget(
    case: tuple[Tensor, Tensor, int],
) -> None:
    rows_b, lengths_B, budget = case
    parts = [part.tolist() for part in micro_batches(rows_b, lengths_B, budget)]
    longest = [max(int(lengths_B[i]) for i in part) for part in parts]
    assert sorted(i for part in parts for i in part) == sorted(rows_b.tolist())
    for part, length in zip(parts, longest, strict=True):
        assert len(part) * length <= budget or len(part) == 1
    # No cut without need: the next row would not have fitted.
    for part, following in pairwise(parts):
        assert (len(part) + 1) * int(lengths_B[following[0]]) > budget
    assert longest == sorted(longest)


def test_micro_batches_by_hand() -> None:
    # Sorted lengths 1 2 2 5 9: 3 rows x 2 = 6 <= 10, 5 x 2 = 10 with the next would be 18.
    rows_b, lengths_B = torch.tensor([4, 0, 1, 3, 2]), torch.tensor([2, 9, 5, 1, 2])
    parts = micro_batches(rows_b, lengths_B, 10)
    assert [part.tolist() for part in parts] == [[3, 4, 0], [2], [1]]


@SETTINGS
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 9), st.integers(0, 9))
def test_mini_batches_partition_the_rows(rows: int, count: int, seed: int, step: int) -> None:
    parts = mini_batches(rows, count, seed, step, 0)
    assert sorted(i for part in parts for i in part.tolist()) == list(range(rows))
    sizes = [len(part) for part in parts]
    assert len(sizes) == min(count, rows)
    assert max(sizes) - min(sizes) <= 1


def test_mini_batches_are_shuffled_by_their_own_stream() -> None:
    named = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32, 0, 0)]
    orders = {
        tuple(torch.cat(mini_batches(40, 4, seed, step, epoch)).tolist())
        for seed, step, epoch in named
    }
    assert len(orders) == len(named)
    assert mini_batches(5, 1, 3, 3, 3)[0].tolist() == [0, 1, 2, 3, 4]
