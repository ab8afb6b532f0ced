"""Text that others wrote, made fit to be shown: what would act on a reader's screen is an escape.

Questions, labels, responses, paths and error texts may hold anything. A terminal obeys ESC, a
pager stops at NUL, a browser reverses what follows U+202E, and no file can hold a lone surrogate.
What Python does not call printable is therefore shown as Python writes it: `\\x1b`, `\\u202e`.
"""

import re

# Layout of a text file; all else that separates or moves (a lone \r, U+2028) is shown.
_BREAKS = re.compile(r"(?:[ \t\n]|\r\n)+")


def block(value: object) -> str:
    """The text with its line breaks; every other character that is not printable is an escape."""
    text = str(value)
    return text if text.isprintable() else "".join(map(_visible, text))


def line(value: object) -> str:
    """The text on one line: breaks, tabs and runs of spaces become one space."""
    return block(_BREAKS.sub(" ", str(value)).strip(" "))


def shortened(text: str, room: int) -> str:
    """The text, or its two ends around an ellipsis."""
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: max(0, room - 1 - tail)]}…{text[len(text) - tail :]}"[:room]


def storable(text: str) -> str:
    """The text with lone surrogates as escapes, which neither a database nor a file can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _visible(character: str) -> str:
    keep = character == "\n" or character.isprintable()
    return character if keep else repr(character)[1:-1]
