"""Load a causal language model and its tokenizer from a Hugging Face folder or hub name."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError

from harness import config
from harness.errors import ConfigError
from harness.models.download import Download
from harness.models.library import transformers

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
        path: folder or hub name.
        tokenizer: folder or hub name of the tokenizer.
        files: digests of weights, settings and tokenizer (harness.models.content).
        revision, tokenizer_revision: commit of a hub model or tokenizer; None for a folder. What
            was looked at is what is loaded, whatever the hub says by then.
    """

    path: str
    tokenizer: str
    dtype: torch.dtype
    attention: str
    files: Mapping[str, str]
    revision: str | None = None
    tokenizer_revision: str | None = None

    @property
    def hash(self) -> str:
        """Identifies the base by content: equal wherever it lies."""
        return config.digest(dict(self.files))[:16]

    def at(self, path: str) -> "Source":
        """Another model, loaded in the same way.

        Raises:
            ConfigError: there is none at that folder or hub name.
        """
        folder, revision = located(path, "algorithm.critic.path")
        return replace(self, path=folder, revision=revision)

    def model(self) -> Any:
        """A fresh copy of the model in evaluation mode: no dropout, so log-probs repeat."""
        with _one_line(self.path):
            model = transformers().AutoModelForCausalLM.from_pretrained(
                self.path,
                revision=self.revision,
                dtype=self.dtype,
                attn_implementation=self.attention,
                weights_only=True,  # of files that are pickles
                tqdm_class=Download,
                **DATA_ONLY,
            )
        return model.eval()

    def config(self) -> Any:
        """The model's config, without its weights."""
        with _one_line(self.path):
            return transformers().AutoConfig.from_pretrained(
                self.path, revision=self.revision, **DATA_ONLY
            )

    def context(self) -> int | None:
        """Tokens that the model can read; None where its config does not say."""
        found: int | None = getattr(self.config(), "max_position_embeddings", None)
        return found

    def load_tokenizer(self) -> Any:
        """The tokenizer; it must name an end token."""
        with _one_line(self.tokenizer):
            tokenizer = transformers().AutoTokenizer.from_pretrained(
                self.tokenizer, revision=self.tokenizer_revision, **DATA_ONLY
            )
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

    def made(self, task: Any, runs: str) -> Source | None:
        """The base if it exists; None while `prepare` would have to make it."""
        ...


def existing(path: str, key: str) -> str:
    """The absolute folder, or the hub name as it is.

    Hub names have at most one slash and do not begin with a dot, a slash or a tilde.

    Raises:
        ConfigError: it is neither.
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


def located(path: str, key: str, file: str = "config.json") -> tuple[str, str | None]:
    """A folder and None, or a hub name and the commit that it stands for now.

    Args:
        path: folder or hub name; key: config key of it, for messages.
        file: one that such a folder has at its top.

    Raises:
        ConfigError: no such folder; a hub model that is not in the cache and cannot be reached.
    """
    found = existing(path, key)
    if Path(found).is_dir():
        return found, None
    with _one_line(found):
        utils = transformers().utils
        commit = utils.extract_commit_hash(utils.cached_file(found, file), None)
    if commit is None:
        raise ConfigError(f"{key}: the hub's {found!r} has no {file}, so it is no model")
    return found, commit


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
