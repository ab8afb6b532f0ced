"""Streams: the published vectors of Philox, an oracle in Python integers, and independence."""

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.maths import streams

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
WORD = 0xFFFFFFFF
SEEDS = st.integers(0, 2**64 - 1)
STEPS = st.integers(0, 2**32 - 1)
ITEMS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8, unique=True)

# kat_vectors of Random123 1.14 (Salmon et al.): counter, key -> philox4x32-10.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in Python integers, after section 3.3 of the paper."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def slow_uniform(seed: int, stream: str, step: int, item: int, index: int) -> float:
    """One number: 53 bits of two words, the middle of its cell."""
    name = int(hashlib.blake2b(stream.encode(), digest_size=4).hexdigest(), 16)
    four = slow_philox([index // 2, item, step, name], [seed % 2**32, seed // 2**32])
    high, low = four[2 * (index % 2) : 2 * (index % 2) + 2]
    # The last cell's middle, 1 - 2^-54, would round to 1.
    return min(((high * 2**32 + low) // 2**11 + 0.5) / 2**53, 1 - 2**-53)


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    one: Any = tuple(np.array([word], dtype=np.uint64) for word in words(counter))
    k0, k1 = words(key)
    got = [int(word[0]) for word in streams.philox(one, (k0, k1))]
    assert got == words(expected)
    assert slow_philox(words(counter), words(key)) == words(expected)


@SETTINGS
@given(SEEDS, st.text(max_size=12), STEPS, ITEMS, st.integers(1, 7))
def test_uniforms_agree_with_python_integers(
    seed: int, stream: str, step: int, items: list[int], count: int
) -> None:
    got = streams.uniforms(seed, stream, step, items, count)
    expected = [[slow_uniform(seed, stream, step, i, j) for j in range(count)] for i in items]
    assert got.tolist() == expected


@SETTINGS
@given(SEEDS, STEPS, ITEMS, st.integers(1, 9), st.data())
def test_a_row_belongs_to_its_item_alone(
    seed: int, step: int, items: list[int], count: int, data: st.DataObject
) -> None:
    whole = dict(zip(items, streams.uniforms(seed, "s", step, items, count), strict=True))
    some = data.draw(st.lists(st.sampled_from(items), min_size=1))
    part = streams.uniforms(seed, "s", step, some, count)
    assert all(np.array_equal(row, whole[item]) for item, row in zip(some, part, strict=True))


@SETTINGS
@given(SEEDS, STEPS, ITEMS, st.integers(1, 9), st.integers(0, 9))
def test_fewer_numbers_are_a_prefix(
    seed: int, step: int, items: list[int], count: int, more: int
) -> None:
    short = streams.uniforms(seed, "s", step, items, count)
    long = streams.uniforms(seed, "s", step, items, count + more)
    assert short.shape == (len(items), count)
    assert np.array_equal(short, long[:, :count])


BASE: dict[str, Any] = {"seed": 7, "stream": "rollout", "step": 5, "items": [9], "count": 6}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"seed": 7 + 2**32},  # the high word of the key
        {"seed": 7 + 2**63},
        {"stream": "eval"},
        {"step": 6},
        {"items": [10]},
        {"step": 9, "items": [5]},  # step and item do not stand in for each other
    ],
    ids=str,
)
def test_every_argument_names_another_stream(change: dict[str, Any]) -> None:
    one, other = streams.uniforms(**BASE), streams.uniforms(**{**BASE, **change})
    assert not np.isin(one, other).any()


def test_a_pinned_row() -> None:
    """Another value here is another draw in every trial ever recorded."""
    got = streams.uniforms(0, "rollout", 0, [0, 1], 2)
    assert got.tolist() == [
        [0.30883240105038495, 0.2657657783501564],
        [0.725516849729817, 0.2055876008809308],
    ]


def test_never_zero_and_never_one() -> None:
    edges = np.array([0, WORD], dtype=np.uint64)
    # 53 zero bits: 0.5 cells of 2^-53. 53 one bits: 1 - 2^-54, held below 1.
    assert streams._unit(edges, edges).tolist() == [2.0**-54, 1 - 2.0**-53]


@pytest.mark.parametrize(
    "sample",
    [
        streams.uniforms(1, "ks", 0, [0], 20_000)[0],  # along a row
        streams.uniforms(1, "ks", 0, range(20_000), 1)[:, 0],  # along items
        streams.uniforms(1, "ks", 0, range(20_000), 2)[:, 1],
        np.concatenate([streams.uniforms(1, "ks", t, [3], 1)[0] for t in range(2_000)]),
        np.concatenate([streams.uniforms(s, "ks", 0, [3], 1)[0] for s in range(2_000)]),
    ],
    ids=["row", "items", "second", "steps", "seeds"],
)
def test_uniform_and_uncorrelated(sample: np.ndarray) -> None:
    assert stats.kstest(sample, "uniform").pvalue > 0.01
    lagged = np.corrcoef(sample[:-1], sample[1:])[0, 1]
    assert abs(lagged) < 3 / np.sqrt(len(sample))  # sd of a correlation of independent numbers


@SETTINGS
@given(SEEDS, STEPS, st.integers(1, 40))
def test_permutation_is_one(seed: int, step: int, size: int) -> None:
    assert sorted(streams.permutation(seed, "order", step, size)) == list(range(size))


def test_permutation_varies_with_all_that_names_it() -> None:
    named = [(0, "a", 0), (0, "a", 1), (1, "a", 0), (2**32, "a", 0), (0, "b", 0)]
    orders = {tuple(streams.permutation(*name, 30).tolist()) for name in named}
    assert len(orders) == len(named)


def test_every_order_is_equally_likely() -> None:
    orders = [tuple(streams.permutation(0, "order", t, 3).tolist()) for t in range(3_000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01  # 500 each expected
