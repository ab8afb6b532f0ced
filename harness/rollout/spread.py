"""Sampling shared by the ranks: each draws for its part of the prompts, and all get everything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.distributed.ranks import Ranks
from harness.machine.progress import weighted
from harness.rollout.engine import Engine, Receipt, Request, Stream
from harness.types import Rollout, Sampling


@dataclass(frozen=True)
class Spread:
    """The ranks' engines as one. A response does not depend on who draws it.

    Attributes:
        together: neighbouring ranks that are one engine (tensor parallel): they all draw the same.
    """

    engine: Engine
    ranks: Ranks
    together: int = 1

    @property
    def engines(self) -> int:
        """How many there are."""
        return self.ranks.count // self.together

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        own = Ranks(self.ranks.rank // self.together, self.engines).share(requests)
        with weighted(self.engines):
            part = self.engine.generate(own, sampling, stream) if own else None
        speaks = self.ranks.rank % self.together == 0
        parts = [p for p in self.ranks.gathered(part if speaks else None) if p is not None]
        return parts[0] if len(parts) == 1 else Rollout.joined(parts)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        return self.engine.load_weights(weights)

    def sleep(self) -> None:
        self.engine.sleep()

    def close(self) -> None:
        self.engine.close()
