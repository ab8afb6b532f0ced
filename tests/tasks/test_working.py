"""Arithmetic statements: hand-written texts, generated statements, hostile texts."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.tasks.working import facts, plain, value
from tests.timing import cpu_seconds

SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)
LONG = 32_000

# text -> (expression, stated, right) of each statement
TEXTS: list[tuple[str, list[tuple[str, str, bool]]]] = [
    ("", []),
    ("2+3=5", [("2+3", "5", True)]),
    ("We get 2 + 3\t=  5, then 5 * 4 = 21.", [("2+3", "5", True), ("5*4", "21", False)]),
    # Chains: each equals sign with the number after it.
    ("7+8=15-3=12", [("7+8", "15", True), ("15-3", "12", True)]),
    ("7-8=-1+3=2", [("7-8", "-1", True), ("-1+3", "2", True)]),
    ("7+8=14-3=11", [("7+8", "14", False), ("14-3", "11", True)]),
    # Written anew: the expression is worth what is written there.
    ("(2 + 3) * 4 = 5 * 4 = 20", [("(2+3)*4", "20", True), ("5*4", "20", True)]),
    ("(2 + 3) * 4 = 6 * 4 = 24", [("(2+3)*4", "24", False), ("6*4", "24", True)]),
    ("1/2 + 1/3 = 5/6", [("1/2+1/3", "5/6", True)]),
    ("2 * (3 + 4) = 2 * 7 = 15", [("2*(3+4)", "14", True), ("2*7", "15", False)]),
    # Signs of real models.
    ("2 × 3 = 6; 6 ÷ 4 = 1.5", [("2*3", "6", True), ("6/4", "3/2", True)]),
    ("2 · 3 = 6; 2 − 5 = −3", [("2*3", "6", True), ("2-5", "-3", True)]),
    ("2 x 3 = 6; 2x3=6", [("2*3", "6", True), ("2*3", "6", True)]),
    ("\\(2 \\times 3 = \\boxed{6}\\)", [("2*3", "6", True)]),
    ("\\left(2 + 3\\right) \\cdot 4 = 20", [("(2+3)*4", "20", True)]),
    ("**2 + 3 = 5**, 2 * 4 = **8**", [("2+3", "5", True), ("2*4", "8", True)]),
    ("$5 + $3 = $8", [("5+3", "8", True)]),
    ("48/2 = <<48/2=24>>24", [("48/2", "24", True)]),
    # Numbers.
    ("1,000 + 500 = 1,500", [("1000+500", "1500", True)]),
    ("0.5 * 20 = 10; .5 + .25 = 0.75", [("0.5*20", "10", True), (".5+.25", "3/4", True)]),
    ("10 / 4 = 2.50. Next", [("10/4", "5/2", True)]),
    ("1 / 3 = 0.333", [("1/3", "333/1000", False)]),
    ("2 - 5 = -3; 2 - -5 = 7", [("2-5", "-3", True), ("2--5", "7", True)]),
    ("2 + 3 * 4 = 14... not 10", [("2+3*4", "14", True)]),
    # What stands before and after.
    ("1. 2 + 3 = 5\n2) 2 + 3 = 5", [("2+3", "5", True)] * 2),
    ("- 2 + 3 = 5\n* 2 + 3 = 5", [("2+3", "5", True)] * 2),
    ("(2 + 3 = 5)", [("2+3", "5", True)]),
    ("[2, 3] 2 + 3 = 5 (yes)", [("2+3", "5", True)]),
    ("Yes!2 + 3 = 5", [("2+3", "5", True)]),
    ("x = 2 + 3 = 5", [("2+3", "5", True)]),
    ("((2 + 3) * 4 = 20", [("(2+3)*4", "20", True)]),
    ("2 + 3 = 5 5 * 4 = 20", [("2+3", "5", True), ("5*4", "20", True)]),
    ("2 + 3 = 5 - that is it", [("2+3", "5", True)]),
    ("2 + 3 * 4 = 14 ≠ 10", [("2+3*4", "14", True)]),
    ("3 apples, so 2 + 3 = 5 apples", [("2+3", "5", True)]),
    # No statements.
    ("5 = 5", []),
    ("2 + 3 = 5² 2 + 3 = 5kg 2 + 3 = 5٠", []),
    ("5 + 2 = 7e4", []),
    ("60000 + 10000 = 70{,}000", []),
    ("5 = 2 + 3", []),
    ("10 / 3 ≈ 3.33", []),
    ("10 / 3 = 3.33...", []),
    ("10 / 3 = 3.33…", []),
    ("2 + 3 * 4 = 10? No", []),
    ("2 + 3 != 6, 2 + 3 <= 6, 2 + 3 == 5", []),
    ("x + 2 + 3 = 5", []),
    ("2x + 3 = 5", []),
    ("x2 + 3 = 5", []),
    ("2 + x = 5", []),
    ("2 + 3 = x", []),
    ("2^3 + 1 = 9", []),
    ("2**3 + 1 = 9", []),
    ("4 * 2 = 2^3", []),
    ("2(3 + 4) = 14", []),
    ("(1 + 2)(3 + 4) = 21", []),
    ("sqrt(4) + 5 = 7", []),
    ("5! + 1 + 2 = 123", []),
    ("20% + 30 = 50", []),
    ("1 / 2 = 50%", []),
    ("1 / 0 = 0", []),
    ("007 + 8 = 15", []),
    ("2 + 3\n= 5", []),
    ("2 + 3 =\n5", []),
    ("2 + 3 + = 5", []),
    ("(2 + 3 = 5) * 4 = 20", [("2+3", "5", True)]),
    ("٢ + 3 = 5", []),
    (f"{'1+' * 200}1 = 201", []),  # longer than the grammar allows
    (f"1 + 1 = {'2' * 400}", []),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=lambda x: x[:20] if x else "none")
def test_facts(text: str, expected: list[tuple[str, str, bool]]) -> None:
    found = facts(text)
    assert [(f.expression, str(f.stated), f.right) for f in found] == expected


def test_where_facts_stand() -> None:
    text = "so - 1, then 7 + 8 = 15 - 3 = 12. And (2+3)*4 = 5*4 = 20!"
    assert [text[f.start : f.end] for f in facts(text)] == [
        "7 + 8 = 15",
        "15 - 3 = 12",
        "(2+3)*4 = 5*4",
        "5*4 = 20",
    ]


def test_plain() -> None:
    assert plain(" (2 × 3) − 1,000 \n") == "(2*3)-1000"
    assert value("0.5*3") == Fraction(3, 2)
    assert value("0.5.5") is None
    assert value("") is None


# --- generated ------------------------------------------------------------------------------------

Made = tuple[str, Fraction | None]
OPERATORS = {"+": "+", "-": "-", "*": "*", "/": "/", "×": "*", "÷": "/", "−": "-", "·": "*"}


def combined(sign: str, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    """Exact result; None for a division by zero."""
    plain_sign = OPERATORS[sign]
    if left is None or right is None or (plain_sign == "/" and right == 0):
        return None
    if plain_sign == "+":
        return left + right
    if plain_sign == "-":
        return left - right
    return left * right if plain_sign == "*" else left / right


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> Made:
    """A fully parenthesised expression and its value, the outermost parentheses left out."""
    sides = []
    for _ in range(2):
        if depth and draw(st.booleans()):
            text, side = draw(expressions(depth=depth - 1))
            sides.append((f"({text})", side))
        else:
            number = draw(st.integers(0, 99))
            sides.append((str(number), Fraction(number)))
    sign = draw(st.sampled_from(sorted(OPERATORS)))
    blank = draw(st.sampled_from(["", " ", "  "]))
    (left, a), (right, b) = sides
    return f"{left}{blank}{sign}{blank}{right}", combined(sign, a, b)


@SETTINGS
@given(
    expressions(),
    st.integers(-200, 200),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["", "So, ", "1) ", "Try: ", "a line\n", "- "]),
    st.sampled_from(["", ".", ", not 10", "\n", " and 3"]),
)
def test_generated_statements(
    made: Made, number: int, places: int, true: bool, before: str, after: str
) -> None:
    text, exact = made
    stated = Fraction(number, 10**places)
    if true and exact is not None and exact.denominator == 1:
        stated, places = exact, 0
    sign = "-" if stated < 0 else ""
    whole, part = divmod(abs(stated.numerator) * (10**places // stated.denominator), 10**places)
    written = f"{sign}{whole}" + (f".{part:0{places}}" if places else "")
    statement = f"{text} = {written}"
    found = facts(f"{before}{statement}{after}")
    if exact is None:
        assert found == ()
        return
    (fact,) = found
    assert (fact.stated, fact.right) == (stated, stated == exact)
    assert f"{before}{statement}{after}"[fact.start : fact.end] == statement
    assert value(fact.expression) == exact


@SETTINGS
@given(
    st.one_of(
        st.text(max_size=80),
        st.text(st.sampled_from("0123456789+-*/()=. x×−·÷,$%\n\\"), max_size=80),
        st.text(st.sampled_from("12+=() "), max_size=60),
    )
)
def test_any_text(text: str) -> None:
    end = 0
    for fact in facts(text):
        assert "=" in text[fact.start : fact.end]
        assert "\n" not in text[fact.start : fact.end]
        assert fact.right == (value(fact.expression) == fact.stated)
        assert text.index("=", fact.start) >= end  # no equals sign is read twice
        end = text.index("=", fact.start) + 1
    assert plain(text) == "".join(plain(text).split())


# --- hostile --------------------------------------------------------------------------------------

HOSTILE = {
    "parentheses": "(" * LONG + "=1",
    "nested": ("(" * 150 + "1+1" + ")" * 150 + "=") * (LONG // 304),
    "digits": "1+" + "1" * LONG + "=1",
    "digits after": "1+1=" + "1" * LONG,
    "thousands": ("1" + ",000" * 70 + "=") * (LONG // 282),
    "one sum": "1+" * (LONG // 2) + "1=1",
    "sums": ("1+" * 150 + "1=") * (LONG // 302),
    "minus": ("-" * 300 + "1=") * (LONG // 302),
    "blank": ("1+" + " " * 300 + "1=2") * (LONG // 306),
    "equals": "=" * LONG,
    "ones": "1=" * (LONG // 2),
    "open": "(=" * (LONG // 2),
    "x": "1x" * (LONG // 2) + "=1",
    "points": ".1" * (LONG // 2) + "=1",
    "backslash": "\\" * LONG + "=",
    "boxed": "\\boxed  " * (LONG // 8) + "=",
    "words": "so " * (LONG // 3) + "1+1=2",
    "lines": "7 + 8 = 15\n" * (LONG // 11),
    "statements": "".join(f"{i}+{i + 3}={2 * i + 3}, " for i in range(1_900)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_length_only(name: str) -> None:
    """Four times the text takes four times as long; gone back and forth in, sixteen times."""
    text = HOSTILE[name]
    short, long = (cpu_seconds(lambda text=text: facts(text)) for text in (text, text * 4))
    assert long < 8 * short + 0.02
