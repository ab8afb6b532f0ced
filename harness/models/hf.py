"""Any causal language model in Hugging Face format: a folder or a hub name.

Gated models: set HF_TOKEN, which transformers reads by itself.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from harness.errors import ConfigError
from harness.models.loading import Source


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
        _existing(self.path, "model.path")

    def prepare(self, task: Any, runs: str) -> Source:
        path = _existing(self.path, "model.path")
        tokenizer = _existing(self.tokenizer, "model.tokenizer") if self.tokenizer else path
        return Source(
            path=path,
            hash=path,
            tokenizer=tokenizer,
            dtype=getattr(torch, self.dtype.value),
            attention=self.attention.value,
        )


def _existing(path: str, key: str) -> str:
    """The absolute folder, or the hub name as it is.

    Hub names have at most one slash and do not begin with a dot, a slash or a tilde.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{key}: {path!r} is a folder without config.json, so no model")
        return str(folder.resolve())
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ConfigError(
            f"{key}: there is no folder {path!r}; give a folder in Hugging Face format or a hub "
            f"name such as Qwen/Qwen2.5-0.5B"
        )
    return path
