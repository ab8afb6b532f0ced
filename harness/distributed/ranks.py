"""The processes of one trial: what each does alone, and what they tell each other.

Everything that is told is small and travels over gloo; gradients and shards are FSDP's. With one
rank nothing is told, nothing is waited for, and no process group is needed.
"""

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """One of `count` processes that run the same program on the same data."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's consecutive part of some items; sizes differ by one at most."""
        ends = [len(items) * r // self.count for r in range(self.count + 1)]
        return items[ends[self.rank] : ends[self.rank + 1]]

    def gathered(self, own: T) -> list[T]:
        """What every rank has, in their order."""
        if self.count == 1:
            return [own]
        found: list[T | None] = [None] * self.count
        dist.all_gather_object(found, own)
        return found  # type: ignore[return-value]

    def agreed(self, value: T) -> T:
        """What the first rank has: for clocks and for files that others may write to."""
        return self.gathered(value if self.first else None)[0]  # type: ignore[return-value]

    def most(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        return max(self.gathered(number))

    def added(self, x: Tensor) -> Tensor:
        """Sum of the ranks' tensors, in their order."""
        if self.count == 1:
            return x
        return torch.stack(self.gathered(x)).sum(0)

    def summed(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums of the ranks' numbers by name; a rank may lack some."""
        parts = self.gathered(dict(values))
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}


ALONE = Ranks()


@contextmanager
def joined(rank: int, count: int, address: str | None, device: str) -> Iterator[Ranks]:
    """A process group of `count` ranks, left again at the end.

    Args:
        address: host:port of the first rank; None for a group of one.
        device: cpu or cuda; on cuda gradients and shards travel over NCCL.
    """
    backend = "gloo" if device == "cpu" else f"cpu:gloo,{device}:nccl"
    if address is None:
        dist.init_process_group(backend, store=HashStore(), rank=rank, world_size=count)
    else:
        dist.init_process_group(
            backend, init_method=f"tcp://{address}", rank=rank, world_size=count
        )
    leave = count == 1
    try:
        yield Ranks(rank, count)
        leave = True
    finally:
        if leave:  # after an error the others may be waiting, and leaving would wait for them
            gc.collect()  # sharded modules lie in cycles; their threads must end before Python does
            dist.destroy_process_group()
