"""Divide work over ranks so that none waits long for the others."""

import heapq
from collections.abc import Sequence


def balanced(loads: Sequence[int], parts: int, equal_size: bool = False) -> list[list[int]]:
    """Positions of `loads` in `parts` lists whose sums are nearly equal.

    The largest differencing method (Karmarkar and Karp, 1982): the two sets of part-sums that are
    furthest apart are merged, large parts of one onto small parts of the other, until one is left.

    Args:
        loads: of each item, such as its tokens.
        parts: number of lists.
        equal_size: every list gets len(loads) / parts items.

    Returns:
        The lists, each in rising order; where there are fewer items than parts, some are empty.

    Raises:
        ValueError: equal_size and a number of items that parts does not divide.
    """
    if equal_size and len(loads) % parts:
        raise ValueError(f"{len(loads)} items cannot be cut into {parts} equal parts")
    order = sorted(range(len(loads)), key=lambda i: (loads[i], i))
    size = parts if equal_size else 1
    states = []
    for number, start in enumerate(range(0, len(order), size)):
        items = [[i] for i in order[start : start + size]]
        items += [[] for _ in range(parts - len(items))]
        states.append(_State.of([(sum(loads[i] for i in part), part) for part in items], number))
    heapq.heapify(states)
    while len(states) > 1:
        first, second = heapq.heappop(states), heapq.heappop(states)
        heapq.heappush(states, first.merged(second))
    return [sorted(part) for _, part in states[0].parts] if states else [[] for _ in range(parts)]


class _State:
    """Part-sums from large to small; the furthest apart comes first in a heap."""

    def __init__(self, parts: list[tuple[int, list[int]]], number: int) -> None:
        self.parts = parts
        self.number = number  # ties are broken the same way on every rank

    @classmethod
    def of(cls, parts: list[tuple[int, list[int]]], number: int) -> "_State":
        return cls(sorted(parts, key=lambda part: (-part[0], part[1])), number)

    def merged(self, other: "_State") -> "_State":
        pairs = zip(self.parts, reversed(other.parts), strict=True)
        return _State.of([(a + b, x + y) for (a, x), (b, y) in pairs], self.number)

    def __lt__(self, other: "_State") -> bool:
        mine, theirs = (s.parts[0][0] - s.parts[-1][0] for s in (self, other))
        return (-mine, self.number) < (-theirs, other.number)
