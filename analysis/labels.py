"""Labels as a figure can show them: short words, a colour and a dash for each."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.svg import LIGHT, VARIANTS
from harness.machine import shown

WORD = 30  # columns of a label that are drawn; the page tells what a shorter one stands for
MOST_BRIGHT = len(VARIANTS)  # variants with a colour of their own
# Line styles repeat the colours, for print in grey and for colour-blind readers.
DASHES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (8, 2)), (0, (1, 1))]


@dataclass(frozen=True)
class Ink:
    """How a variant is drawn.

    Attributes:
        word: its label, shortened.
        colour: of the light palette.
        bright: whether it has a colour of its own, seeds and a band.
    """

    word: str
    colour: str
    dash: Any
    bright: bool


def columns(words: str) -> int:
    """Width in columns of a terminal: a Chinese character takes two, an accent none."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in words
    )


def short(words: str, most: int = WORD) -> str:
    """One line, cut in its middle to `most` columns."""
    text = shown.line(words)
    if columns(text) <= most:
        return text
    head = _fitting(text, most - most // 3 - 1)
    return f"{head}…{_fitting(text[::-1], most // 3)[::-1]}"


def _fitting(text: str, most: int) -> str:
    end = len(text)
    while columns(text[:end]) > most:
        end -= 1
    return text[:end]


def shortened(labels: Sequence[str]) -> dict[str, str]:
    """A word for every label; where two labels would share one, both get their number."""
    words = {label: short(label) for label in labels}
    taken = list(words.values())
    return {
        label: word if taken.count(word) == 1 else f"{short(label, WORD - 4)} ({number})"
        for number, (label, word) in enumerate(words.items(), 1)
    }


def inks(labels: Sequence[str], bright: Sequence[str]) -> dict[str, Ink]:
    """A colour and a dash for each of `bright`, of which there are at most MOST_BRIGHT.

    All others share the background's grey.
    """
    words = shortened(labels)
    found = {label: Ink(words[label], LIGHT["other"], "-", False) for label in labels}
    for i, label in enumerate(x for x in labels if x in set(bright)):
        found[label] = Ink(words[label], LIGHT[VARIANTS[i]], DASHES[i], True)
    return found
