"""Sampling shared by the ranks: each draws for its part of the prompts, and all get everything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.ranks import Ranks
from harness.rollout.engine import Engine, Request, Stream
from harness.types import Rollout, Sampling


@dataclass(frozen=True)
class Spread:
    """The ranks' engines as one. A response does not depend on who draws it."""

    engine: Engine
    ranks: Ranks

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        own = self.ranks.share(requests)
        part = self.engine.generate(own, sampling, stream) if own else None
        parts = [part for part in self.ranks.gathered(part) if part is not None]
        return parts[0] if len(parts) == 1 else Rollout.joined(parts)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.engine.load_weights(weights)

    def close(self) -> None:
        self.engine.close()
