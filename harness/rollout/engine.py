"""What the core asks of a rollout engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from harness import checks
from harness.distributed.ranks import Ranks
from harness.models.loading import Source
from harness.models.tokens import Tokens
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


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What of a sync reached an engine."""

    checksum: str
    """As harness.distributed.checksums.digest."""
    bytes: int


class Sampler(Protocol):
    """Samples responses."""

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        """Responses in the order of requests and items."""
        ...


class Engine(Sampler, Protocol):
    """Samples with weights that the trainer hands over."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        """Take the trainer's weights, one tensor after the other."""
        ...

    def sleep(self) -> None:
        """Give the device's memory to the trainer, until weights are loaded again."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


@dataclass(frozen=True)
class Settings:
    """How responses are drawn, whatever the engine.

    Attributes:
        max_new_tokens: the maximum response budget C, which evaluation always has.
        temperature: divides the logits of sampler and trainer alike.
        top_p: share of the probability that is sampled from, its most likely tokens; 1 = all.
        top_k: most likely tokens that are sampled from; 0 = all.
        min_new_tokens: nothing ends a response before it has so many: they hold no end token, and
            stop strings that they complete are passed over.
        accept_truncated: let top_p and top_k be used with algorithms that form importance ratios.
        stop: strings that end a response, beside the end tokens, with the token that completes one.
        max_rows: responses decoded at once.
        sync_tolerance: mean |log-prob difference| between engine and trainer that the check after
            a sync allows; null: by the numeric type, see harness.learner.sync.TOLERANCE.
    """

    needs_group: ClassVar[bool] = False
    """Whether a process group must be there before the engine."""

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_new_tokens: int = 0
    accept_truncated: bool = False
    stop: list[str] = field(default_factory=list)
    max_rows: int = 512
    sync_tolerance: float | None = None

    def __post_init__(self) -> None:
        checks.at_least("rollout.max_new_tokens", self.max_new_tokens, 1)
        checks.above("rollout.temperature", self.temperature, 0)
        checks.share("rollout.top_p", self.top_p)
        checks.at_least("rollout.top_k", self.top_k, 0)
        checks.at_least("rollout.min_new_tokens", self.min_new_tokens, 0)
        checks.at_least("rollout.max_rows", self.max_rows, 1)
        if self.sync_tolerance is not None:
            checks.above("rollout.sync_tolerance", self.sync_tolerance, 0)

    def alone(self) -> Self:
        """The same for a single process."""
        return self

    def sampling(self, window: int, temperature: float | None = None) -> Sampling:
        """How a step draws; `window` tokens at most."""
        return Sampling(
            temperature=self.temperature if temperature is None else temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_new_tokens=self.min_new_tokens,
            max_new_tokens=window,
            stop=tuple(self.stop),
        )


class RolloutConfig(Protocol):
    """A rollout config: sampling settings and the engine they are for."""

    needs_group: ClassVar[bool]
    temperature: float
    max_new_tokens: int
    max_rows: int
    sync_tolerance: float | None

    def sampling(self, window: int, temperature: float | None = None) -> Sampling:
        """How a step draws; `window` tokens at most."""
        ...

    @property
    def engine_ranks(self) -> int:
        """Neighbouring ranks that have one engine together."""
        ...

    @property
    def batch_rows(self) -> int | None:
        """Responses of the batches into which a call is cut; None: all are under way at once."""
        ...

    @property
    def cache_bytes(self) -> int | None:
        """What keys and values take on each rank; None: as much as the batch needs."""
        ...

    def check(self, source: Source, ranks: int, device: str) -> None:
        """Raise ConfigError for a model or a layout that the engine cannot run."""
        ...

    def engine(
        self,
        source: Source,
        tokens: Tokens,
        prompts: Sequence[Prompt],
        device: str,
        ranks: Ranks,
    ) -> Engine:
        """A started engine for the base model; `prompts` are all that it will ever see."""
        ...


def rollout_of(
    requests: Sequence[Request],
    tokens: Tokens,
    tokens_BT: Tensor,
    lengths_B: Tensor,
    logprobs_BT: Tensor,
    finished_B: Tensor,
) -> Rollout:
    """What was sampled, in the order of requests and items, as the stages after it want it."""
    ids = tokens.ids([r.prompt.text for r in requests])
    group_B = torch.tensor([i for i, r in enumerate(requests) for _ in r.items])
    rows = zip(tokens_BT.tolist(), lengths_B.tolist(), strict=True)
    return Rollout(
        prompts=tuple(r.prompt for r in requests for _ in r.items),
        prompt_ids=tuple(tuple(ids[group]) for group in group_B.tolist()),
        group_B=group_B,
        tokens_BT=tokens_BT,
        mask_BT=torch.arange(tokens_BT.shape[1]) < lengths_B[:, None],
        logprobs_BT=logprobs_BT,
        finished_B=finished_B,
        texts=tokens.responses([row[:length] for row, length in rows]),
    )
