"""What counts as an integer or a number, by hand-written tables."""

from decimal import Decimal

import pytest

from harness.tasks.numbers import integer, last_number, number

INTEGERS = [
    ("408", 408), (" 408\n", 408), ("0", 0), ("-7", -7), ("1" * 18, int("1" * 18)),
    ("", None), (" ", None), ("-", None), ("-0", None), ("007", None), ("+5", None),
    ("1,250", None), ("1 250", None), ("1_250", None), ("4.0", None), ("408.", None),
    ("4e2", None), ("0x1f", None), ("²", None), ("٤٠٨", None), ("４０８", None), ("--4", None),
    ("- 4", None), ("408 = 408", None), ("x", None), ("1" * 19, None), ("9" * 100_000, None),
]  # fmt: skip
NUMBERS = [
    ("18", "18"), (" 18 ", "18"), ("18.", "18"), ("18.0", "18"), ("$18", "18"), ("-$18", "-18"),
    ("007", "7"), ("1,250", "1250"), ("1,250,000.50", "1250000.5"), (".5", "0.5"), ("-7", "-7"),
    ("-0", "0"), ("0.10", "0.1"),
    ("", None), ("$", None), (".", None), ("1,25", None), ("1,2500", None), ("12,50,000", None),
    ("18 eggs", None), ("50%", None), ("1/2", None), ("1e3", None), ("18..", None), ("+18", None),
    ("٣", None), ("13 or 14", None), ("**18**", None), ("1" * 100_000, None),
]  # fmt: skip
TEXTS = [
    ("The answer is 13", True, "13"), ("The answer is 13, not 15.", True, "15"),
    ("16 - 3 = 13", True, "13"), ("16-3", True, "3"), ("it is -3", True, "-3"),
    ("(4)-3", True, "3"), ("=-3", True, "-3"), ("it costs $1,250.50!", True, "1250.5"),
    ("-$5 in all", True, "-5"), ("1,25", True, "25"), ("1,2500", True, "2500"),
    ("50% of 8", True, "8"), ("I do not know", True, None), ("", True, None),
    ("x²", True, None), ("٣", True, None), ("13 left" + " so" * 999, True, "13"),
    # A cut text that ends with a number may go on: 12 of 125, 1. of 1.5.
    ("The answer is 12", False, None), ("is 1.", False, None), ("is 1,", False, None),
    ("The answer is 12 ", False, "12"), ("9" * 9_999, True, None),
]  # fmt: skip


@pytest.mark.parametrize(("content", "value"), INTEGERS)
def test_integer(content: str, value: int | None) -> None:
    assert integer(content) == value


@pytest.mark.parametrize(("content", "value"), NUMBERS)
def test_number(content: str, value: str | None) -> None:
    assert number(content) == (None if value is None else Decimal(value))


@pytest.mark.parametrize(("text", "finished", "value"), TEXTS)
def test_last_number(text: str, finished: bool, value: str | None) -> None:
    assert last_number(text, finished) == (None if value is None else Decimal(value))
