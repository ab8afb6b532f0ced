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


@dataclass(frozen=True)
class Expression:
    """Value of an expression and the numbers written in it, in order."""

    value: Fraction
    numbers: tuple[int, ...]


class _InvalidError(Exception):
    """The text is no expression of the grammar."""


def parse(text: str) -> Expression | None:
    """The exact value of an expression, or None when the text is not one."""
    if len(text) > MAX_CHARACTERS or _ALPHABET.fullmatch(text) is None:
        return None
    parser = _Parser(_SYMBOL.findall(text))
    try:
        value = parser.expression(0)
    except _InvalidError:
        return None
    return Expression(value, tuple(parser.numbers)) if parser.at_end() else None


class _Parser:
    """Recursive descent over the symbols; depth is bounded by MAX_DEPTH."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = [*symbols, ""]
        self.position = 0
        self.numbers: list[int] = []

    def at_end(self) -> bool:
        return self.symbols[self.position] == ""

    def expression(self, depth: int) -> Fraction:
        value = self._term(depth)
        while (sign := self.symbols[self.position]) in ("+", "-"):
            self.position += 1
            right = self._term(depth)
            value = value + right if sign == "+" else value - right
        return value

    def _term(self, depth: int) -> Fraction:
        value = self._factor(depth)
        while (sign := self.symbols[self.position]) in ("*", "/"):
            self.position += 1
            right = self._factor(depth)
            if sign == "/" and right == 0:
                raise _InvalidError
            value = value * right if sign == "*" else value / right
        return value

    def _factor(self, depth: int) -> Fraction:
        symbol = self.symbols[self.position]
        self.position += 1
        if depth >= MAX_DEPTH or symbol == "":
            raise _InvalidError
        if symbol == "-":
            return -self._factor(depth + 1)
        if symbol == "(":
            value = self.expression(depth + 1)
            if self.symbols[self.position] != ")":
                raise _InvalidError
            self.position += 1
            return value
        if not symbol.isdigit() or len(symbol) > MAX_DIGITS or (symbol[0] == "0" and symbol != "0"):
            raise _InvalidError
        self.numbers.append(int(symbol))
        return Fraction(int(symbol))
