"""Columns of a batch, one of which may be left for later.

The log-probs before the first update are what that update's own forward passes compute, to the bit,
where it learns from every row: no pass of their own is made for them unless somebody, such as a KL
in the reward, reads them before.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.distributed.ranks import Ranks
from harness.learner.batching import Pass

OLD = "old_logprobs_BT"


@dataclass
class Awaited(Mapping[str, Tensor]):
    """Those that are there, and old_logprobs_BT: computed when it is read, or learnt of before.

    Iterating goes over what is there.
    """

    there: dict[str, Tensor]
    compute: Callable[[], Tensor]
    """Makes the pass."""
    parts: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Of this rank's forward passes: rows, and their (b,t) log-probs; none of a dummy's."""

    def __getitem__(self, name: str) -> Tensor:
        if name == OLD and OLD not in self.there:
            self.there[OLD] = self.compute()
        return self.there[name]

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

    def settle(self, mask_BT: Tensor, ranks: Ranks) -> None:
        """Make the column of what the first update's passes computed; on every rank.

        Args:
            mask_BT: of all rows.
        """
        old_BT = torch.zeros(mask_BT.shape, dtype=self.parts[0][1].dtype)
        for rows_b, logprobs_bt in self.parts:
            old_BT[rows_b, : logprobs_bt.shape[1]] = logprobs_bt
        self.there[OLD] = ranks.added(old_BT)
        self.parts.clear()


def joined(known: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Both; a column that is awaited still is."""
    if isinstance(known, Awaited):
        return Awaited({**known.there, **more}, known.compute)
    return {**known, **more}
