"""Load a causal language model and its tokenizer from a Hugging Face folder or hub name."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from harness.errors import ConfigError

transformers_logging.disable_progress_bar()  # three bars for every checkpoint hide our own lines

# What transformers raises for a missing, foreign or broken folder.
FAILURES = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError),
    *(SafetensorError, pickle.UnpicklingError),
)
# A folder in Hugging Face format may bring Python files; none is run, and nothing asks for it.
DATA_ONLY: dict[str, Any] = {"trust_remote_code": False}


@dataclass(frozen=True)
class Source:
    """Where a model lies and how it is loaded.

    Attributes:
        path: folder or hub name; hash: identifies the weights in records.
        tokenizer: folder or hub name of the tokenizer.
    """

    path: str
    hash: str
    tokenizer: str
    dtype: torch.dtype
    attention: str

    def model(self) -> Any:
        """A fresh copy of the model in evaluation mode: no dropout, so log-probs repeat."""
        with _one_line(self.path):
            model = AutoModelForCausalLM.from_pretrained(
                self.path,
                dtype=self.dtype,
                attn_implementation=self.attention,
                weights_only=True,  # of files that are pickles
                **DATA_ONLY,
            )
        return model.eval()

    def config(self) -> Any:
        """The model's config, without its weights."""
        with _one_line(self.path):
            return AutoConfig.from_pretrained(self.path, **DATA_ONLY)

    def context(self) -> int | None:
        """Tokens that the model can read; None where its config does not say."""
        found: int | None = getattr(self.config(), "max_position_embeddings", None)
        return found

    def load_tokenizer(self) -> Any:
        """The tokenizer; it must name an end token."""
        with _one_line(self.tokenizer):
            tokenizer = AutoTokenizer.from_pretrained(self.tokenizer, **DATA_ONLY)
        if tokenizer.eos_token_id is None:
            raise ConfigError(f"model.tokenizer {self.tokenizer!r} has no end-of-sequence token")
        if tokenizer.pad_token is None:  # padding is masked: any token will do
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer


class Model(Protocol):
    """A base model's config: makes or finds the weights."""

    def check(self, task: Any) -> None:
        """Raise ConfigError for a model that cannot be had, before anything is written."""
        ...

    def prepare(self, task: Any, runs: str) -> Source:
        """Make sure that the base exists; raises ConfigError when it cannot."""
        ...


@contextmanager
def _one_line(path: str) -> Iterator[None]:
    """Word what transformers raises for a missing or broken model in one line."""
    try:
        yield
    except FAILURES as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"model {path!r} cannot be loaded: {reason}; give model.path a folder in "
            f"Hugging Face format or a hub name that this machine reaches"
        ) from error
