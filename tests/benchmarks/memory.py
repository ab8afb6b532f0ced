"""Peak memory of a large vocabulary: `python -m tests.benchmarks memory`.

One forward and backward pass of log-prob, entropy and loss over 8 responses of 2,048 tokens with
Qwen2.5's vocabulary of 151,936: the logits alone would take 9.96 GB in float32.
"""

import time
from collections.abc import Iterator, Sequence

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.learner.batching import Packed
from harness.learner.scorer import Scorer
from tests.benchmarks import resident
from tests.benchmarks.verdict import Found, quotient

ROWS, TOKENS, VOCABULARY, HIDDEN = 8, 2048, 151_936, 64
PROMPT = 8
QUICK = True
MOST = 0.10
"""Share of all logits that may be there at once, activations and gradients with them."""


def measured() -> tuple[float, float]:
    """GB above the idle process, and seconds."""
    torch.set_num_threads(1)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=128,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    scorer = Scorer(Qwen2ForCausalLM(config).eval(), 1.0, torch.device("cpu"))
    tokens_bS = torch.randint(
        0, VOCABULARY, (ROWS, PROMPT + TOKENS), generator=torch.Generator().manual_seed(0)
    )
    inputs = Packed(
        tokens_bS=tokens_bS,
        mask_bt=torch.ones(ROWS, TOKENS, dtype=torch.bool),
        position_bt=(PROMPT - 1 + torch.arange(TOKENS)).expand(ROWS, -1),
    )
    resident.forget_peak()
    idle, began = resident.mib(resident.NOW), time.perf_counter()
    made = scorer(inputs, frozenset({"entropy_BT"}))
    (made["logprobs_BT"].mean() - 0.01 * made["entropy_BT"].mean()).backward()
    above = resident.mib(resident.PEAK) - idle
    return above * 2**20 / 1e9, time.perf_counter() - began


def measure(arguments: Sequence[str]) -> Iterator[Found]:
    """The peak in shares of what all logits would take."""
    gigabytes, _ = measured()
    sides = {"peak": [gigabytes], "all logits": [ROWS * TOKENS * VOCABULARY * 4 / 1e9]}
    name = "peak above the idle process / all logits"
    yield Found((quotient(name, sides, most=MOST, unit="GB"),))
