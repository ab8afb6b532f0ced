"""Checksums of weights: equal on both sides of a sync when the same bits are there.

Of each tensor the sum of its bits, read as integers, and the sum of their squares, modulo 2^64:
what shards have can be added, so that no rank ever needs more than its own.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

Sums = tuple[int, int]

# Numbers looked at at once: as integers they take up to four times their own memory.
CHUNK = 1 << 22
# The integers that have as many bits as a number.
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_MODULUS = 1 << 64


def sums(x: Tensor) -> Sums:
    """Of one tensor or shard, of any floating type."""
    bits = x.detach().contiguous().flatten().view(BITS[x.dtype.itemsize])
    both = bits.new_zeros(2, dtype=torch.int64)  # on the tensor's device, which is asked once
    for part in torch.split(bits, CHUNK):
        whole = part.long()  # int64 overflows into what is wanted: the sum modulo 2^64
        both += torch.stack([whole.sum(), (whole * whole).sum()])
    first, second = both.tolist()
    return first % _MODULUS, second % _MODULUS


def added(parts: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Of whole tensors, from those of their shards."""
    found: dict[str, Sums] = {}
    for part in parts:
        for name, (first, second) in part.items():
            one, two = found.get(name, (0, 0))
            found[name] = (one + first) % _MODULUS, (two + second) % _MODULUS
    return found


def digest(of: Mapping[str, Sums]) -> str:
    """One name for all of them, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(of.items())).encode()).hexdigest()[:16]


class Noted:
    """Named tensors on their way, and what passed."""

    def __init__(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.weights = weights
        self.seen: dict[str, Sums] = {}
        self.bytes = 0

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, weight in self.weights:
            self.seen[name] = sums(weight)
            self.bytes += weight.numel() * weight.element_size()
            yield name, weight
