"""What needs an engine of its own: each runs in a process of its own."""

import dataclasses
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from harness.distributed.ranks import joined
from harness.distributed.sharding import Layout, Precision, Sharding
from harness.errors import EngineError
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.sync import TOLERANCE, Synced
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.rollout.spread import Spread
from harness.rollout.vllm import Vllm
from harness.tasks.countdown import Countdown
from harness.types import Prompt, Sampling
from tests.benchmarks import resident, work

pytestmark = pytest.mark.vllm

TWENTY_MILLION = work.Size("20M", hidden=512, layers=6, heads=8, feed_forward=2048)
STREAM = Stream(seed=1, name="rollout", step=0)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result(timeout=300)


# --- bfloat16 -------------------------------------------------------------------------------------


def test_one_update_of_1e_6_is_not_missed_in_bfloat16(source: Source) -> None:
    """Log-probs cannot tell the two apart; the checksum does, and so does the version."""
    found = apart(_behind_in_bfloat16, source)
    print({key: value for key, value in found.items() if key != "messages"})  # shown by -s
    assert found["gap"] < TOLERANCE[torch.bfloat16]
    assert found["stale_gap"] < TOLERANCE[torch.bfloat16]
    assert "has the weights after update 1, but the trainer is at 2" in found["messages"][0]
    assert "given other weights than the trainer's after update 2" in found["messages"][1]
    assert found["sound_gap"] < TOLERANCE[torch.bfloat16]


def _behind_in_bfloat16(source: Source) -> dict[str, Any]:
    """Weights in float32, passes and engine in bfloat16, Adam at 1e-6: as on GPUs."""
    torch.set_num_threads(1)
    task = Countdown(train_size=64, eval_size=32)
    with joined(0, 1, None, "cpu") as ranks:
        settings = Vllm(max_new_tokens=32, cache_gb=0.1)
        half = dataclasses.replace(source, dtype=torch.bfloat16)
        engine = settings.engine(half, source.tokens, task.pool(), "cpu", ranks)
        layout = Layout(4096, Sharding(fsdp=True, precision=Precision.BFLOAT16), ranks=ranks)
        policy = Policy(source.model(), 1.0, layout, Optimizer(learning_rate=1e-6, warmup=0.0))
        synced = Synced(Spread(engine, ranks), policy, torch.bfloat16, settings, task.pool())
        synced.load(policy)
        _learn(policy)
        gap = synced.load(policy)["rollout/sync/gap"]
        old = [(name, x.clone()) for name, x in policy.weights(torch.bfloat16)]
        _learn(policy)
        messages = []
        try:
            synced.generate(synced.probe, Sampling(max_new_tokens=4), STREAM)
        except EngineError as error:
            messages.append(str(error))
        rollout = engine.generate(synced.probe, Sampling(max_new_tokens=16), STREAM)
        off_BT = (policy.score(rollout)[0] - rollout.logprobs_BT)[rollout.mask_BT].abs()
        sound = policy.weights
        policy.weights = lambda dtype=None: iter(old)  # type: ignore[method-assign]
        try:
            synced.load(policy)
        except EngineError as error:
            messages.append(str(error))
        policy.weights = sound  # type: ignore[method-assign]
        return {
            "gap": gap,
            "stale_gap": float(off_BT.mean()),
            "sound_gap": synced.load(policy)["rollout/sync/gap"],
            "messages": messages,
        }


def _learn(policy: Policy) -> None:
    policy.zero_grad()
    for i, parameter in enumerate(policy.parameters):
        draws = torch.Generator().manual_seed(i + 1000 * policy.version)
        whole = torch.randn(parameter.shape, generator=draws)
        gradient = torch.zeros_like(parameter)
        gradient.to_local().copy_(whole)  # type: ignore[attr-defined]
        parameter.grad = gradient
    policy.step(0.5, policy.norm())


# --- memory ---------------------------------------------------------------------------------------


def test_a_sync_takes_one_tensor_and_little_more(tmp_path: Path) -> None:
    """Above what was there before; the model has 25 million parameters, its largest tensor one."""
    found = apart(_sync_memory, tmp_path)
    print({key: round(value / 1e6, 2) for key, value in found.items()})  # MB, shown by -s
    assert found["model"] > 70e6
    assert found["taken"] <= found["largest"] + 0.1 * found["model"]


def _sync_memory(folder: Path) -> dict[str, float]:
    torch.set_num_threads(1)
    with joined(0, 1, None, "cpu") as ranks:
        path = work.saved(TWENTY_MILLION, folder)
        source = Source(path=path, tokenizer=path, dtype=torch.float32, attention="sdpa", files={})
        prompt = Prompt(text="12+34=?", item=0, problem="", difficulty=0, answer=None)
        settings = Vllm(max_new_tokens=64, cache_gb=0.2)
        engine = settings.engine(source, source.tokens, [prompt], "cpu", ranks)
        policy = Policy(source.model(), 1.0, Layout(4096))
        requests = [Request(prompt=prompt, items=tuple(range(32)))]
        for _ in range(3):  # until all that stays is there
            engine.load_weights(policy.weights(torch.float32))
            engine.generate(requests, Sampling(max_new_tokens=64), STREAM)
        sizes = [x.numel() * x.element_size() for _, x in policy.weights(torch.float32)]
        taken = []
        for _ in range(5):  # pages of libraries that come back meanwhile count as well: the median
            resident.forget_peak()
            before = resident.mib(resident.NOW)
            engine.load_weights(policy.weights(torch.float32))
            taken.append((resident.mib(resident.PEAK) - before) * 2**20)
        return {"model": float(sum(sizes)), "largest": float(max(sizes)), "taken": median(taken)}
