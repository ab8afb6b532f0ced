"""What counts as an integer or a number, by hand-written tables: each text with its right value.

The values are Python fractions written as text; None is what is not understood.
"""

from fractions import Fraction

import pytest

from harness.tasks.gsm8k import Gsm8k, Method
from harness.tasks.in_text import last_number
from harness.tasks.numbers import integer, number, written
from harness.types import Grade, Prompt
from tests.timing import cpu_seconds

INTEGERS = [
    ("408", 408), (" 408\n", 408), ("0", 0), ("-7", -7), ("1" * 18, int("1" * 18)),
    ("", None), (" ", None), ("-", None), ("-0", None), ("007", None), ("+5", None),
    ("1,250", None), ("1 250", None), ("1_250", None), ("4.0", None), ("408.", None),
    ("4e2", None), ("0x1f", None), ("²", None), ("٤٠٨", None), ("４０８", None), ("--4", None),
    ("- 4", None), ("408 = 408", None), ("x", None), ("1" * 19, None), ("9" * 100_000, None),
]  # fmt: skip
# Form by form: what a marked answer may be, and nothing else beside it.
NUMBERS = {
    "plain": [
        ("18", "18"), (" 18 ", "18"), ("18.", "18"), ("18.0", "18"), ("007", "7"), (".5", "1/2"),
        ("-0", "0"), ("0.10", "1/10"), ("9" * 36, "9" * 36), ("9" * 37, None),
        ("", None), (".", None), ("18..", None), ("1" * 100_000, None), ("1.2.3", None),
    ],
    "sign": [
        ("-7", "-7"), ("−7", "-7"), ("−1,250.5", "-2501/2"), ("-.5", "-1/2"),
        ("+18", None), ("- 7", None), ("--7", None), ("–7", None), ("—7", None), ("－7", None),
        ("⁻7", None), ("(7)", None), ("7-", None), ("±7", None),
    ],
    "thousands": [
        ("1,250", "1250"), ("1,250,000.50", "2500001/2"), ("70{,}000", "70000"),
        (r"70,\!000", "70000"), (r"70\,000", "70000"), ("70\u2009000", "70000"),
        ("70\u202f000", "70000"), ("70\u00a0000", "70000"), ("1{,}234{,}567", "1234567"),
        ("1,25", None), ("1,2500", None), ("12,50,000", None), ("1250,000", None), ("0,125", None),
        ("1.250.000", None), ("1.250,5", None), ("1 250", None), ("1_250", None), ("1'250", None),
        ("1,250{,}000", None), ("1,", None), (",250", None), ("1, 250", None), ("70{.}000", None),
    ],
    "exponents": [
        ("7e4", "70000"), ("7E4", "70000"), ("7e+4", "70000"), ("7e-2", "7/100"),
        ("1.5e3", "1500"), ("1e6", "1000000"), (r"7 \times 10^4", "70000"),
        (r"7\times10^{4}", "70000"), (r"7 \cdot 10^{-2}", "7/100"), ("7 × 10⁴", "70000"),
        ("7×10⁻²", "7/100"), ("7*10^4", "70000"), ("7 x 10^4", "70000"), ("10^4", "10000"),
        ("10⁴", "10000"), ("-10^{3}", "-1000"), ("1e18", "1" + "0" * 18),
        ("1e19", None), ("1e999", None), ("e4", None), ("7e", None), ("7e4.5", None),
        ("7 e4", None), ("2^{10}", None), ("2^10", None), ("1250²", None), ("7^4", None),
        ("10^", None), ("10**4", None), ("7e4e4", None), ("7 × 10", None),
    ],
    "fractions": [
        ("1/2", "1/2"), ("-1/2", "-1/2"), ("1 / 2", "1/2"), (r"\frac{1}{2}", "1/2"),
        (r"\dfrac{3}{4}", "3/4"), (r"\tfrac12", "1/2"), (r"-\frac{1}{2}", "-1/2"),
        (r"\frac{-1}{2}", "-1/2"), ("½", "1/2"), ("1⁄2", "1/2"), ("36/2", "18"),
        ("1,000/3", "1000/3"), (r"\frac{36}{2}", "18"),
        ("1/0", None), (r"\frac{1}{0}", None), ("1/2/3", None), ("1.5/2", None), ("/2", None),
        ("1/", None), (r"\frac{1}{}", None), (r"\frac{1}", None), (r"\frac{1.5}{2}", None),
        (r"\frac{x}{2}", None), ("1//2", None), ("1÷2", None), ("1:2", None), ("1/-2", None),
    ],
    "mixed numbers": [
        ("1 1/2", "3/2"), ("-1 1/2", "-3/2"), (r"1\frac{1}{2}", "3/2"), (r"1 \frac{1}{2}", "3/2"),
        ("1½", "3/2"), ("2 ½", "5/2"), ("10 3/4", "43/4"),
        ("1 3/2", None), ("1  1/2", None), ("1-1/2", None), ("1 and 1/2", None), ("1.5 1/2", None),
        (r"1\frac{-1}{2}", None), ("1 0/2", None), ("1½½", None),
    ],
    "percent": [
        ("50%", "50"), (r"50\%", "50"), ("50 %", "50"), ("50 percent", "50"),
        ("50 per cent", "50"), ("-2.5%", "-5/2"), ("1/2%", "1/2"), ("150%", "150"),
        ("50%%", None), ("%50", None), ("50‰", None), ("50 percents", None), ("50 pct", None),
        ("$50%", None), ("50％", None),
    ],
    "currency": [
        ("$18", "18"), ("-$18", "-18"), ("$-18", "-18"), (r"\$18", "18"), ("US$18", "18"),
        ("€18", "18"), ("£1,250.50", "2501/2"), ("18 €", "18"), ("18€", "18"), ("$ 18", "18"),
        ("18$", "18"), ("$.50", "1/2"), ("₹70,000", "70000"),
        ("$", None), ("$$", None), ("50¢", None), ("$18€", None), ("-$-18", None), ("€$18", None),
        ("18 USD", None), ("18 dollars", None), ("¢50", None),
    ],
    "ordinals": [
        ("18th", "18"), ("1st", "1"), ("2nd", "2"), ("3rd", "3"), ("11th", "11"), ("21st", "21"),
        ("112th", "112"), ("1,000th", "1000"),
        ("1th", None), ("11st", None), ("18 th", None), ("1.5th", None), ("18TH", None),
        ("1/3rd", None), ("$18th", None), ("18ths", None),
    ],
    "markup": [
        (r"\boxed{18}", "18"), ("$18$", "18"), ("$$18$$", "18"), (r"\(18\)", "18"),
        (r"\[18\]", "18"), (r"\text{18}", "18"), ("**18**", "18"), ("*18*", "18"), ("`18`", "18"),
        (r"$\boxed{18}$", "18"), (r"**$\boxed{1{,}250}$**", "1250"), (r"\boxed{18}.", "18"),
        (r"\boxed{ \frac{1}{2} }", "1/2"), (r"\boxed{\$18}", "18"), (r"\boxed{50\%}", "50"),
        ("**18.**", "18"), (r"$-\frac{1}{2}$", "-1/2"), (r"\boxed{−18}", "-18"),
        (r"\boxed{18", None), (r"\boxed{}", None), (r"\boxed{18}{2}", None), ("$18", "18"),
        (r"\boxed{x}", None), (r"\boxed{18} eggs", None), ("**18", None), ("**18*", None),
        (r"\boxed{1}\boxed{8}", None), (r"\sqrt{16}", None), ("{18}", None), ("[18]", None),
        ("($18)", None), (r"\boxed{\boxed{\boxed{\boxed{\boxed{18}}}}}", None),
    ],
    "not a number alone": [
        ("18 eggs", None), ("1250kg", None), ("x1250", None), ("x = 18", None), ("= 18", None),
        ("13 or 14", None), ("16 - 3", None), ("16-3", None), ("2*9", None), ("5!", None),
        ("18°", None), ("18?", None), ("18!", None), ('"18"', None), ("~18", None), ("<18", None),
        ("٣", None), ("1250٠", None), ("４", None), ("18\u200b", None), ("1\u200b8", None),
        ("\u202e18", None), ("18\x00", None), ("0x1f", None), ("nan", None), ("inf", None),
        ("Infinity", None), ("True", None), ("eighteen", None), ("XVIII", None), ("Ⅷ", None),
        ("3 million", None), ("3k", None), ("10:30", None), ("2020-05-06", None), ("1..8", None),
        ("#18", None), ("№18", None), ("18\n19", None), ("1\n8", None),
    ],
}  # fmt: skip
# What the last number of a running text is.
TEXTS = {
    "words": [
        ("The answer is 13", "13"), ("The answer is 13, not 15.", "15"), ("13 left.", "13"),
        ("It costs $1,250.50!", "2501/2"), ("-$5 in all", "-5"), ("50% of 8", "8"),
        ("so 50% is left", "50"), ("18 eggs a day", "18"), ("I do not know", None), ("", None),
        ("13 left" + " so" * 999, "13"), ("it is the 18th, yes", "18"), ("about 1 1/2 cups", "3/2"),
        ("The answer is 70{,}000.", "70000"), ("which makes 7e4.", "70000"),
        ("it is −3.", "-3"), ("\nanswer:\n18\n\nDone", "18"), ("1. Add 2. Done. 18", "18"),
    ],
    "equations": [
        ("16 - 3 = 13", "13"), ("5*3=15", "15"), ("=-3", "-3"), ("it is -3", "-3"),
        ("x = 7 × 10⁴", "70000"), (r"&= 18 \\", "18"), ("==> 18", "18"), ("-> 18.", "18"),
        ("= 1/2", "1/2"), (r"= \frac{1}{2}", "1/2"), ("18 = x", "18"),
        ("16-3", None), ("16 - 3", None), ("16 -3", None), ("(4)-3", None), ("3 * 18", None),
        ("3*18", None), ("2**18", None), ("2 ** 18", None), ("18 / n", None), ("18 * x", None),
        ("n + 18", None), ("18 + n", None), ("3 x 18", None), (r"2 \times 18", None),
        ("2^18", None), (r"x^{18}", None), (r"\sqrt{18}", None), ("√18", None), ("f(18)", None),
        ("x_18", None), ("x_{18}", None), ("2 18", None), ("1/2/18", None), ("3:18", None),
        ("5!", None), ("(2)(18)", None), ("2(18)", None), ("|18|", None), ("18^n", None),
    ],
    "not said to be equal": [
        ("≈ 18", None), ("~18", None), ("x < 18", None), ("x > 18", None), ("x != 18", None),
        ("x ≠ 18", None), ("x >= 18", None), ("x <= 18", None), ("is it 18?", None),
        ("18...", None), ("3.33…", None), (r"x \approx 18", None), ("± 18", None),
    ],
    "words that change it": [
        ("negative 18", None), ("10 minus 18", None), ("3 million", None), ("3 Million.", None),
        ("2 dozen eggs", None), ("4 squared", None), ("2 and a half", None), ("2 thirds", None),
        ("2 to the third power", None), ("36 divided by 2", None), ("18 plus n", None),
    ],
    "touched": [
        ("1250²", None), ("1250٠", None), ("1250kg", None), ("x1250", None), ("4H2O", None),
        ("1,25", None), ("1,2500", None), ("v1.2.3", None), ("1_250", None), ("a-18", None),
        ("–18", None), ("- 18", None), ("+18", None), ("18-year", None), ("18°", None),
        ("1\u200b250", None), ("18\u200b", None), ("\u202e18", None), ("٣", None), ("x²", None),
        ("13 or ②", None), ("1'250", None), ("18_000", None), ("2020-05-06", None), ("18’", None),
        ("9" * 9_999, None), ("0x1f2", None), ("1e", None), ("3 = 1e999", None), ("18*x", None),
    ],
    "markup": [
        (r"so \boxed{18}.", "18"), (r"\boxed{x = 18}", "18"), (r"$x = 18$", "18"), ("$18$", "18"),
        ("**18**", "18"), ("**Answer:** 18", "18"), ("**Answer: 18**", "18"), ("(18)", "18"),
        ("**Answer**: $18 \\text{ eggs}$", "18"), ("<answer>18</answer>", "18"),
        ("18<|im_end|>", "18"), ("#### 18", "18"), ('it is "18".', "18"), ("“18.”", "18"),
        (r"\(18\)", "18"), (r"\[ 18 \]", "18"), ("| total | 18 |", "18"), ("`18`", "18"),
        (r"\boxed{\frac{1}{2}}", "1/2"), (r"\boxed{70{,}000}", "70000"), ("(18 in all)", "18"),
        (r"is\boxed{18}", "18"), ("$$18$$", "18"), ("18 ✅", "18"),
        (r"\boxed{ 18 }", "18"), (r"so \( 18 \)", "18"), ("<answer> 18 </answer>", "18"),
        (r"2 \( 18 \)", None), ("f( 18 )", None), (r"\boxed{\$18}", "18"),
        (r"2\boxed{18}", None), ("1**250**", None), ("1<b>250</b>", None), ("18)", None),
    ],
}  # fmt: skip
# The start of a text that goes on, perhaps within the number.
CUT = [
    ("The answer is 12", None), ("is 1.", None), ("is 1,", None), ("The answer is 12 ", None),
    ("is 12 mil", None), ("is 12 eggs ", "12"), ("is 12.\n", "12"), ("#### 12\n", "12"),
]  # fmt: skip


def listed(table: dict[str, list[tuple[str, str | None]]]) -> list[tuple[str, str | None]]:
    return [case for cases in table.values() for case in cases]


def read_as(value: str | None) -> Fraction | None:
    return None if value is None else Fraction(value)


@pytest.mark.parametrize(("content", "value"), INTEGERS)
def test_integer(content: str, value: int | None) -> None:
    assert integer(content) == value


@pytest.mark.parametrize(("content", "value"), listed(NUMBERS))
def test_number(content: str, value: str | None) -> None:
    assert number(content) == read_as(value)


@pytest.mark.parametrize(("text", "value"), listed(TEXTS))
def test_last_number(text: str, value: str | None) -> None:
    assert last_number(text, finished=True) == read_as(value)


@pytest.mark.parametrize(("text", "value"), CUT)
def test_a_number_that_a_cut_text_ends_on_is_none(text: str, value: str | None) -> None:
    assert last_number(text, finished=False) == read_as(value)


@pytest.mark.parametrize(("content", "value"), [c for c in listed(NUMBERS) if c[1] is not None])
def test_a_number_is_the_last_one_of_a_sentence(content: str, value: str) -> None:
    """Whatever is understood alone is the same within a text, or nothing: never another one."""
    for text in (f"It is {content}", f"It is {content.strip()} .", f"x = {content}\nDone."):
        assert last_number(text, finished=True) in (Fraction(value), None)


@pytest.mark.parametrize(
    ("value", "text"),
    [("18", "18"), ("-18", "-18"), ("0", "0"), ("3/2", "1.5"), ("-1/40", "-0.025"), ("1/3", "1/3")],
)
def test_a_value_is_written_as_it_is_read(value: str, text: str) -> None:
    assert written(Fraction(value)) == text
    assert number(text) == Fraction(value)


def test_time_grows_with_length_only() -> None:
    """Of what a reader could go back and forth in: sixteen times as long for four times as much."""
    hard = ("9", "9,999", "1 1/", r"\frac{", "$", "(", "**", "- ", "<a", "0.", "½", "x10^", "{,}")
    for piece in hard:
        text = (piece * 32_000)[:32_000]
        for ending in ("", "9", " 18"):
            short, long = (
                cpu_seconds(lambda part=part: _read(part))
                for part in (text[:8_000] + ending, text + ending)
            )
            assert long < 8 * short + 0.02, (piece, ending, short, long)


def _read(text: str) -> None:
    number(text)
    last_number(text, finished=True)


# What a hard look at `flexible` found: what stands beside a number was not seen through markup.
BESIDE = [
    r"$3 \text{ million}$", r"3\,\text{million}", r"\boxed{3}\text{ million}", "3 millions", "3 k",
    "$3 K", "3 万", "3 Millionen", "18 thousands", "18 dozens", "18 lakh", r"x = -\; 18",
    r"x \neq\, 18", r"x \approx\, 18", r"2 \times\, 18", r"3 +\, 18", r"2^\, 18", r"18\; + n",
    r"18\!\times n", r"18\text{ minus n}", "-& 18", "&minus; 18", "3 &lt; 18", "a !== 18",
    r"\not= 18", "It is 3 point 5.", "17 mod 5", "2 to the power of 5", "The answer is 1, 250.",
    "x<sub>18</sub>", "e<sup>18</sup>", "18 °",
]  # fmt: skip


@pytest.mark.parametrize("text", BESIDE)
def test_what_stands_beside_a_number_is_seen_through_markup(text: str) -> None:
    assert last_number(text, finished=True) is None


@pytest.mark.parametrize(
    "text",
    [r"x &= 18 \\", "x = & 18", r"x =\, 18", "18 miles", "17, 18", "a == 18", r"$18\,\text{eggs}$",
     r"\boxed{18}\text{ eggs}", "18 km. So it is", "18 años"],
)  # fmt: skip
def test_and_what_leaves_it_as_it_is_does_so_through_markup(text: str) -> None:
    assert last_number(text, finished=True) == 18


@pytest.mark.parametrize(
    "text",
    ["is **12** ", r"\boxed{12} mil", "is 12, mil", r"is 12 \text{ mil", "is 12 and a ha",
     "is 12 divided ", "is 12 multiplied b"],
)  # fmt: skip
def test_a_cut_text_may_go_on_behind_markup(text: str) -> None:
    assert last_number(text, finished=False) is None


# A gold answer, and what a grader accepted for it or might have: none is right.
ANOTHER_NUMBER = [
    ("6", "1e6"), ("4", "7e4"), ("0", "70{,}000"), ("2", r"\frac{1}{2}"), ("18", "−18"),
    ("0.5", "50%"), ("3", "3 million"), ("1250", "1250²"), ("1250", "1250٠"), ("1250", "1250kg"),
    ("1250", "x1250"), ("5", "5!"), ("25", "1,25"), ("500", "2,500"), ("10", "10^4"), ("4", "10^4"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "text"), ANOTHER_NUMBER)
def test_no_grader_takes_another_number(gold: str, text: str) -> None:
    asked = Prompt(text="", item=0, problem="", difficulty=1, answer=gold)
    for method in Method:
        for response in (f"#### {text}", f"so\n#### ${text}$", f"#### **{text}**"):
            assert not Gsm8k(method=method).grade(asked, response, finished=True).correct


@pytest.mark.parametrize(
    ("gold", "text"),
    [("70000", "70{,}000"), ("70000", "7e4"), ("1/2", r"\frac{1}{2}"), ("-18", "−18"),
     ("1.5", "1 1/2"), ("50", "50%"), ("18", r"\boxed{18}"), ("3", "3rd")],
)  # fmt: skip
def test_both_methods_take_what_is_understood(gold: str, text: str) -> None:
    asked = Prompt(text="", item=0, problem="", difficulty=1, answer=gold)
    right = Grade(correct=True, formatted=True)
    for method in Method:
        assert Gsm8k(method=method).grade(asked, f"#### {text}", finished=True) == right
