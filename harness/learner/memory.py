"""How much memory a trial will take on each rank, from its config alone.

What is counted are tensors: the device's own context, Python and its libraries come on top.
"""

from dataclasses import dataclass
from typing import Any

import torch

from harness.config import TrialConfig
from harness.distributed.sharding import Device, blocks, computed_in
from harness.learner.policy import Kind
from harness.learner.scorer import CHUNK_LOGITS
from harness.models.library import transformers

FLOAT = 4
"""Bytes of a float32."""
EIGHT_BIT_MOMENTS = 2.1
"""Bytes per parameter of two moments in 8 bits and their scales."""
CHUNK_TENSORS = 4
"""Tensors of a chunk of logits alive at once: themselves, log-probs, and the gradients of both."""


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
    """Bytes on each rank at the worst moment of a step, part by part.

    Args:
        dtype: of the weights.
        prompt: tokens of the longest prompt.
    """
    ranks, trainer = config.trainer.ranks, config.trainer
    width, computed = dtype.itemsize, computed_in(trainer.sharding, dtype).itemsize
    critic = getattr(config.algorithm, "critic", None)
    own_critic = critic is not None and not critic.shared
    trained = shape.parameters + (shape.parameters - shape.head if own_critic else 0)
    moments = EIGHT_BIT_MOMENTS if trainer.optimizer.kind is Kind.ADAMW_8BIT else 2 * width
    resident = {
        "weights that are trained": trained * width // ranks,
        "their gradients": trained * width // ranks,
        "optimizer": int(trained * moments) // ranks,
        "reference": shape.parameters * width // ranks,
    }
    if trainer.sharding.offload:
        resident = {}
    learning, sampling = (
        _learning(shape, config, computed),
        _sampling(shape, config, computed, prompt),
    )
    engine = {"engine's weights": shape.parameters * computed // config.rollout.engine_ranks}
    cache = config.rollout.cache_bytes
    if cache is not None:
        engine["engine's keys and values"] = cache
    if cache is None or trainer.device is Device.CPU:
        resident |= engine
    else:  # it sleeps while the trainer learns
        sampling += sum(engine.values())
    name, most = max(("one pass of learning", learning), ("sampling", sampling), key=_second)
    return {**resident, name: most}


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _learning(shape: Shape, config: TrialConfig, computed: int) -> int:
    """Activations of one forward and backward pass, and the parameters gathered for it."""
    trainer = config.trainer
    tokens = trainer.token_budget
    kept = shape.saved_per_layer * shape.layers
    if trainer.sharding.checkpointing:
        kept = shape.hidden * shape.layers + shape.saved_per_layer
    gathered = 0
    if trainer.ranks > 1 or trainer.sharding.fsdp:
        outside = shape.parameters - shape.layers * shape.block
        gathered = (outside + 2 * shape.block) * computed
    chunk = min(CHUNK_LOGITS, tokens * shape.vocabulary) * CHUNK_TENSORS * FLOAT
    total: int = tokens * kept * computed + gathered + chunk
    return total


def _sampling(shape: Shape, config: TrialConfig, width: int, prompt: int) -> int:
    """Keys and values of the responses that are decoded at once, and their logits."""
    rollout, plan = config.rollout, config.algorithm.rollout_plan(0.0)
    rows = -(-config.trainer.prompts_per_step // config.trainer.ranks) * plan.group_size
    rows = min(rows, rollout.max_rows)
    context = prompt + rollout.max_new_tokens
    logits: int = CHUNK_TENSORS * rows * shape.vocabulary * FLOAT
    if rollout.cache_bytes is not None:
        return logits
    total: int = logits + rows * context * shape.cached_per_token * width
    return total
