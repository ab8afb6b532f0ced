"""Checksums: of shards as of the whole, and of every bit."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from harness.distributed.checksums import Noted, added, digest, sums


def test_by_hand() -> None:
    # float32 1.0 is 0x3F800000 = 1065353216, -2.0 is 0xC0000000, as int32 -1073741824:
    # their sum -8388608, and the sum of their squares.
    expected = (2**64 - 8388608, 1065353216**2 + 1073741824**2)
    assert sums(torch.tensor([1.0, -2.0])) == expected
    # bfloat16 1.0 is 0x3F80 = 16256.
    assert sums(torch.tensor([1.0], dtype=torch.bfloat16)) == (16256, 16256**2)


@given(
    rows=st.integers(1, 9),
    cut=st.integers(0, 9),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_shards_add_up_to_the_whole(rows: int, cut: int, dtype: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(rows * 10 + cut)
    x = torch.randn(rows, 7, generator=draws).to(dtype)
    parts = [{"x": sums(x[: min(cut, rows)])}, {"x": sums(x[min(cut, rows) :])}]
    assert added(parts) == {"x": sums(x)}


@given(place=st.integers(0, 999), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_smallest_change_of_one_number_shows(place: int, dtype: torch.dtype) -> None:
    x = torch.linspace(-1, 1, 1000).to(dtype)
    changed = x.clone()
    bits = changed.view(torch.int16 if dtype is torch.bfloat16 else torch.int32)
    bits[place] ^= 1
    assert sums(changed) != sums(x)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-3, 3, 1001)
    whole = sums(x)
    monkeypatch.setattr("harness.distributed.checksums.CHUNK", 10)
    assert sums(x) == whole


def test_what_passes_is_noted_and_left_as_it_is() -> None:
    weights = [("a", torch.ones(2, 3)), ("b", torch.zeros(4, dtype=torch.bfloat16))]
    noted = Noted(weights)
    assert [(name, x.data_ptr()) for name, x in noted] == [(n, x.data_ptr()) for n, x in weights]
    assert noted.bytes == 2 * 3 * 4 + 4 * 2
    expected = {name: sums(x) for name, x in weights}
    assert digest(noted.seen) == digest(expected)
    assert digest(noted.seen) == digest(dict(reversed(expected.items())))
    assert digest({"a": expected["a"]}) != digest(expected)
    assert digest({"a": expected["b"], "b": expected["a"]}) != digest(expected)
