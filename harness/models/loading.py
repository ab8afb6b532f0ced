"""Load a causal language model and its tokenizer from a Hugging Face folder or hub name."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError

from harness import config
from harness.errors import ConfigError
from harness.models import chat
from harness.models.download import Download
from harness.models.library import transformers
from harness.models.tokens import Tokens

# What transformers raises for a missing, foreign or broken folder.
FAILURES = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError),
    *(SafetensorError, pickle.UnpicklingError),
)
# What the folder of a model has, what a tokenizer's vocabulary lies in, and one of a tokenizer.
MODEL = ("config.json",)
VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "tekken.json")
TOKENIZER = ("tokenizer_config.json", *VOCABULARIES)
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
        text = self.config().get_text_config()
        found: int | None = getattr(text, "max_position_embeddings", None)
        return found

    def rows(self) -> int:
        """Tokens that the model has embeddings of."""
        return int(self.config().get_text_config().vocab_size)

    @cached_property
    def tokens(self) -> Tokens:
        """The tokenizer and all that ends a response: by it, the model or the chat template.

        Raises:
            ConfigError: there is no tokenizer, or nothing that ends a response.
        """
        tokenizer = tokenizer_at(self.tokenizer, self.tokenizer_revision, "model.tokenizer")
        named = [tokenizer.eos_token_id, chat.end_of_turn(tokenizer), *self._own_ends()]
        ends = tuple(sorted({int(end) for end in named if end is not None}))
        if not ends:
            raise ConfigError(
                f"model.tokenizer {self.tokenizer!r} has no end-of-sequence token, and the model "
                f"names none; set eos_token in its tokenizer_config.json"
            )
        return Tokens(tokenizer, ends)

    def _own_ends(self) -> list[int | None]:
        """End tokens of generation_config.json; where there is none, of config.json."""
        file, options = "generation_config.json", {"revision": self.revision}
        with _one_line(self.path):
            found = transformers().utils.cached_file(
                self.path, file, _raise_exceptions_for_missing_entries=False, **options
            )
            settings = (
                self.config().get_text_config()
                if found is None
                else transformers().GenerationConfig.from_pretrained(self.path, **options)
            )
        ends = settings.eos_token_id
        return list(ends) if isinstance(ends, (list, tuple)) else [ends]


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


def tokenizer_at(path: str, revision: str | None, key: str) -> Any:
    """The tokenizer of a folder or a hub name.

    Raises:
        ConfigError: there is none, or it cannot be read; `key` is what names it.
    """
    folder = Path(path)
    if folder.is_dir() and not _any_file(folder, VOCABULARIES):  # it would be an empty one
        raise ConfigError(
            f"{key}: there is no tokenizer in the folder {path!r} (none of "
            f"{', '.join(VOCABULARIES)}); name a folder or hub name that has one: {key}=..."
        )
    # The tokenizers library raises bare Exceptions for files that it cannot read.
    with _one_line(path, key, (Exception,)):
        return transformers().AutoTokenizer.from_pretrained(path, revision=revision, **DATA_ONLY)


def _any_file(folder: Path, patterns: Sequence[str]) -> bool:
    return any(file.is_file() for pattern in patterns for file in folder.glob(pattern))


def existing(path: str, key: str, has: Sequence[str] = MODEL) -> str:
    """The absolute folder, or the hub name as it is.

    Hub names have at most one slash and do not begin with a dot, a slash or a tilde.

    Raises:
        ConfigError: it is neither.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not _any_file(folder, has):
            raise ConfigError(
                f"{key}: {path!r} is a folder without {has[0]}; give a folder in Hugging Face "
                f"format or a hub name"
            )
        return str(folder.resolve())
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ConfigError(
            f"{key}: there is no folder {path!r}; give a folder in Hugging Face format or a hub "
            f"name such as Qwen/Qwen2.5-0.5B"
        )
    return path


def located(path: str, key: str, has: Sequence[str] = MODEL) -> tuple[str, str | None]:
    """A folder and None, or a hub name and the commit that it stands for now.

    Args:
        path: folder or hub name; key: config key of it, for messages.
        has: patterns of files of which such a folder has one at its top, and a hub model the
            first.

    Raises:
        ConfigError: no such folder; a hub model that is not in the cache and cannot be reached.
    """
    found = existing(path, key, has)
    if Path(found).is_dir():
        return found, None
    with _one_line(found, key):
        utils = transformers().utils
        commit = utils.extract_commit_hash(utils.cached_file(found, has[0]), None)
    if commit is None:
        raise ConfigError(f"{key}: the hub's {found!r} has no {has[0]}, so it is no model")
    return found, commit


@contextmanager
def _one_line(
    path: str, key: str = "model.path", failures: tuple[type[Exception], ...] = FAILURES
) -> Iterator[None]:
    """Word what transformers raises for a missing or broken model in one line."""
    try:
        yield
    except failures as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"model {path!r} cannot be loaded: {reason}; give {key} a folder in "
            f"Hugging Face format or a hub name that this machine reaches"
        ) from error
