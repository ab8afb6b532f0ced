"""Arithmetic expressions of a response: a small grammar, exact, never `eval`.

    expression := term (("+" | "-") term)*
    term       := factor (("*" | "/") factor)*
    factor     := "-" factor | "(" expression ")" | number
    number     := "0" | [1-9][0-9]*            ASCII digits, at most MAX_DIGITS

White space may stand between symbols. Everything else is invalid: `**`, `//`, decimals, `=`,
implicit multiplication, leading zeros, other alphabets' digits, unary plus, division by zero.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

# A right answer to a task of six three-digit numbers needs under 60 characters.
MAX_CHARACTERS = 256
# Parentheses and unary minuses; far below Python's recursion limit.
MAX_DEPTH = 32
# Keeps the integers small: no million-digit products.
MAX_DIGITS = 12

_ALPHABET = re.compile(r"[0-9+\-*/() \t\r\n]*")
_SYMBOL = re.compile(r"[0-9]+|[-+*/()]")
END = ""  # what stands after the last symbol


@dataclass(frozen=True)
class Expression:
    """Value of an expression and the numbers written in it, in order."""

    value: Fraction
    numbers: tuple[int, ...]


# Numerator and denominator: never 0 below, not reduced. MAX_CHARACTERS bounds the digits of both,
# and Fraction would reduce after every operation, which takes most of the time of a grading.
Ratio = tuple[int, int]


class _InvalidError(Exception):
    """The text is no expression of the grammar."""


def parse(text: str) -> Expression | None:
    """The exact value of an expression, or None when the text is not one."""
    if len(text) > MAX_CHARACTERS or _ALPHABET.fullmatch(text) is None:
        return None
    parser = _Parser(_SYMBOL.findall(text))
    try:
        above, below = parser.expression(0)
    except _InvalidError:
        return None
    if parser.next != END:
        return None
    return Expression(Fraction(above, below), tuple(parser.numbers))


class _Parser:
    """Recursive descent over the symbols; depth is bounded by MAX_DEPTH."""

    def __init__(self, symbols: list[str]) -> None:
        self.rest = iter(symbols)
        self.next = next(self.rest, END)
        self.numbers: list[int] = []

    def expression(self, depth: int) -> Ratio:
        above, below = self._term(depth)
        while (sign := self.next) == "+" or sign == "-":
            self.next = next(self.rest, END)
            a, b = self._term(depth)
            a = a if sign == "+" else -a
            above, below = above * b + a * below, below * b
        return above, below

    def _term(self, depth: int) -> Ratio:
        above, below = self._factor(depth)
        while (sign := self.next) == "*" or sign == "/":
            self.next = next(self.rest, END)
            a, b = self._factor(depth)
            if sign == "/":
                if a == 0:
                    raise _InvalidError
                a, b = b, a
            above, below = above * a, below * b
        return above, below

    def _factor(self, depth: int) -> Ratio:
        if depth >= MAX_DEPTH:
            raise _InvalidError
        symbol = self.next
        self.next = next(self.rest, END)
        if symbol.isdigit():
            if len(symbol) > MAX_DIGITS or (symbol[0] == "0" and symbol != "0"):
                raise _InvalidError
            self.numbers.append(int(symbol))
            return self.numbers[-1], 1
        if symbol == "(":
            value = self.expression(depth + 1)
            if self.next != ")":
                raise _InvalidError
            self.next = next(self.rest, END)
            return value
        if symbol == "-":
            above, below = self._factor(depth + 1)
            return -above, below
        raise _InvalidError
