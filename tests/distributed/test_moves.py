"""Offload: which state is on the device in which phase, and that moving changes no bit.

On a CPU the host's memory is another block of the same: what leaves is given back and touched by
nobody, as on a GPU.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.algorithms.a_star_po_weighted import AStarPoWeighted
from harness.algorithms.grpo import Grpo
from harness.algorithms.ppo import Ppo
from harness.distributed.moves import Moves, State
from harness.distributed.ranks import Ranks, joined
from harness.distributed.sharding import Layout, Precision, Sharding, local
from harness.learner import checkpoint
from harness.learner.batching import mini_batches, packed
from harness.learner.policy import Policy
from harness.learner.update import Models, estimates, update
from harness.maths.returns import CriticSettings
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import TransformersEngine
from harness.tasks.countdown import Countdown
from harness.types import Rollout, Sampling
from tests.distributed.replay import Case, batch_of, models_of

OFFLOAD = Sharding(fsdp=True, offload=True)
POLICY, CRITIC, REFERENCE = "policy's weights", "critic's weights", "reference's weights"


@pytest.fixture(scope="module")
def alone() -> Iterator[Ranks]:
    with joined(0, 1, None, "cpu") as ranks:
        yield ranks


@pytest.fixture(scope="module")
def rollout(source: Source) -> Rollout:
    torch.set_num_threads(1)
    task = Countdown(train_size=64, eval_size=16)
    engine = TransformersEngine(source.model(), source.tokens, 16, max_rows=512)
    requests = [
        Request(prompt=prompt, items=tuple(range(4 * i, 4 * i + 4)))
        for i, prompt in enumerate(task.pool()[:4])
    ]
    stream = Stream(seed=3, name="rollout", step=0)
    return engine.generate(requests, Sampling(max_new_tokens=12), stream)


def made(source: Source, rollout: Rollout, algorithm: Any, ranks: Ranks, **how: Any) -> Models:
    case = Case(algorithm=algorithm, source=source, rollouts=(rollout,), **how)
    return models_of(case, ranks)


def learnt(models: Models, algorithm: Any, rollout: Rollout, steps: int) -> list[dict[str, float]]:
    """Metrics of two updates per step."""
    found = []
    for number in range(steps):
        batch, advantages_BT, _ = estimates(algorithm, batch_of(models, algorithm, rollout, number))
        for rows_b in mini_batches(len(rollout.texts), 2, 0, number, 0):
            found.append(update(models, algorithm, rollout, batch, advantages_BT, rows_b))
    return found


def bits(models: Models) -> dict[str, torch.Tensor]:
    """All that was learnt by the policy and its critic."""
    found = {name: x.clone() for name, x in models.policy.weights()}
    if models.critic is not None and not models.critic.shared:
        models.policy.layout.moves.at_hand(models.critic.weights_state)
        for name, x in models.critic.module.named_parameters():
            found[f"critic/{name}"] = local(x.detach()).clone()
    return found


# --- one state ------------------------------------------------------------------------------------


def test_what_leaves_gives_its_memory_back_and_comes_back_to_the_bit() -> None:
    """Tensors of three types, one of them empty; 4 + 3 + 5 numbers."""
    kept = [torch.arange(4.0), torch.tensor([1, 2, 3], dtype=torch.int8), torch.empty(0)]
    kept.append(torch.randn(5, generator=torch.Generator().manual_seed(0)).bfloat16())
    before = [x.clone() for x in kept]
    state = State("mine", lambda: kept)
    state.leave()
    assert not state.here
    assert [x.untyped_storage().nbytes() for x in kept] == [0, 0, 0, 0]
    assert torch.equal(state.waiting(kept[3]), before[3]), "to be saved as it waits"
    state.enter()
    assert all(torch.equal(x, y) for x, y in zip(kept, before, strict=True))


def test_what_was_touched_is_copied_again_and_nothing_else_is() -> None:
    x = torch.zeros(3)
    state = State("mine", lambda: [x])
    state.leave()
    state.enter()
    x += 1
    state.leave()
    assert state.waiting(x).tolist() == [0, 0, 0], "nobody said that it had changed"
    state.enter()
    x += 1
    state.touched()
    state.leave()
    assert state.waiting(x).tolist() == [1, 1, 1]
    state.enter()
    assert x.tolist() == [1, 1, 1]


def test_what_is_new_leaves_as_well() -> None:
    """An optimizer's state is there after its first step, whoever took that."""
    kept: list[torch.Tensor] = []
    state = State("mine", lambda: kept)
    state.leave()
    state.enter()
    kept.append(torch.ones(3))
    state.leave()
    assert kept[0].untyped_storage().nbytes() == 0
    state.enter()
    assert kept[0].tolist() == [1, 1, 1]


def test_those_at_hand_are_here_and_no_others() -> None:
    tensors = [torch.full((2,), float(i)) for i in range(3)]
    moves = Moves(active=True)
    a, b, c = (moves.add(name, lambda i=i: [tensors[i]]) for i, name in enumerate("abc"))
    moves.at_hand(a, c)
    assert moves.here() == ["a", "c"]
    moves.at_hand(b)
    assert moves.here() == ["b"]
    moves.at_hand()
    assert moves.here() == []
    still = Moves()
    still.at_hand(still.add("d", lambda: tensors))
    assert still.states == [], "without offload nothing moves"


# --- a step of training ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "learning"),
    [
        (Grpo(group_size=4, kl_coefficient=0.05), [POLICY]),
        (Ppo(group_size=4), [POLICY, CRITIC]),
        (Ppo(group_size=4, critic=CriticSettings(shared=True)), [POLICY]),
        (AStarPoWeighted(kl_coefficient=0.05), [POLICY, REFERENCE]),
    ],
    ids=["grpo", "ppo", "ppo_shared", "a_star_po_weighted"],
)
def test_who_works_is_on_the_device_and_whoever_waits_is_not(
    source: Source,
    rollout: Rollout,
    alone: Ranks,
    algorithm: Any,
    learning: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = made(source, rollout, algorithm, alone, sharding=OFFLOAD)
    moves = models.policy.layout.moves
    models.policy.score(rollout)
    assert moves.here() == [POLICY]
    models.reference.score(rollout)
    assert moves.here() == [REFERENCE]
    seen: list[list[str]] = []
    whole = Moves.at_hand

    def watched(self: Moves, *needed: State) -> None:
        whole(self, *needed)
        if seen[-1:] != [self.here()]:
            seen.append(self.here())

    batch, advantages_BT, _ = estimates(algorithm, batch_of(models, algorithm, rollout, 0))
    monkeypatch.setattr(Moves, "at_hand", watched)
    update(models, algorithm, rollout, batch, advantages_BT, torch.arange(len(rollout.texts)))
    critic = [[POLICY, "critic's optimizer"]] if learning == [POLICY] else []
    critic = [[CRITIC, "critic's optimizer"]] if CRITIC in learning else critic
    expected = [learning, [POLICY, "policy's optimizer"]]
    assert seen == expected + (critic if models.critic is not None else [])
    dict(models.policy.weights())
    assert moves.here() == [POLICY], "what the engine is given"


@pytest.mark.parametrize(
    "algorithm",
    [
        Grpo(group_size=4, kl_coefficient=0.05),
        Ppo(group_size=4),
        Ppo(group_size=4, critic=CriticSettings(shared=True)),
        AStarPoWeighted(kl_coefficient=0.05),
    ],
    ids=["grpo", "ppo", "ppo_shared", "a_star_po_weighted"],
)
@pytest.mark.parametrize("precision", Precision)
def test_moving_changes_no_bit(
    source: Source, rollout: Rollout, alone: Ranks, algorithm: Any, precision: Precision
) -> None:
    found = []
    for offload in (False, True):
        sharding = Sharding(fsdp=True, precision=precision, offload=offload)
        models = made(source, rollout, algorithm, alone, sharding=sharding)
        found.append((learnt(models, algorithm, rollout, 2), bits(models)))
    (metrics, weights), (others, again) = found
    assert metrics == others
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize(("writes", "reads"), [(True, True), (True, False), (False, True)])
def test_a_checkpoint_is_the_same_with_and_without(
    source: Source, rollout: Rollout, alone: Ranks, tmp_path: Path, writes: bool, reads: bool
) -> None:
    algorithm = Ppo(group_size=4)
    first = made(source, rollout, algorithm, alone, sharding=_moving(writes))
    learnt(first, algorithm, rollout, 1)
    checkpoint.save(tmp_path / "step_1", first.state_dict(), {}, alone)
    learnt(first, algorithm, rollout, 1)
    second = made(source, rollout, algorithm, alone, sharding=_moving(reads))
    tensors = second.state_dict()
    checkpoint.load(tmp_path / "step_1", tensors, alone)
    second.load_state_dict(tensors)
    learnt(second, algorithm, rollout, 1)
    one, two = bits(first), bits(second)
    assert all(torch.equal(one[name], two[name]) for name in one)


def _moving(offload: bool) -> Sharding:
    return dataclasses.replace(OFFLOAD, offload=offload)


def test_a_state_dict_of_another_is_copied(source: Source, rollout: Rollout, alone: Ranks) -> None:
    algorithm = Grpo(group_size=4)
    first = made(source, rollout, algorithm, alone, sharding=OFFLOAD)
    learnt(first, algorithm, rollout, 1)
    second = made(source, rollout, algorithm, alone, sharding=OFFLOAD)
    second.load_state_dict(first.state_dict())
    one, two = bits(first), bits(second)
    assert all(torch.equal(one[name], two[name]) for name in one)


# --- the reference --------------------------------------------------------------------------------


def test_a_reference_in_bfloat16_gives_the_bits_of_float32_that_is_cast(
    source: Source, rollout: Rollout, alone: Ranks
) -> None:
    """Log-probs, entropies, hidden states, and what an engine is given of it; half the memory."""
    layout = Layout(1000, Sharding(fsdp=True, precision=Precision.BFLOAT16), ranks=alone)
    half = dataclasses.replace(source, dtype=torch.bfloat16)
    before, after = (Policy(each.model(), 1.0, layout) for each in (source, half))
    inputs = packed(rollout, torch.arange(3))
    for x, y in zip(before.score(rollout), after.score(rollout), strict=True):
        assert torch.equal(x, y)
    assert torch.equal(before.hidden(inputs).states_ND, after.hidden(inputs).states_ND)
    assert before.checksum(torch.bfloat16) == after.checksum(torch.bfloat16)
    one, two = (sum(local(p).nbytes for p in each.parameters) for each in (before, after))
    assert one == 2 * two
