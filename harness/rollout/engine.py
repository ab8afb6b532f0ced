"""What the core asks of a rollout engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from harness.models.loading import Source
from harness.types import Prompt, Rollout, Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """Responses wanted for one prompt."""

    prompt: Prompt
    items: tuple[int, ...]
    """One response each; the number names the response's random stream."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Where the random numbers of a call come from: (seed, name, step)."""

    seed: int
    name: str
    step: int


class Engine(Protocol):
    """Samples responses with weights that the trainer hands over."""

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        """Responses in the order of requests and items."""
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take the trainer's weights."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class RolloutConfig(Protocol):
    """A rollout config: sampling settings and the engine they are for."""

    temperature: float
    max_new_tokens: int

    def sampling(self, window: int, temperature: float | None = None) -> Sampling:
        """How a step draws; `window` tokens at most."""
        ...

    def engine(
        self, source: Source, tokenizer: Any, prompts: Sequence[Prompt], device: str
    ) -> Engine:
        """A started engine for the base model; `prompts` are all that it will ever see."""
        ...
