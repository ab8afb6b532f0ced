"""Columns of a batch, and what the first update's own forward passes say of them.

The log-probs before the first update are, of the rows that it learns from, what its own forward
passes compute, to the bit: a pass is made for the other rows alone, unless somebody, such as a KL
in the reward, reads them before. Where the sampler's stand for them, no pass is made at all, and
the first update's says how far the two are apart, on the rows that it learns from.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import torch
from torch import Tensor

from harness.distributed.ranks import Ranks
from harness.learner.batching import Pass
from harness.types import Batch

OLD = "old_logprobs_BT"


class OldLogprobs(Enum):
    """Whose log-probs are the old ones, against which a loss takes its ratios."""

    TRAINER = "trainer"
    SAMPLER = "sampler"


@dataclass
class Awaited(Mapping[str, Tensor]):
    """Those that are there, and old_logprobs_BT: computed when it is read, or learnt of before.

    Iterating goes over what is there.
    """

    there: dict[str, Tensor]
    compute: Callable[[], Tensor] | None = None
    """Makes the pass over the rows of the first update, (B,T) and 0 on the others; None where the
    old log-probs are there, and are the sampler's."""
    others_BT: Tensor | None = None
    """The trainer's log-probs of the other rows, 0 on those; None: there are none, or no pass."""
    parts: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Of this rank's forward passes: rows, and their (b,t) log-probs; none of a dummy's."""
    own: tuple[Tensor, Tensor] | None = None
    """(B,T), after the first update: the trainer's log-probs, and the tokens that it saw."""

    def __getitem__(self, name: str) -> Tensor:
        if name == OLD and OLD not in self.there and self.compute is not None:
            self.there[OLD] = self._completed(self.compute())
        return self.there[name]

    def _completed(self, first_BT: Tensor) -> Tensor:
        """The column of all rows: each is 0 in one of two."""
        return first_BT if self.others_BT is None else first_BT + self.others_BT

    @property
    def open(self) -> bool:
        """Whether the next update's passes are to be learnt from."""
        return self.own is None and not (self.compute and OLD in self.there)

    def __contains__(self, name: object) -> bool:
        return name == OLD or name in self.there

    def __iter__(self) -> Iterator[str]:
        return iter(self.there)

    def __len__(self) -> int:
        return len(self.there)

    def learn(self, part: Pass, logprobs_bt: Tensor) -> None:
        """Keep what a pass of the first update computed."""
        rows = len(part.rows_b) * part.counts
        self.parts.append((part.rows_b[:rows], logprobs_bt[:rows]))

    def settle(self, rows_b: Tensor, mask_BT: Tensor, ranks: Ranks) -> None:
        """Make a column of what the first update's passes computed; on every rank.

        Args:
            rows_b: that it learnt from.
            mask_BT: of all rows.
        """
        own_BT = torch.zeros(mask_BT.shape, dtype=self.parts[0][1].dtype)
        for part_b, logprobs_bt in self.parts:
            own_BT[part_b, : logprobs_bt.shape[1]] = logprobs_bt
        own_BT = self._completed(ranks.added(own_BT))
        seen_BT = mask_BT
        if self.compute is None:
            seen_BT = torch.zeros_like(mask_BT)
            seen_BT[rows_b] = mask_BT[rows_b]
        self.own = (own_BT, seen_BT)
        self.there.setdefault(OLD, own_BT)
        self.parts.clear()


def compared(batch: Batch) -> tuple[Tensor, Tensor]:
    """What the sampler's log-probs are compared with, once a batch is learnt from.

    Returns:
        (B,T) log-probs of the trainer's before the first update, and the tokens that have one: all,
        or those of the first update where no pass is made.
    """
    columns = batch.columns
    if isinstance(columns, Awaited) and columns.own is not None:
        return columns.own
    return columns[OLD], batch.mask_BT


def joined(known: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Both; what is awaited still is."""
    if isinstance(known, Awaited):
        return replace(known, there={**known.there, **more})
    return {**known, **more}
