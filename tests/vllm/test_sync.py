"""Planted faults of the weight sync: each must be caught at the sync, or before the next token."""

import dataclasses
from collections.abc import Callable, Iterator
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
from harness.rollout import vllm_library as library
from harness.rollout.engine import Request, Stream
from harness.rollout.spread import Spread
from harness.rollout.vllm import Vllm, VllmEngine
from harness.tasks.countdown import Countdown
from harness.types import Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

STREAM = Stream(seed=1, name="rollout", step=0)
PLAIN = Sampling(max_new_tokens=12)
SETTINGS = Vllm()


@pytest.fixture(autouse=True)
def as_it_was(engine: VllmEngine, source: Source, task: Countdown) -> Iterator[None]:
    """This process's one engine is left with the weights that it was made with."""
    yield
    for name in ("generate", "load_weights"):
        vars(engine).pop(name, None)
    unlearnt = made_of(source)
    over(engine, unlearnt, task).load(unlearnt)


@pytest.fixture
def policy(source: Source) -> Policy:
    return made_of(source)


@pytest.fixture
def synced(engine: VllmEngine, policy: Policy, task: Countdown) -> Synced:
    """Twice synced: whatever an engine may keep of a sync is there."""
    made = over(engine, policy, task)
    made.load(policy)
    learn(policy)
    made.load(policy)
    return made


def made_of(source: Source) -> Policy:
    """A policy before its first update."""
    return Policy(source.model(), 1.0, Layout(4096), Optimizer(learning_rate=3e-3, warmup=0.0))


def over(
    engine: Any, policy: Policy, task: Countdown, dtype: torch.dtype = torch.float32
) -> Synced:
    """A checked engine, with prompts of more than one block of the prefix cache."""
    long = [dataclasses.replace(p, text=" ".join([p.text] * 7)) for p in task.pool()[:8]]
    return Synced(Spread(engine, ALONE), policy, dtype, SETTINGS, tuple(long))


def learn(policy: Policy) -> None:
    """One optimizer step towards nothing in particular."""
    policy.zero_grad()
    for i, parameter in enumerate(policy.parameters):
        draws = torch.Generator().manual_seed(i + 1000 * policy.version)
        parameter.grad = torch.randn(parameter.shape, generator=draws).to(parameter.dtype)
    policy.step(0.5, policy.norm())


def test_a_sound_sync_passes_again_and_again(
    synced: Synced, policy: Policy, task: Countdown
) -> None:
    for _ in range(5):
        learn(policy)
        metrics = synced.load(policy)
        assert metrics["rollout/sync/gap"] < 1e-5
        assert metrics["rollout/sync/bytes"] == 4 * sum(p.numel() for p in policy.parameters)
        requests = [Request(prompt=p, items=(p.item,)) for p in task.pool()[:16]]
        rollout = synced.generate(requests, PLAIN, STREAM)
        off_BT = (policy.score(rollout)[0] - rollout.logprobs_BT)[rollout.mask_BT].abs()
        assert float(off_BT.max()) < 1e-4


def test_no_sync(synced: Synced, policy: Policy) -> None:
    learn(policy)
    with pytest.raises(EngineError, match=r"after update 1, but the trainer is at 2; sync before"):
        synced.generate(synced.probe, PLAIN, STREAM)


def test_a_sync_that_reaches_nobody(synced: Synced, policy: Policy, engine: VllmEngine) -> None:
    learn(policy)
    engine.llm.collective_rpc, kept = lambda *a, **k: None, engine.llm.collective_rpc
    try:
        with pytest.raises(EngineError, match="given other weights"):
            synced.load(policy)
    finally:
        engine.llm.collective_rpc = kept


@pytest.mark.parametrize("layer", ["embed_tokens.weight", "layers.1.mlp.down_proj.weight"])
def test_a_tensor_that_is_left_out(
    synced: Synced, policy: Policy, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(policy)
    whole = policy.weights

    def without(dtype: Any = None) -> Iterator[tuple[str, Tensor]]:
        return ((name, x) for name, x in whole(dtype) if not name.endswith(layer))

    monkeypatch.setattr(policy, "weights", without)
    with pytest.raises(EngineError, match=r"given other weights.*left a tensor out"):
        synced.load(policy)


@pytest.mark.parametrize("layer", ["embed_tokens.weight", "layers.1.mlp.down_proj.weight"])
def test_a_tensor_that_vllm_itself_loses(
    synced: Synced, policy: Policy, engine: VllmEngine, layer: str
) -> None:
    """All arrives at the engine, and not all in its model: the log-probs show it."""
    learn(policy)
    kept = engine.llm.collective_rpc

    def losing(method: str, kwargs: dict[str, Any]) -> Any:
        weights = list(kwargs["weights_iterator"])
        some = [(name, x) for name, x in weights if not name.endswith(layer)]
        return kept(method, kwargs={"weights_iterator": iter(some)})

    engine.llm.collective_rpc = losing
    try:
        with pytest.raises(EngineError, match="does not sample from the trainer's weights"):
            synced.load(policy)
    finally:
        engine.llm.collective_rpc = kept


def test_an_output_layer_that_stays_old(
    synced: Synced, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM 0.32's own fault on the CPU, which `repacked` makes good."""
    learn(policy)
    monkeypatch.setattr(library, "repacked", lambda model: None)
    with pytest.raises(EngineError, match="does not sample from the trainer's weights"):
        synced.load(policy)


def test_one_update_behind(synced: Synced, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [(name, x.clone()) for name, x in policy.weights()]
    learn(policy)
    monkeypatch.setattr(policy, "weights", lambda dtype=None: iter(old))
    with pytest.raises(EngineError, match=r"given other weights.*an update behind"):
        synced.load(policy)


def test_a_prefix_cache_that_is_not_reset(
    synced: Synced, policy: Policy, engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(policy)
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: True)
    with pytest.raises(EngineError, match="tokens of its prefix cache for the first prompt after"):
        synced.load(policy)


def test_a_prefix_cache_that_says_it_was_not_reset(
    synced: Synced, policy: Policy, engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: False)
    with pytest.raises(EngineError, match="could not reset its prefix cache"):
        synced.load(policy)


@pytest.mark.parametrize("temperature", [0.99, 1.5])
def test_another_temperature(
    synced: Synced, policy: Policy, engine: VllmEngine, temperature: float
) -> None:
    engine.generate = lambda requests, sampling, stream: VllmEngine.generate(
        engine, requests, dataclasses.replace(sampling, temperature=temperature), stream
    )
    with pytest.raises(EngineError, match="does not sample from the trainer's weights"):
        synced.load(policy)


def test_a_dead_engine(
    engine: VllmEngine, policy: Policy, task: Countdown, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = over(engine, policy, task)
    synced.load(policy)
    worker = engine.llm.llm_engine.engine_core.engine_core.model_executor
    monkeypatch.setattr(worker, "execute_model", _raising("the device is gone"))
    with pytest.raises(EngineError, match="failed while sampling: RuntimeError: the device is go"):
        synced.generate(synced.probe, PLAIN, STREAM)
    learn(policy)
    with pytest.raises(EngineError, match=r"could not reset its prefix cache|failed while"):
        synced.load(policy)


def _raising(text: str) -> Callable[..., Any]:
    def raising(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError(text)

    return raising
