"""Any causal language model in Hugging Face format: a folder or a hub name.

Gated models: set HF_TOKEN, which transformers reads by itself.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from harness.models import content
from harness.models.loading import TOKENIZER, Source, existing, located


class Dtype(Enum):
    """Numeric type of the weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Attention(Enum):
    """Attention implementation of transformers."""

    SDPA = "sdpa"
    EAGER = "eager"
    FLASH_2 = "flash_attention_2"


@dataclass(frozen=True)
class HuggingFace:
    """A model that exists already.

    Attributes:
        path: folder or hub name.
        dtype: of the weights.
        attention: implementation.
        tokenizer: folder or hub name; null takes the model's own.
    """

    path: str
    dtype: Dtype = Dtype.FLOAT32
    attention: Attention = Attention.SDPA
    tokenizer: str | None = None

    def check(self, task: Any) -> None:
        existing(self.path, "model.path")

    def made(self, task: Any, runs: str) -> Source | None:
        return self.prepare(task, runs)

    def prepare(self, task: Any, runs: str) -> Source:
        path, revision = located(self.path, "model.path")
        tokenizer, tokenizer_revision = path, revision
        if self.tokenizer:
            tokenizer, tokenizer_revision = located(self.tokenizer, "model.tokenizer", TOKENIZER)
        digests = content.of_model(path, revision, runs)
        digests |= content.of_tokenizer(tokenizer, tokenizer_revision, runs)
        return Source(
            path=path,
            tokenizer=tokenizer,
            dtype=getattr(torch, self.dtype.value),
            attention=self.attention.value,
            files=digests,
            revision=revision,
            tokenizer_revision=tokenizer_revision,
        )
