"""What stands in a cell, read as what it is or refused by file, row and column.

| in the file | as text | as an answer |
| --- | --- | --- |
| text | itself; empty or blank text is refused | as text |
| whole number | refused | its digits |
| number with a point or exponent | refused | without zeros at the end: `4.0` is `4` |
| NaN, infinity | refused | refused |
| true, a date, bytes, a list, an object | refused | refused |
| null, no such column | refused | refused |

A column of floats with a null in it is how many tools store whole numbers. A binary float beyond
2^53 is refused: it may stand for another whole number. In JSON lines numbers are decimal, to the
last digit.
"""

import math
from decimal import Decimal
from typing import Any

from harness.tasks.rows import Row

# From here on floats have no room for every whole number.
EXACT_BELOW = 2**53
# Decimal exponents of the largest and the smallest float; a wider number is a typing error, and
# would be written with as many digits.
LARGEST, SMALLEST = 308, -324
# Characters of a wrong cell that are shown.
SHOWN = 40


def text(row: Row, column: str) -> str:
    """The text in a cell, as it is.

    Raises:
        ConfigError: it is no text, blank, or has a character that no tokenizer can read.
    """
    value = row.value(column)
    if not isinstance(value, str):
        row.refuse(column, f"must be text, is {shown(value)}")
    return checked(row, column, value)


def answer(row: Row, column: str) -> str:
    """The answer in a cell, as text: the table above.

    Raises:
        ConfigError: it is neither text nor a number, or is not exact.
    """
    value = row.value(column)
    if isinstance(value, str):
        return checked(row, column, value)
    if isinstance(value, (bool, list, dict)) or not isinstance(value, (int, float, Decimal)):
        what = f"must be text or a number, is {shown(value)}"
        row.refuse(column, f"{what}; write the text that your grader is to get")
    return _digits(row, column, value)


def whole(row: Row, column: str, value: Any) -> int:
    """A whole number in a cell, or in a list in it.

    Raises:
        ConfigError: it is none.
    """
    number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    digits = _digits(row, column, value) if number else ""
    if not digits.removeprefix("-").isdecimal():
        row.refuse(column, f"must be a whole number, is {shown(value)}")
    return int(digits)


def decimal(value: Decimal) -> str:
    """A number in digits, without an exponent and without zeros behind its fraction."""
    digits = f"{value:f}"
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits == "-0" else digits


def checked(row: Row, column: str, value: str) -> str:
    """A text, if a model can be asked or told it.

    Raises:
        ConfigError: it is blank, or has half of a surrogate pair.
    """
    if not value.strip():
        row.refuse(column, f"is empty ({value!r:.{SHOWN}}); fill it in or leave the row out")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        row.refuse(column, f"has half of a surrogate pair, {half!r}; write the whole character")
    return value


def shown(value: Any) -> str:
    """A wrong cell, as a message shows it: JSON's own words, cut."""
    words = {True: "true", False: "false"}
    if isinstance(value, bool):
        return words[value]
    if isinstance(value, (float, Decimal)):
        return str(value)
    return f"{type(value).__name__} {value!r:.{SHOWN}}"


def _digits(row: Row, column: str, value: int | float | Decimal) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            row.refuse(column, f"must be a finite number, is {value}")
        if abs(value) >= EXACT_BELOW:
            what = f"is {value!r}, where floats skip whole numbers"
            row.refuse(column, f"{what}; store it as text or as an integer")
        value = Decimal(repr(value))
    if value and not SMALLEST <= value.adjusted() <= LARGEST:
        row.refuse(column, f"is {value}, out of the range of numbers; store it as text")
    return decimal(value)
