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
    for start in range(0, len(order), size):
        items = [[i] for i in order[start : start + size]]
        items += [[] for _ in range(parts - len(items))]
        states.append(_State([(sum(loads[i] for i in part), part) for part in items]))
    heapq.heapify(states)
    while len(states) > 1:
        first, second = heapq.heappop(states), heapq.heappop(states)
        heapq.heappush(states, first.merged(second))
    return [sorted(part) for _, part in states[0].parts] if states else [[] for _ in range(parts)]


class _State:
    """Parts from large to small; in a heap the one with the widest spread comes first."""

    def __init__(self, parts: list[tuple[int, list[int]]]) -> None:
        # Ties are broken by what the parts hold, so that every rank comes to the same lists.
        self.parts = sorted(parts, key=lambda part: (part[0], len(part[1]), part[1]), reverse=True)
        largest, smallest = self.parts[0], self.parts[-1]
        self.rank = (smallest[0] - largest[0], -largest[0], -len(largest[1]), largest[1])

    def merged(self, other: "_State") -> "_State":
        pairs = zip(self.parts, reversed(other.parts), strict=True)
        return _State([(a + b, x + y) for (a, x), (b, y) in pairs])

    def __lt__(self, other: "_State") -> bool:
        return self.rank < other.rank
