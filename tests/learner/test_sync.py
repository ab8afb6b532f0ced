"""The checked sync, over the transformers engine; planted faults of vLLM's are in tests/vllm."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout
from harness.errors import EngineError
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.sync import Synced
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rollout.engine import Request, Stream
from harness.rollout.spread import Spread
from harness.rollout.transformers import Transformers, TransformersEngine
from harness.tasks.countdown import Countdown
from harness.types import Sampling

STREAM = Stream(seed=1, name="rollout", step=0)
PLAIN = Sampling(max_new_tokens=8)


@pytest.fixture
def policy(source: Source) -> Policy:
    return Policy(source.model(), 1.0, Layout(4096), Optimizer(learning_rate=3e-3, warmup=0.0))


@pytest.fixture
def own(source: Source, tokens: Tokens) -> TransformersEngine:
    return TransformersEngine(source.model(), tokens, 16, max_rows=512)


@pytest.fixture
def synced(own: TransformersEngine, policy: Policy, task: Countdown) -> Synced:
    made = Synced(Spread(own, ALONE), policy, torch.float32, Transformers(), task.pool())
    made.load(policy)
    return made


def learn(policy: Policy) -> None:
    policy.zero_grad()
    for i, parameter in enumerate(policy.parameters):
        draws = torch.Generator().manual_seed(i + 1000 * policy.version)
        parameter.grad = torch.randn(parameter.shape, generator=draws)
    policy.step(0.5, policy.norm())


def test_a_sound_sync(synced: Synced, policy: Policy, task: Countdown) -> None:
    for _ in range(3):
        learn(policy)
        metrics = synced.load(policy)
        assert metrics["rollout/sync/gap"] < 1e-5
        assert metrics["rollout/sync/bytes"] == 4 * sum(p.numel() for p in policy.parameters)
    requests = [Request(prompt=p, items=(p.item,)) for p in task.pool()[:8]]
    rollout = synced.generate(requests, PLAIN, STREAM)
    off_BT = (policy.score(rollout)[0] - rollout.logprobs_BT)[rollout.mask_BT]
    assert float(off_BT.abs().max()) < 1e-4


def test_nothing_is_sampled_before_the_first_sync(
    own: TransformersEngine, policy: Policy, task: Countdown
) -> None:
    fresh = Synced(Spread(own, ALONE), policy, torch.float32, Transformers(), task.pool())
    with pytest.raises(EngineError, match="sync before sampling"):
        fresh.generate(fresh.probe, PLAIN, STREAM)


def test_nothing_is_sampled_after_an_update_a_load_or_a_sleep(
    synced: Synced, policy: Policy
) -> None:
    state = policy.state_dict()
    learn(policy)
    with pytest.raises(EngineError, match="after update 0, but the trainer is at 1; sync before"):
        synced.generate(synced.probe, PLAIN, STREAM)
    synced.load(policy)
    policy.load_state_dict(state)
    with pytest.raises(EngineError, match="sync before sampling"):
        synced.generate(synced.probe, PLAIN, STREAM)
    synced.load(policy)
    synced.sleep()
    with pytest.raises(EngineError, match="sync before sampling"):
        synced.generate(synced.probe, PLAIN, STREAM)


def test_old_weights_are_refused(
    synced: Synced, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [(name, x.clone()) for name, x in policy.weights()]
    learn(policy)
    monkeypatch.setattr(policy, "weights", lambda dtype=None: iter(old))
    with pytest.raises(EngineError, match=r"given other weights .* after update 1"):
        synced.load(policy)


def test_without_a_sample_version_and_checksum_are_compared_all_the_same(
    synced: Synced, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(policy)
    assert synced.load(policy, sample=False).keys() == {"rollout/sync/bytes"}
    old = [(name, x.clone()) for name, x in policy.weights()]
    learn(policy)
    with pytest.raises(EngineError, match="sync before sampling"):
        synced.generate(synced.probe, PLAIN, STREAM)
    monkeypatch.setattr(policy, "weights", lambda dtype=None: iter(old))
    with pytest.raises(EngineError, match=r"given other weights .* after update 2"):
        synced.load(policy, sample=False)


def test_an_engine_that_keeps_one_tensor_is_found_out(
    synced: Synced, policy: Policy, own: TransformersEngine
) -> None:
    """It takes all and says so, but samples with an old one."""
    learn(policy)
    kept = own.model.model.norm.weight.detach().clone()
    load = own.load_weights

    def losing(weights: Iterator[tuple[str, Tensor]]) -> Any:
        receipt = load(weights)
        with torch.no_grad():
            own.model.model.norm.weight.copy_(kept)
        return receipt

    own.load_weights = losing  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="does not sample from the trainer's weights"):
        synced.load(policy)


def test_the_base_and_back(synced: Synced, policy: Policy, source: Source) -> None:
    """As V* is drawn: another model's weights in between, each checked as its own."""
    base = Policy(source.model(), 1.0, Layout(4096))
    learn(policy)
    synced.load(policy)
    of_policy = synced.generate(synced.probe, PLAIN, STREAM)
    synced.load(base)
    of_base = synced.generate(synced.probe, PLAIN, STREAM)
    off_BT = (base.score(of_base)[0] - of_base.logprobs_BT)[of_base.mask_BT]
    assert float(off_BT.abs().max()) < 1e-4
    synced.load(policy)
    assert synced.generate(synced.probe, PLAIN, STREAM).texts == of_policy.texts
    assert of_base.texts != of_policy.texts
