"""What is checked on a GPU, as functions of a world; what they measure is printed."""

import dataclasses
import gc
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.commands.evaluate import config_of, measured
from harness.commands.origin import last_step
from harness.config import TrialConfig
from harness.distributed.moves import State
from harness.distributed.ranks import ALONE, Ranks, joined
from harness.distributed.sharding import Device, Layout, Precision, Sharding, local
from harness.errors import EngineError
from harness.launch import in_group, run_trial
from harness.learner import checkpoint
from harness.learner.batching import packed
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.sync import TOLERANCE, Synced
from harness.models.loading import Source
from harness.preflight import memory, read, settle
from harness.rollout.engine import Request, Stream
from harness.rollout.spread import Spread
from harness.schema import described
from harness.trial import trial_folder
from harness.types import Rollout, Sampling
from tests.gpu.world import PLAIN, World

FAMILIES = {
    "grpo": ("algorithm=grpo", "algorithm.group_size=4"),
    "ppo": ("algorithm=ppo", "algorithm.group_size=4", "trainer.mini_batches=2"),
    "dapo": ("algorithm=dapo", "algorithm.group_size=4", "trainer.mini_batches=2"),
    "remax": ("algorithm=remax",),
    "a_star_po_weighted": ("algorithm=a_star_po_weighted",),
}
"""Without and with a critic, drawn again until groups differ, greedy baseline, V* and exact KL."""
BRIEF = 4
"""Steps of the trials that are no family's: two before a checkpoint and two after it."""
CYCLES = 20
"""Times that vLLM sleeps and wakes."""
STREAM = Stream(seed=0, name="rollout", step=0)


class Stopped(BaseException):
    """Ends a trial from outside."""


def run(config: TrialConfig, stop_after: int | None = None) -> dict[int, Mapping[str, float]]:
    """Metrics of each step of a trial."""
    found: dict[int, Mapping[str, float]] = {}

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        found[step] = dict(metrics)
        if step == stop_after:
            raise Stopped

    with suppress(Stopped):
        run_trial(config, observe)
    return found


@cache
def plain(world: World) -> tuple[TrialConfig, dict[int, Mapping[str, float]]]:
    """A brief trial without anything special, run once, and its metrics."""
    config = brief(world, runs=PLAIN)
    return config, run(config)


def source_of(config: TrialConfig) -> Source:
    source: Source = config.model.prepare(config.task, config.runs)
    return source


def brief(world: World, *overrides: str, runs: str) -> TrialConfig:
    """A trial of few steps."""
    amount = min(BRIEF, world.steps) * world.prompts
    return world.config(f"budget.amount={amount}", *overrides, runs=runs)


def deterministic(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without what a clock says."""
    clocks = {key for key in metrics if (metric := described(key)) and metric.clock}
    return {key: value for key, value in metrics.items() if key not in clocks}


def sampled(config: TrialConfig, source: Source, device: str, times: int = 1) -> Rollout:
    """A rollout by the transformers engine, in bfloat16; tokens per second of the fastest."""
    settle(config)
    half = dataclasses.replace(source, dtype=torch.bfloat16)
    with in_group(config, None, 0) as ranks:
        engine = config.rollout.engine(half, source.tokens, config.task.pool(), device, ranks)
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            made: Rollout = engine.generate(requests_of(config), sampling_of(config), STREAM)
            seconds.append(time.perf_counter() - began)
        engine.close()
    print(f"transformers: {int(made.mask_BT.sum()) / min(seconds):.0f} tokens/s")
    return made


def requests_of(config: TrialConfig) -> list[Request]:
    prompts = config.task.pool()[: config.trainer.prompts_per_step]
    return [Request(prompt=p, items=(4 * i, 4 * i + 1)) for i, p in enumerate(prompts)]


def sampling_of(config: TrialConfig) -> Sampling:
    length = config.rollout.max_new_tokens
    return Sampling(max_new_tokens=length, min_new_tokens=length)


# --- the checks -----------------------------------------------------------------------------------


def trains(world: World, family: str) -> None:
    """Every step of a trial is finite, the weights move, and the sampler is near the trainer.

    That it has the very weights is what version and checksum of each sync say: the gap of bfloat16
    is larger than what so few steps change.
    """
    config = world.config(*FAMILIES[family], runs=f"runs_{family}")
    found = run(config)
    assert max(found) >= 1
    for step, metrics in found.items():
        assert all(math.isfinite(value) for value in metrics.values()), (family, step)
    gaps = [m["rollout/sync/gap"] for m in found.values() if "rollout/sync/gap" in m]
    norms = [m["actor/grad_norm"] for m in found.values() if "actor/grad_norm" in m]
    assert max(gaps) < TOLERANCE[torch.bfloat16]
    assert max(norms) > 0
    assert _moved(Path(world.model), trial_folder(config) / "final")
    last = found[max(found)]
    print(
        f"{family}: {max(found)} steps, gap {max(gaps):.4f}, {last['timing_s/step']:.2f} s a step"
    )


def samples_on_the_device(world: World) -> None:
    """What transformers samples has the trainer's log-probs; tokens per second."""
    config = world.config()
    source = source_of(config)
    rollout = sampled(config, source, world.device, times=4)
    half = dataclasses.replace(source, dtype=torch.bfloat16)
    policy = Policy(half.model(), 1.0, _layout(world, Sharding()))
    gap = (policy.score(rollout)[0] - rollout.logprobs_BT)[rollout.mask_BT].abs().mean()
    print(f"transformers: gap {gap:.4f}")
    assert gap < TOLERANCE[torch.bfloat16]


def exact_kl(world: World) -> None:
    """KL over the whole vocabulary, in chunks on the device, against all logits at once."""
    config = world.config("rollout.max_new_tokens=8", "rollout.min_new_tokens=8")
    source = source_of(config)
    rollout = sampled(config, source, world.device)
    rows_b = torch.arange(4)
    with in_group(config, None, 0) as ranks:
        layout = _layout(world, Sharding(), ranks)
        policy = Policy(source.model(), 1.0, layout)
        reference = Policy(source.model(), 1.0, layout)
        with torch.no_grad():
            draws = torch.Generator().manual_seed(0)
            for parameter in policy.parameters:
                noise = torch.randn(parameter.shape, generator=draws)
                parameter.add_(0.02 * noise.to(parameter.device))
            inputs = packed(rollout, rows_b)
            columns = frozenset({"kl_full_BT"})
            made = policy.module(inputs, columns, reference.hidden(inputs))["kl_full_BT"]
            expected = _whole_kl(policy, reference, rollout, rows_b, world.device)
    off = (made[:, : expected.shape[1]] - expected).abs().max() / expected.abs().max()
    print(f"exact KL: {expected.mean():.4f} in the mean, off by {off:.1e} of the largest")
    assert off < 1e-3


def resumes(world: World) -> None:
    """With deterministic kernels, a trial that is ended in its middle goes on to the same bits."""
    half = min(BRIEF, world.steps) // 2
    asked = "trainer.deterministic=true"
    undisturbed = run(brief(world, asked, runs="runs_undisturbed"))
    config = brief(world, asked, "trainer.save_every=0.5", runs="runs_resumed")
    run(config, stop_after=half + 1)
    saved = checkpoint.steps(trial_folder(config), ALONE)
    assert next(saved).plain["counters"]["step"] == half
    found = run(config)
    assert list(found) == list(range(half + 1, 2 * half + 1)), "from the checkpoint"
    for step, metrics in found.items():
        assert deterministic(metrics) == deterministic(undisturbed[step])


def evaluates(world: World) -> None:
    """A checkpoint is measured on the trial's device and in its type, near its numbers."""
    config, trained = plain(world)
    final = trial_folder(config) / "final"
    again = config_of(final, [])
    assert again.trainer.device.value == world.device
    assert again.trainer.sharding.precision is Precision.BFLOAT16
    with in_group(again, None, 0):
        metrics, _ = measured(again, last_step(final))
    last = trained[max(trained)]
    for key, value in metrics.items():
        assert math.isclose(value, last[key], rel_tol=0.1, abs_tol=0.1), key


def estimates(world: World) -> None:
    """The memory that a dry run promises against the peak of a trial, within 15 %."""
    config = brief(
        world,
        *("algorithm=ppo", "algorithm.group_size=4", "trainer.token_budget=4096"),
        runs="runs_memory",
    )
    source = source_of(config)
    parts = memory(config, source, read(config, source))
    if world.device == "cpu":
        run(config)
        return
    gc.collect()  # a check that failed before may have left a model
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    left = torch.cuda.memory_allocated()
    run(config)
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()
    peak = torch.cuda.max_memory_allocated() - left
    print({name: round(size / 1e9, 2) for name, size in parts.items()})
    own = parts.pop("the device's own")
    promised = sum(parts.values())
    print(f"tensors: estimated {promised / 1e9:.2f} GB, peak {peak / 1e9:.2f} GB")
    print(f"outside of torch: estimated {own / 1e9:.2f} GB, found {outside / 1e9:.2f} GB")
    assert math.isclose(promised, peak, rel_tol=0.15)


def moves(world: World) -> None:
    """A state leaves the device's memory and comes back to the bit; how fast it moves."""
    config = world.config()
    source = source_of(config)
    sharding = Sharding(fsdp=True, precision=Precision.BFLOAT16, offload=True)
    with in_group(config, None, 0) as ranks:
        policy = Policy(source.model(), 1.0, _layout(world, sharding, ranks), Optimizer())
        shifted = policy.layout.moves
        before = policy.checksum(torch.float32)
        size = sum(local(p).nbytes for p in policy.parameters)
        full = _allocated(world)
        shifted.at_hand()
        if world.device == "cuda":
            assert full - _allocated(world) >= 0.98 * size
        _timed(policy.weights_state, size)
        assert policy.checksum(torch.float32) == before
    _, stayed = plain(world)
    moved = run(brief(world, "trainer.sharding.offload=true", runs="runs_offload"))
    for step in stayed:
        for key in ("actor/pg_loss", "actor/grad_norm"):
            if key in stayed[step]:
                assert math.isclose(
                    stayed[step][key], moved[step][key], rel_tol=0.05, abs_tol=1e-3
                ), (step, key)


# All that need no more than a world and its device.
ON_THE_DEVICE = (samples_on_the_device, exact_kl, resumes, evaluates, estimates, moves)


def vllm_sleeps_and_wakes(world: World) -> None:
    """Many syncs of a changing policy, memory at each stage, and a tensor that is left out."""
    asked = ("rollout=vllm", "rollout.cache_gb=2.0")
    config = world.config(*asked)
    source = source_of(config)
    half = dataclasses.replace(source, dtype=torch.bfloat16)
    with joined(0, 1, None, world.device) as ranks:
        pool = config.task.pool()
        _stage(world, "before")
        own = config.rollout.engine(half, source.tokens, pool, world.device, ranks)
        _stage(world, "engine")
        sharding = Sharding(fsdp=True, precision=Precision.BFLOAT16)
        layout = _layout(world, sharding, ranks)
        policy = Policy(source.model(), 1.0, layout, Optimizer(learning_rate=1e-4))
        _stage(world, "policy")
        synced = Synced(Spread(own, ranks), policy, torch.bfloat16, config.rollout, pool)
        for cycle in range(CYCLES):
            synced.sleep()
            _stage(world, f"{cycle}: asleep")
            with torch.no_grad():
                for parameter in policy.parameters:
                    local(parameter).mul_(1.001)
            policy.version += 1
            made = synced.load(policy)
            _stage(world, f"{cycle}: awake, gap {made['rollout/sync/gap']:.4f}")
            assert made["rollout/sync/gap"] < TOLERANCE[torch.bfloat16]
        complete = policy.weights
        monkeypatch = pytest.MonkeyPatch()
        monkeypatch.setattr(policy, "weights", lambda dtype=None: list(complete(dtype))[:-1])
        synced.sleep()
        with pytest.raises(EngineError, match="given other weights than the trainer's"):
            synced.load(policy)


def on_two_gpus(world: World, parallel: int) -> None:
    """Two ranks as Ray's actors, each with a GPU; one engine each, or one for both."""
    asked = ("trainer.ranks=2", "trainer.sharding.fsdp=false")
    engine = ("rollout=vllm", f"rollout.tensor_parallel={parallel}") if parallel else ()
    found = run(world.config(*asked, *engine, runs=f"runs_two_{parallel}"))
    assert max(found) == world.steps


# --- parts ----------------------------------------------------------------------------------------


def _moved(before: Path, after: Path) -> bool:
    """Whether any weight of a model in one folder is another in the other."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    return any(not torch.equal(x.float(), new[name].float()) for name, x in old.items())


def _layout(world: World, sharding: Sharding, ranks: Ranks = ALONE) -> Layout:
    return Layout(4096, sharding, Device(world.device), ranks)


def _whole_kl(
    policy: Policy, reference: Policy, rollout: Rollout, rows_b: Tensor, device: str
) -> Tensor:
    """(b,T) KL(policy || reference) at each response token, row by row, all logits in memory."""
    found = []
    for i in rows_b.tolist():
        length = int(rollout.lengths_B[i])
        ids = [*rollout.prompt_ids[i], *rollout.tokens_BT[i, :length].tolist()]
        ids_1S = torch.tensor([ids], device=device)
        own, base = (
            each.module.model(input_ids=ids_1S, use_cache=False).logits[0, -length - 1 : -1]
            for each in (policy, reference)
        )
        own, base = own.double().log_softmax(-1), base.double().log_softmax(-1)
        found.append((own.exp() * (own - base)).sum(-1).cpu())
    return torch.stack(found)


def _timed(state: State, size: int) -> None:
    state.enter()
    state.touched()
    began = time.perf_counter()
    state.leave()
    out = time.perf_counter() - began
    began = time.perf_counter()
    state.enter()
    back = time.perf_counter() - began
    print(f"moves: {size / out / 1e9:.1f} GB/s to the host, {size / back / 1e9:.1f} GB/s back")


def _allocated(world: World) -> int:
    return int(torch.cuda.memory_allocated()) if world.device == "cuda" else 0


def _stage(world: World, name: str) -> None:
    if world.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        print(f"{name}: {(total - free) / 1e9:.2f} GB of the GPU are taken")
