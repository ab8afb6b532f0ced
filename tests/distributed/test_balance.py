"""Work divided over ranks: nothing lost, nearly equal, the same on every rank."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.distributed.balance import balanced


def sums(loads: list[int], parts: list[list[int]]) -> list[int]:
    return [sum(loads[i] for i in part) for part in parts]


@st.composite
def work(draw: st.DrawFn) -> tuple[list[int], int, bool]:
    parts, equal = draw(st.integers(1, 6)), draw(st.booleans())
    count = parts * draw(st.integers(1, 8)) if equal else draw(st.integers(0, 40))
    loads = draw(st.lists(st.integers(1, 500), min_size=count, max_size=count))
    return loads, parts, equal


@given(work())
def test_every_item_once_and_no_sum_further_off_than_one_item(
    case: tuple[list[int], int, bool],
) -> None:
    loads, count, equal = case
    parts = balanced(loads, count, equal)
    assert len(parts) == count
    assert sorted(i for part in parts for i in part) == list(range(len(loads)))
    assert all(part == sorted(part) for part in parts)
    if equal:
        assert {len(part) for part in parts} == {len(loads) // count}
    found = sums(loads, parts)
    # The two sets of the last merge differ by at most the largest load; so do the sums.
    assert max(found) - min(found) <= max(loads, default=0)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(1, 3))
def test_small_cases_against_every_division(loads: list[int], count: int) -> None:
    divisions = itertools.product(range(count), repeat=len(loads))
    best = min(
        max(sum(x for x, p in zip(loads, to, strict=True) if p == part) for part in range(count))
        for to in divisions
    )
    # Largest differencing is within 7/6 of the optimum for two parts, 4/3 - 1/(3(n-1)) for n.
    assert max(sums(loads, balanced(loads, count))) <= best * 4 / 3


def test_by_hand() -> None:
    # 8-7=1, 6-5=1, 4; 4-1=3, 3-1=2: {8,6} {7,5,4} by differencing, 14 and 16.
    assert sorted(sums([8, 7, 6, 5, 4], balanced([8, 7, 6, 5, 4], 2))) == [14, 16]
    assert balanced([5], 3) == [[0], [], []]
    assert balanced([], 2) == [[], []]


def test_what_cannot_be_cut_equally_is_refused() -> None:
    with pytest.raises(ValueError, match="3 items cannot be cut into 2 equal parts"):
        balanced([1, 2, 3], 2, equal_size=True)
