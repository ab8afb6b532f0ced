"""What is checked of a whole config before a trial leaves a trace."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from harness.blame import blamed
from harness.config import TrialConfig
from harness.distributed import sharding
from harness.distributed.sharding import Device, computed_in
from harness.errors import ConfigError
from harness.learner import room
from harness.learner.memory import estimate, on_host, shape_of
from harness.learner.optimizer import Kind
from harness.machine import devices
from harness.models import fits
from harness.models.loading import Source
from harness.types import Sampling

# Tokens of the largest block that an engine keeps keys and values in.
MOST_BLOCK = 32


def evaluation_sampling(config: TrialConfig) -> Sampling:
    """How the sampled evaluation draws."""
    rollout = config.rollout
    sampling: Sampling = rollout.sampling(rollout.max_new_tokens, config.evaluation.temperature)
    return sampling


def check(config: TrialConfig) -> None:
    """All that needs no base model.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    check_layout(config)
    check_sampling(config)
    with blamed("task", config.task, "held_out"):
        config.task.held_out()
    with blamed("task", config.task, "pool"):
        config.task.pool()
    config.model.check(config.task)
    config.tracking.check(Path(config.runs))
    for name, listener in config.listeners.items():
        with blamed(f"listeners.{name}", listener, "check"):
            listener.check()


def check_with(config: TrialConfig, source: Source) -> None:
    """All that depends on the base model.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    reading = read(config, source)
    check_context(config, source, reading)
    config.rollout.check(source, config.trainer.ranks, config.trainer.device.value)
    check_cache(config, source, reading)
    if not config.dry_run:  # which shows first what it is that does not fit
        room.check(config, memory(config, source, reading), on_machine(config, source))


def settle(config: TrialConfig) -> None:
    """Make this process compute as the config says, as a rank of a trial or alone.

    Raises:
        ConfigError: it has no GPU and should.
    """
    sharding.check_there(config.trainer.device)
    devices.settle(config.trainer.threads, config.trainer.deterministic)


def check_layout(config: TrialConfig) -> None:
    """Refuse what the ranks and devices that are asked for cannot do.

    Raises:
        ConfigError: settings of FSDP2 without it, no GPU where one is wanted, ranks that would
            share one, or an optimizer that is not installed.
    """
    trainer = config.trainer
    sharding.check(trainer.sharding, trainer.ranks)
    # On a cluster this may be the driver, on a machine without a GPU: see `settle`.
    if config.ray.address is None and not config.dry_run:
        sharding.check_there(trainer.device)
    if trainer.device is Device.CUDA and trainer.ranks > 1 and config.ray.gpus_per_rank < 1:
        raise ConfigError(
            f"ray.gpus_per_rank={config.ray.gpus_per_rank:g} lets trials of one rank share a GPU, "
            f"received trainer.ranks={trainer.ranks}; NCCL wants one for each: set it to 1"
        )
    eight_bit = trainer.optimizer.kind is Kind.ADAMW_8BIT
    if eight_bit and importlib.util.find_spec("torchao") is None:
        raise ConfigError(
            "trainer.optimizer.kind=adamw_8bit is torchao's, which is not installed; run: "
            "pip install -e '.[eight-bit]'"
        )


def check_sampling(config: TrialConfig) -> None:
    """Refuse windows and samplers that the algorithm cannot be run with.

    Raises:
        ConfigError: a window below the shortest response, or ratios of truncated distributions.
    """
    rollout, window = config.rollout, config.window
    smallest = getattr(window, "minimum", getattr(window, "length", 1))
    if smallest < max(1, rollout.min_new_tokens):
        raise ConfigError(
            f"the smallest window is {smallest} tokens, but rollout.min_new_tokens is "
            f"{rollout.min_new_tokens}; raise the window or lower rollout.min_new_tokens"
        )
    ratios = "old_logprobs_BT" in config.algorithm.columns or config.trainer.importance_cap
    if ratios and (rollout.top_p < 1 or rollout.top_k) and not rollout.accept_truncated:
        raise ConfigError(
            f"rollout.top_p={rollout.top_p:g} and rollout.top_k={rollout.top_k} cut the "
            f"distribution that is sampled from, but the algorithm's importance ratios are of the "
            f"whole one; set top_p=1 and top_k=0, or accept it: rollout.accept_truncated=true"
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the model reads of a trial's prompts."""

    longest: int
    """Tokens of the longest prompt of both sets."""
    text: str
    """That prompt."""
    first: tuple[int, ...]
    """Tokens of the first held-out prompt."""


def read(config: TrialConfig, source: Source) -> Reading:
    """Every prompt of both sets as the model's tokens, once it is clear that they are its own.

    Raises:
        ConfigError: tokenizer and model do not belong together, or a prompt cannot be read.
    """
    tokens, rows = source.tokens, source.rows()
    fits.check_sizes(tokens, rows)
    texts = [prompt.text for prompt in (*config.task.held_out(), *config.task.pool())]
    ids = tokens.ids(texts)
    fits.check_prompts(tokens, rows, texts, ids)
    longest = max(range(len(ids)), key=lambda i: len(ids[i]))
    return Reading(longest=len(ids[longest]), text=texts[longest], first=tuple(ids[0]))


def check_context(config: TrialConfig, source: Source, reading: Reading) -> None:
    """Refuse a prompt that, with the response budget, the model has no room for.

    Raises:
        ConfigError: which prompt, and how many tokens are too many.
    """
    room = source.context()
    tokens, text = reading.longest, reading.text
    budget = config.rollout.max_new_tokens
    if room is not None and tokens + budget > room:
        raise ConfigError(
            f"the model reads {room} tokens, but the prompt {text[:40]!r} has "
            f"{tokens} and rollout.max_new_tokens is {budget}; lower rollout.max_new_tokens to "
            f"{max(room - tokens, 0)} or choose a shorter task/template"
        )


def memory(config: TrialConfig, source: Source, reading: Reading) -> dict[str, int]:
    """Bytes that each rank will need on its device, part by part."""
    return estimate(shape_of(source.config()), config, source.dtype, reading.longest)


def on_machine(config: TrialConfig, source: Source) -> dict[str, int]:
    """Bytes of its machine that each rank with a GPU will need, part by part."""
    return on_host(shape_of(source.config()), config, source.dtype)


def check_cache(config: TrialConfig, source: Source, reading: Reading) -> None:
    """Refuse an engine whose cache has no room for the keys and values of a single response.

    Raises:
        ConfigError: how much one takes.
    """
    rollout = config.rollout
    if rollout.cache_bytes is None:
        return
    width = computed_in(config.trainer.sharding, source.dtype).itemsize
    context = reading.longest + rollout.max_new_tokens
    blocks = -(-context // MOST_BLOCK) + 1  # and the one that vLLM keeps for itself
    per_token = shape_of(source.config()).cached_per_token * width // rollout.engine_ranks
    needed = blocks * MOST_BLOCK * per_token
    if needed > rollout.cache_bytes:
        raise ConfigError(
            f"rollout.cache_gb must hold the keys and values of at least one response, "
            f"{needed / 1e9:.3g} GB for {context} tokens, received "
            f"{rollout.cache_bytes / 1e9:.3g}; raise it or lower rollout.max_new_tokens"
        )
