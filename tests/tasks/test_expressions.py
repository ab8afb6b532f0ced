"""The expression grammar against random trees, Python's own parser and hand-written cases."""

import ast
import re
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.tasks.expressions import MAX_CHARACTERS, MAX_DEPTH, MAX_DIGITS, Expression, parse

SETTINGS = settings(max_examples=300, deadline=None, derandomize=True)
SPACES = st.sampled_from(["", "", "", " ", "\t", "\n", "\r\n", "   "])
STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True)
class Leaf:
    number: int


@dataclass(frozen=True)
class Minus:
    tree: "Tree"


@dataclass(frozen=True)
class Binary:
    operator: str
    left: "Tree"
    right: "Tree"


Tree = Leaf | Minus | Binary
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Leaf, st.one_of(st.integers(0, 12), st.integers(0, 999_999_999_999))),
    lambda inner: st.one_of(
        st.builds(Minus, inner), st.builds(Binary, st.sampled_from("+-*/"), inner, inner)
    ),
    max_leaves=8,
)


def value(tree: Tree) -> Fraction:
    if isinstance(tree, Leaf):
        return Fraction(tree.number)
    if isinstance(tree, Minus):
        return -value(tree.tree)
    left, right = value(tree.left), value(tree.right)
    if tree.operator == "/":
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[tree.operator]


def leaves(tree: Tree) -> list[int]:
    if isinstance(tree, Leaf):
        return [tree.number]
    if isinstance(tree, Minus):
        return leaves(tree.tree)
    return leaves(tree.left) + leaves(tree.right)


def strength(tree: Tree) -> int:
    return STRENGTH[tree.operator] if isinstance(tree, Binary) else 3


def rendered(tree: Tree, data: st.DataObject) -> str:
    """The tree as text: parentheses where they are needed, more of them and spaces by chance."""

    def part(inner: Tree, needed: int) -> str:
        text = rendered(inner, data)
        extra = data.draw(st.integers(0, 5)) == 0
        closed = strength(inner) < needed or extra
        return f"{space()}({text}){space()}" if closed else text

    def space() -> str:
        return data.draw(SPACES)

    if isinstance(tree, Leaf):
        return f"{space()}{tree.number}{space()}"
    if isinstance(tree, Minus):
        return f"{space()}-{space()}{part(tree.tree, 3)}"
    own = STRENGTH[tree.operator]
    return f"{part(tree.left, own)}{tree.operator}{part(tree.right, own + 1)}"


@SETTINGS
@given(TREES, st.data())
def test_rendered_trees_have_their_value(tree: Tree, data: st.DataObject) -> None:
    text = rendered(tree, data)
    assume(len(text) <= MAX_CHARACTERS)
    try:
        expected = Expression(value(tree), tuple(leaves(tree)))
    except ZeroDivisionError:
        expected = None
    assert parse(text) == expected


def by_python(text: str) -> Expression | None:
    """The same grammar read off Python's syntax tree; no limits."""
    if re.search(r"(?<![0-9])0[0-9]", text):
        return None  # Python lets 00 pass
    numbers: list[int] = []

    def walk(node: ast.AST) -> Fraction:
        match node:
            case ast.Expression(body=body):
                return walk(body)
            case ast.Constant(value=int(number)):
                numbers.append(number)
                return Fraction(number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -walk(operand)
            case ast.BinOp(left=left, op=operator, right=right):
                a, b = walk(left), walk(right)
                match operator:
                    case ast.Add():
                        return a + b
                    case ast.Sub():
                        return a - b
                    case ast.Mult():
                        return a * b
                    case ast.Div():
                        return a / b
        raise SyntaxError

    try:
        # Line ends count as spaces here, as they do between Python's parentheses.
        result = walk(ast.parse(re.sub(r"\s", " ", text).strip(), mode="eval"))
    except (SyntaxError, ZeroDivisionError):
        return None
    return Expression(result, tuple(numbers))


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("0123456789+-*/() \t\n"), max_size=14))
def test_agrees_with_pythons_parser(text: str) -> None:
    assert parse(text) == by_python(text)


@SETTINGS
@given(TREES, st.data())
def test_agrees_with_pythons_parser_near_valid_text(tree: Tree, data: st.DataObject) -> None:
    """One symbol of a valid text is replaced, left out or added."""
    text = rendered(tree, data)
    at = data.draw(st.integers(0, len(text)))
    end = at + data.draw(st.integers(0, 1))
    text = text[:at] + data.draw(st.sampled_from(["", *"0+-*/() "])) + text[end:]
    digits = max(map(len, re.findall(r"[0-9]+", text)), default=0)
    assume(len(text) <= MAX_CHARACTERS and digits <= MAX_DIGITS)
    assert parse(text) == by_python(text)


@SETTINGS
@given(st.text(max_size=300))
def test_never_raises(text: str) -> None:
    read = parse(text)
    assert read is None or isinstance(read.value, Fraction)
    assert read is None or set(text) <= set("0123456789+-*/() \t\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8/(3-8/3)", 24),
        ("1/3+1/6", Fraction(1, 2)),
        ("2-3-4", -5),  # left to right
        ("48/4/3", 4),
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("-7+8", 1),
        ("-(7-8)", 1),
        ("--7", 7),
        ("2*-3", -6),
        ("7--8", 15),
        ("0", 0),
        (" 1\n+\t2 ", 3),
        ("((((5))))", 5),
        ("0/5", 0),
    ],
)
def test_value_by_hand(text: str, expected: Fraction) -> None:
    read = parse(text)
    assert read is not None
    assert read.value == expected


def test_numbers_stand_in_the_order_of_the_text() -> None:
    assert parse("8/(3-8/3)*0") == Expression(Fraction(0), (8, 3, 8, 3, 0))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "()", "7+", "+7", "7+*8", "(7", "7)", ")7(", "7 8", "7(8)", "(7)(8)", "2**3",
        "7//2", "1.5", "1.", "7=7", "7+8=15", "07", "00", "7/0", "7/(3-3)", "1e3", "1_000", "0x7",
        "٣", "７", "7−3", "7×3", "x", "7,8", "7+8;", "7\x0b+8", "7\u00a0+8", "7\x00",
    ],
)  # fmt: skip
def test_not_an_expression(text: str) -> None:
    assert parse(text) is None


def nested(depth: int) -> str:
    return "(" * depth + "1" + ")" * depth


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("1" * MAX_DIGITS, "1" * (MAX_DIGITS + 1)),
        (nested(MAX_DEPTH - 1), nested(MAX_DEPTH)),
        ("-" * (MAX_DEPTH - 1) + "1", "-" * MAX_DEPTH + "1"),
        ("1" + " " * (MAX_CHARACTERS - 1), "1" + " " * MAX_CHARACTERS),
    ],
    ids=["digits", "parentheses", "minuses", "characters"],
)
def test_limits(inside: str, outside: str) -> None:
    assert parse(inside) is not None
    assert parse(outside) is None


@pytest.mark.parametrize(
    "text",
    [
        nested(10_000),
        "(" * 10_000,
        "-" * 10_000 + "1",
        "9" * 1_000_000,
        "1+" * 20_000 + "1",
        " " * 40_000,
        "*".join(["9" * 12] * 3_000),
    ],
    ids=["closed", "open", "minuses", "digits", "sum", "spaces", "product"],
)
def test_hostile_length_is_refused(text: str) -> None:
    assert parse(text) is None
