"""One seed, many streams: every random choice is a function of (seed, stream, step, item).

Counter-based, so there is no generator state to save and no order in which draws must be made:
a resumed trial, a smaller batch and another variant draw the same numbers for the same choice.
Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Multipliers and key increments of Philox4x32 (Salmon et al., section 3.3).
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

Words = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 of four 32-bit counter words (held in uint64, any equal shape)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(
    seed: int, stream: str, step: int, items: ArrayLike, count: int
) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1), (len(items), count): row i belongs to items[i] alone.

    Args:
        seed: the trial's seed, 0 <= seed < 2^64.
        stream: name of the kind of choice; other names give unrelated numbers.
        step: position in time, below 2^32.
        items: what is drawn for (a response, a pass, ...), each below 2^32.
        count: numbers per item. A prefix of a longer row is the same numbers.
    """
    blocks = np.arange((count + 1) // 2, dtype=np.uint64)[None, :]
    item = np.asarray(items, dtype=np.uint64)[:, None]
    name = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=4).digest(), "big")
    shape = np.broadcast_shapes(blocks.shape, item.shape)
    c0, c1, c2, c3 = (
        np.broadcast_to(np.asarray(word, dtype=np.uint64), shape)
        for word in (blocks, item, step, name)
    )
    words = philox((c0, c1, c2, c3), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    pairs = np.stack([_unit(words[0], words[1]), _unit(words[2], words[3])], axis=-1)
    return pairs.reshape(shape[0], -1)[:, :count]


def _unit(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.float64]:
    """53 bits of two words as the middle of one of 2^53 cells: never 0, never 1 but in rounding."""
    bits = ((high << np.uint64(21)) ^ (low >> np.uint64(11))).astype(np.float64)
    return np.minimum((bits + 0.5) * 2.0**-53, 1.0 - 2.0**-53)


def number(seed: int, stream: str, step: int, item: int) -> int:
    """63 random bits, for samplers that have generators of their own."""
    name = f"{seed}/{stream}/{step}/{item}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def permutation(seed: int, stream: str, step: int, size: int) -> NDArray[np.int64]:
    """A random order of range(size), drawn by sorting one uniform number per item."""
    return np.argsort(uniforms(seed, stream, step, np.arange(size), 1)[:, 0], kind="stable")
