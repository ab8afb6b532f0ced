"""Arithmetic that a response works out: every statement `expression = number` of a text.

An expression is one of harness.tasks.expressions with at least two numbers, taken as far to the
left as it goes on its line. Beyond that grammar models write, and are understood in: × · ÷ − and
their LaTeX names, `2 x 3`, decimals and thousands (`1,200`), dollar signs, bold type, `\\boxed{`.

What is not clearly one is no statement: `≈`, `!=`, variables, powers, factors without a sign
between them, per cent, questions (`= 10?`), decimals that trail off (`3.33...`), results that touch
a letter, a brace or another numeral (`= 5kg`, `= 7e4`, `= 70{,}000`, `= 5²`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from harness.tasks import expressions

# How far from its equals sign a side of a statement may reach; white space and markup included.
WINDOW = expressions.MAX_CHARACTERS + 64

_SIZE = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
_TOKEN = re.compile(
    rf"""(?P<number>{_SIZE})
    | (?P<sign>[-+*/^×·⋅÷−] | \\times\b | \\cdot\b | \\div\b | (?<=[0-9)])\ ?x(?=\ ?[0-9(]))
    | (?P<open>\() | (?P<close>\))
    | (?P<blank>[\s$]+ | \\left\b | \\right\b | \\boxed\s*\{{)
    | (?P<other>\.\.+ | [^-0-9+*/^×·⋅÷−()\s$\\.x]+ | .)""",
    re.VERBOSE,
)
_PLAIN = {
    "×": "*", "·": "*", "⋅": "*", "x": "*", " x": "*", "\\times": "*", "\\cdot": "*",
    "÷": "/", "\\div": "/", "−": "-",
}  # fmt: skip
_DECIMAL = re.compile(r"([0-9]*)\.([0-9]+)")


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement: `text[start:end]` says that `expression` is worth `stated`.

    In `7+8=15-3=12` each equals sign goes with the number after it: 7+8=15, 15-3=12. Where the
    expression is written anew, `(2+3)*4=5*4=20`, it is said to be worth what is written there:
    (2+3)*4=5*4, 5*4=20. The facts of such a chain overlap in the text; others do not.
    """

    start: int
    end: int
    expression: str
    """In the symbols of the grammar (and decimals), without white space."""
    stated: Fraction
    right: bool


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def facts(text: str) -> tuple[Fact, ...]:
    """Every arithmetic statement of a text, in order."""
    return tuple(_facts(text))


def plain(text: str) -> str:
    """The same in the symbols of the grammar (and decimals), without white space."""
    return _written(_tokens(text, 0, len(text)))


@lru_cache(maxsize=4096)
def value(expression: str) -> Fraction | None:
    """Exact value of an expression that may contain decimals; None when it is none."""
    parsed = expressions.parse(_DECIMAL.sub(_ratio, expression))
    return None if parsed is None else parsed.value


def _facts(text: str) -> Iterator[Fact]:
    begin, left = 0, list[_Token]()
    while begin <= len(text):
        end = text.find("=", begin)
        end = len(text) if end < 0 else end
        head, tail = _ends(text, begin, end)
        if left and (right := _right(head)) and (fact := _fact(left, right)) is not None:
            yield fact
        begin, left = end + 1, _left(tail)


def _ends(text: str, begin: int, end: int) -> tuple[list[_Token], list[_Token]]:
    """Tokens of the first and of the last line of what stands between two equals signs.

    Of a long line only so much is looked at; where it was cut stands a token of no length.
    """
    if end - begin <= WINDOW and text.find("\n", begin, end) < 0:
        tokens = _tokens(text, begin, end)
        return tokens, tokens
    stop, start = min(end, begin + WINDOW), max(begin, end - WINDOW)
    newline = text.find("\n", begin, stop)
    head = _tokens(text, begin, stop if newline < 0 else newline)
    if newline < 0 and stop < end:
        head.append(_Token("cut", "", stop, stop))
    newline = text.rfind("\n", start, end)
    tail = _tokens(text, max(start, newline + 1), end)
    if newline < 0 and start > begin:
        tail.insert(0, _Token("cut", "", start, start))
    return head, tail


def _fact(left: Sequence[_Token], right: Sequence[_Token]) -> Fact | None:
    """The statement that one equals sign makes, if it makes one."""
    expression = _written(left)
    exact = value(expression)
    if exact is None or not right:
        return None
    whole = value(_written(right))
    if whole is None:
        return None
    stated, end = whole, right[-1].end
    number = _leading_number(right)
    if 0 < number < len(right):
        first = value(_written(right[:number]))
        if first is not None and _is_chained(left, right, exact, first, whole):
            stated, end = first, right[number - 1].end
    return Fact(left[0].start, end, expression, stated, stated == exact)


def _is_chained(
    left: Sequence[_Token],
    right: Sequence[_Token],
    exact: Fraction,
    first: Fraction,
    whole: Fraction,
) -> bool:
    """Whether `= 15 - 3` states 15 and goes on from there, rather than writing the left anew.

    What makes the statement true is what was meant. Where neither does, it was written anew if it
    has fewer numbers than before and some of them still stand.
    """
    if first == exact or whole == exact:
        return first == exact
    old = [token.text for token in left if token.kind == "number"]
    new = [token.text for token in right if token.kind == "number"]
    return len(new) >= len(old) or not set(new) & set(old)


def _left(tokens: list[_Token]) -> list[_Token]:
    """The longest expression of two or more numbers that ends with the last token."""
    first = _first_token(tokens)
    if first < 0 or sum(token.kind == "number" for token in tokens[first:]) < 2:
        return []
    return [] if _goes_on_before(tokens, first) else tokens[first:]


def _first_token(tokens: Sequence[_Token]) -> int:
    """Where the longest expression that ends with the last token begins; -1 without one."""
    first, last = -1, len(tokens) - 1
    while (operand := _operand_before(tokens, last)) >= 0:
        first = _signed(tokens, operand)
        if first < 2 or tokens[first - 1].kind != "sign":
            break
        last = first - 2
    return first


def _operand_before(tokens: Sequence[_Token], last: int) -> int:
    """Where the number or the parenthesis that ends at `last` begins; -1 without one."""
    if last < 0 or tokens[last].kind not in ("number", "close"):
        return -1
    depth = 0
    for i in range(last, -1, -1):
        depth += (tokens[i].kind == "close") - (tokens[i].kind == "open")
        if depth == 0 or tokens[i].kind == "other":
            return i if depth == 0 else -1
    return -1


def _signed(tokens: Sequence[_Token], first: int) -> int:
    """Where an operand begins together with the minus signs that are its own.

    After white space or a word only one that touches it is: others are bullets and dashes.
    """
    while first > 0 and _plain(tokens[first - 1]) == "-":
        minus, before = tokens[first - 1], tokens[first - 2] if first > 1 else None
        if before is not None and before.kind in ("number", "close"):
            break
        if before is None or before.kind == "other":
            touches_word = before is not None and before.end == minus.start and _is_word(before)
            if minus.end != tokens[first].start or touches_word:
                break
        first -= 1
    return first


def _goes_on_before(tokens: Sequence[_Token], first: int) -> bool:
    """Whether what stands before an expression belongs to it, so that it is only a part.

    A factor that touches it does, a name that touches it, and a name or a factor with signs
    between; signs alone are bullets and bold type.
    """
    i = first - 1
    while i >= 0 and tokens[i].kind == "sign":
        i -= 1
    if i < 0:
        return False
    before = tokens[i]
    if before.kind == "cut":
        return True
    if i < first - 1:
        return before.kind in ("number", "close") or _is_word(before)
    touches = before.end == tokens[first].start and before.text[-1] not in "!%]}°"
    return touches and (before.kind in ("number", "close") or _is_word(before))


def _right(tokens: list[_Token]) -> list[_Token]:
    """The longest expression, perhaps one number, that the tokens begin with."""
    first = 0
    while first < len(tokens) and tokens[first].text == "*":  # bold type
        first += 1
    last = after = first
    while (after := _operand_after(tokens, after)) > 0:
        last = after
        if last >= len(tokens) or tokens[last].kind != "sign":
            break
        after = last + 1
    found, rest = tokens[first:last], tokens[last : last + 1]
    return [] if found and rest and _is_unsure(found[-1], rest[0]) else found


def _operand_after(tokens: Sequence[_Token], first: int) -> int:
    """Where the signed number or parenthesis that begins at `first` has ended; -1 without one."""
    while first < len(tokens) and _plain(tokens[first]) == "-":
        first += 1
    if first >= len(tokens) or tokens[first].kind not in ("number", "open"):
        return -1
    depth = 0
    for i in range(first, len(tokens)):
        depth += (tokens[i].kind == "open") - (tokens[i].kind == "close")
        if depth == 0 or tokens[i].kind == "other":
            return i + 1 if depth == 0 else -1
    return -1


def _is_unsure(last: _Token, after: _Token) -> bool:
    """Whether a number is cut, asked for, touched by what changes it, or trails off.

    5%, 5kg, 5e4, 5² and 70{,}000 say another number than their first digits.
    """
    if after.kind == "cut" or after.text[0] == "?":
        return True
    trails_off = "." in last.text and after.text.startswith(("..", "…"))
    changes = after.text[0].isalnum() or after.text[0] in "%^_{"
    return after.start == last.end and (trails_off or changes)


def _leading_number(tokens: Sequence[_Token]) -> int:
    """How many tokens the number at the front takes, its minus signs included; 0 without one."""
    for i, token in enumerate(tokens):
        if _plain(token) != "-":
            return i + 1 if token.kind == "number" else 0
    return 0


def _tokens(text: str, begin: int, end: int) -> list[_Token]:
    return [
        _Token(kind, match[0], *match.span())
        for match in _TOKEN.finditer(text, begin, end)
        if (kind := match.lastgroup) and kind != "blank"
    ]


def _is_word(token: _Token) -> bool:
    return token.kind == "other" and (token.text[-1].isalnum() or token.text[-1] in "_√!%]}°")


def _plain(token: _Token) -> str:
    return _PLAIN.get(token.text, token.text)


def _written(tokens: Sequence[_Token]) -> str:
    return "".join(_plain(token).replace(",", "") for token in tokens)


def _ratio(match: re.Match[str]) -> str:
    """A decimal in the grammar: 0.5 is (5/10)."""
    whole, fraction = match.groups()
    return f"({(whole + fraction).lstrip('0') or '0'}/1{'0' * len(fraction)})"
