"""Numbers as models write them: what counts as one, and its exact value."""

import re
from decimal import Decimal

# More digits than this are no answer to anything here, and cost time to read.
MAX_DIGITS = 18
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
# Digits with or without commas between thousands, and a fraction.
_SIZE = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(rf"(-?)\$?({_SIZE})\.?")
# In a text: a minus sign after a digit, a letter or a bracket subtracts.
_IN_TEXT = re.compile(rf"((?<![\w.)])-)?\$?({_SIZE})")


def integer(content: str) -> int | None:
    """The integer that a text is.

    ASCII digits with an optional minus sign, white space around them ignored. No plus sign, no
    commas, no leading zeros, no fraction, at most MAX_DIGITS digits: all that is no integer.
    """
    text = content.strip()
    if not _INTEGER.fullmatch(text) or len(text.lstrip("-")) > MAX_DIGITS:
        return None
    return int(text)


def number(content: str) -> Decimal | None:
    """The number that a text is.

    As `integer`, but with a fraction, leading zeros, commas between thousands, a dollar sign and
    a full stop at the end if need be; units (`13 eggs`, `50%`) make it no number. `18`, `18.` and
    `18.0` are equal.
    """
    match = _NUMBER.fullmatch(content.strip())
    return _value(match[1], match[2]) if match else None


def last_number(text: str, finished: bool) -> Decimal | None:
    """The last number in a text; None where a cut text ends with it, for it may go on."""
    matches = list(_IN_TEXT.finditer(text))
    if not matches or (not finished and matches[-1].end() == len(text.rstrip(".,"))):
        return None
    return _value(matches[-1][1] or "", matches[-1][2])


def _value(sign: str, size: str) -> Decimal | None:
    digits = size.replace(",", "")
    return Decimal(sign + digits) if len(digits) <= 2 * MAX_DIGITS else None
