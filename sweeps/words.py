"""Short forms of what is printed."""

from collections.abc import Sequence

HOUR_S = 3600
# 100 * .58 is a hair below 58.
ROUNDING = 1e-9


def ranges(numbers: Sequence[int]) -> str:
    """`0-2, 5` for 0, 1, 2, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float) -> str:
    """`99%` of .997, rounded down: 100 % is said only of what is done."""
    return f"{int(100 * share + ROUNDING)}%"
