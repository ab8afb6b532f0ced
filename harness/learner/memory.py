"""How much memory a trial will take on each rank and its machine, from its config alone.

On a CPU what is counted are tensors: Python and its libraries come on top. On a GPU all of it is,
with round numbers for what no tensor is (CONTEXT, COLLECTIVES, GRAPHS, PROCESS). `pytest -m gpu`
compares the sum with the peak on the card at hand; COLLECTIVES and GRAPHS are estimates so far.
"""

from dataclasses import dataclass
from typing import Any

import torch

from harness.config import TrialConfig
from harness.distributed.sharding import Device, blocks, computed_in
from harness.learner.optimizer import Kind
from harness.learner.scorer import CHUNK_LOGITS
from harness.models.library import transformers

FLOAT = 4
"""Bytes of a float32."""
EIGHT_BIT_MOMENTS = 2.1
"""Bytes per parameter of two moments in 8 bits and their scales."""
CHUNK_TENSORS = 4
"""Tensors of a chunk of logits alive at once: themselves, log-probs, and the gradients of both."""
CONTEXT = 900_000_000
"""Bytes of a GPU that a process takes beside its tensors: driver, kernels, cuBLAS.

Measured on an H100 with torch 2.11: .88 and .92 GB.
"""
COLLECTIVES = 700_000_000
"""Bytes of NCCL's buffers and channels where ranks talk."""
GRAPHS = 1_000_000_000
"""Bytes of vLLM's recorded CUDA graphs and what they work in, which stay while it sleeps."""
ENGINE_STEP = 8192
"""Tokens that vLLM reads at once at most, in what it tries at its start."""
PROCESS = 5_000_000_000
"""Bytes of a machine that a rank with torch and vLLM for GPUs takes beside its tensors."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, in numbers.

    Attributes:
        parameters: of it all, tied ones once; block: of the largest of its blocks.
        head: of the output layer if it is not tied.
    """

    parameters: int
    block: int
    head: int
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    key_values: int
    """Width of all key heads together."""
    vocabulary: int

    @property
    def cached_per_token(self) -> int:
        """Numbers that sampling keeps of each token: its keys and values."""
        return 2 * self.key_values * self.layers

    @property
    def saved_per_layer(self) -> int:
        """Numbers that a block keeps of each token for its gradient.

        Counted with torch's saved-tensor hooks on transformers' Qwen2 with SDPA: eight of the
        hidden width (two norms and their inputs, query, attention's output), keys and values,
        four of the feed-forward width (gate, its activation, up, their product).
        """
        return 8 * self.hidden + 2 * self.key_values + 4 * self.feed_forward + self.heads + 2


def shape_of(model_config: Any) -> Shape:
    """Sizes of the model that a transformers config describes; none of its weights are made."""
    with torch.device("meta"):
        model = transformers().AutoModelForCausalLM.from_config(model_config)
    text = model_config.get_text_config()
    head = model.get_output_embeddings().weight
    heads, hidden = text.num_attention_heads, text.hidden_size
    # Older architectures do not say what all of them once did.
    key_heads = getattr(text, "num_key_value_heads", heads)
    head_width = getattr(text, "head_dim", None) or hidden // heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        block=max(
            (sum(p.numel() for p in block.parameters()) for block in blocks(model)), default=0
        ),
        head=0 if head is model.get_input_embeddings().weight else head.numel(),
        layers=text.num_hidden_layers,
        hidden=hidden,
        feed_forward=getattr(text, "intermediate_size", 4 * hidden),
        heads=heads,
        key_values=key_heads * head_width,
        vocabulary=text.vocab_size,
    )


def estimate(shape: Shape, config: TrialConfig, dtype: torch.dtype, prompt: int) -> dict[str, int]:
    """Bytes on each rank's device at the worst moment of a step, part by part.

    Args:
        dtype: of the weights.
        prompt: tokens of the longest prompt.
    """
    ranks, trainer = config.trainer.ranks, config.trainer
    computed = computed_in(trainer.sharding, dtype).itemsize
    states = _states(shape, config, dtype)
    engine = {"engine's weights": shape.parameters * computed // config.rollout.engine_ranks}
    cache = config.rollout.cache_bytes
    if cache is not None:
        engine["engine's keys and values"] = cache
    # Where it can it sleeps while the trainer learns.
    stays = cache is None or trainer.device is Device.CPU
    moments = {
        "one pass of learning": (
            states.learning | (engine if stays else {}),
            _learning(shape, config, computed),
        ),
        "a step of the optimizer": (states.stepping | (engine if stays else {}), 0),
        "sampling": (states.sampling | engine, _sampling(shape, config, computed, prompt)),
    }
    own: dict[str, int] = {}
    if trainer.device is Device.CUDA:
        own["the device's own"] = CONTEXT + (COLLECTIVES if ranks > 1 else 0)
        if cache is not None:
            own["engine's graphs"] = GRAPHS
    each = [{**parts, **own, name: size} for name, (parts, size) in moments.items()]
    worst = max(each, key=lambda parts: sum(parts.values()))
    return {name: size for name, size in worst.items() if size}


def on_host(shape: Shape, config: TrialConfig, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of its machine that each rank with a GPU takes, part by part; none without a GPU.

    Args:
        dtype: of the weights.
    """
    if config.trainer.device is Device.CPU:
        return {}
    parts = {
        "Python and its libraries": PROCESS,
        "a model that is loaded or exported": shape.parameters * dtype.itemsize,
    }
    if config.trainer.sharding.offload:
        states = _states(shape, config, dtype)
        parts["states that wait"] = states.weights + states.optimizer + states.reference
    return parts


@dataclass(frozen=True)
class States:
    """Bytes of a rank's shards, and which of them are on its device when."""

    policy: int
    critic: int
    optimizer: int
    reference: int
    offload: bool
    full_kl: bool

    @property
    def weights(self) -> int:
        """Of all that is trained; gradients take as much."""
        return self.policy + self.critic

    @property
    def learning(self) -> dict[str, int]:
        """In a forward and backward pass."""
        found = {"weights that are trained": self.weights, "their gradients": self.weights}
        if not self.offload:
            found["optimizer"] = self.optimizer
        if self.full_kl or not self.offload:
            found["reference"] = self.reference
        return found

    @property
    def stepping(self) -> dict[str, int]:
        """When an optimizer steps; with offload one after the other, the larger model's first."""
        if not self.offload:
            return self.learning
        largest = max(self.policy, self.critic)
        return {
            "weights that are trained": largest,
            "their gradients": self.weights,
            "optimizer": self.optimizer * largest // self.weights,
        }

    @property
    def sampling(self) -> dict[str, int]:
        """While responses are drawn, with the weights that the engine was given; no gradients."""
        if self.offload:
            return {"weights that are trained": max(self.policy, self.reference)}
        return {
            "weights that are trained": self.weights,
            "optimizer": self.optimizer,
            "reference": self.reference,
        }


def _states(shape: Shape, config: TrialConfig, dtype: torch.dtype) -> States:
    ranks, trainer = config.trainer.ranks, config.trainer
    width, computed = dtype.itemsize, computed_in(trainer.sharding, dtype).itemsize
    critic = shape.parameters - shape.head if _own_critic(config) else 0
    moments = EIGHT_BIT_MOMENTS if trainer.optimizer.kind is Kind.ADAMW_8BIT else 2 * width
    return States(
        policy=shape.parameters * width // ranks,
        critic=critic * width // ranks,
        optimizer=int((shape.parameters + critic) * moments) // ranks,
        reference=shape.parameters * computed // ranks,
        offload=trainer.sharding.offload,
        full_kl="kl_full_BT" in config.algorithm.columns,
    )


def _own_critic(config: TrialConfig) -> bool:
    critic = getattr(config.algorithm, "critic", None)
    return critic is not None and not critic.shared


def _learning(shape: Shape, config: TrialConfig, computed: int) -> int:
    """Forward and backward: what the graphs keep, parameters gathered, gradients on their way.

    The graph of a critic of its own is alive beside the policy's: one loss has both.
    """
    trainer = config.trainer
    tokens, graphs = trainer.token_budget, 1 + _own_critic(config)
    # Norms keep their input in float32 whatever they compute in: counted with torch's hooks.
    block = shape.saved_per_layer * computed + 2 * shape.hidden * max(0, FLOAT - computed)
    kept = graphs * block * shape.layers
    if trainer.sharding.checkpointing:
        kept = graphs * shape.hidden * shape.layers * computed + block
    outside = shape.parameters - shape.layers * shape.block
    moving = 0
    if trainer.ranks > 1 or trainer.sharding.fsdp:
        # The root's parameters stay whole from forward to backward, of each model; blocks do not.
        frozen = "kl_full_BT" in config.algorithm.columns
        moving = ((graphs + frozen) * outside + 2 * shape.block) * computed
        # Whole gradients (the output layer's twice: it comes chunk by chunk and is summed), and the
        # buffer in which the ranks add them.
        moving += (outside + shape.block) * (computed + max(FLOAT, computed)) + outside * computed
    chunk = min(CHUNK_LOGITS, tokens * shape.vocabulary) * CHUNK_TENSORS * FLOAT
    # The output layer's gradient is summed over chunks in float32: harness.learner.head.
    summed = shape.vocabulary * shape.hidden * FLOAT if computed < FLOAT else 0
    total: int = tokens * kept + moving + chunk + summed
    return total


def _sampling(shape: Shape, config: TrialConfig, width: int, prompt: int) -> int:
    """What decoding and the sync before it take beside the engine's weights and cache."""
    rollout, plan = config.rollout, config.algorithm.rollout_plan(0.0)
    rows = -(-config.trainer.prompts_per_step // config.trainer.ranks) * plan.group_size
    rows = min(rows, rollout.max_rows)
    context = prompt + rollout.max_new_tokens
    logits: int = CHUNK_TENSORS * rows * shape.vocabulary * FLOAT
    if rollout.cache_bytes is None:
        total: int = logits + rows * context * shape.cached_per_token * width
        return total
    if config.trainer.device is Device.CPU:
        return logits
    read = ENGINE_STEP * (4 * shape.hidden + 3 * shape.feed_forward) * width
    # A sync holds its largest tensors twice, once from the trainer and once as they are loaded.
    reload = 2 * (shape.parameters - shape.layers * shape.block) * width
    return max(logits, read, reload)
