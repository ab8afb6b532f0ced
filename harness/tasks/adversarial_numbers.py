r"""Numbers that try to be read as other ones, and right ones that look odd.

One set for every gold answer, a whole number from 11 to 999. Placeholders stand for it: {n}, and
{above} for one more, {twice} for its double, {least} and {rest} for its last digit and those before
it. A case is right or not right whatever the method of task=gsm8k. `harness.audit_reward` grades
them all.
"""

from collections.abc import Iterator
from typing import NamedTuple

from harness.tasks.adversarial import LOOKALIKES


class NumberCase(NamedTuple):
    """What stands where the answer is marked, and whether it is the gold number."""

    category: str
    content: str
    right: bool


RIGHT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("plain", ("{n}", " {n} ", "{n}.", "{n}.0", "0{n}", "{n}.00.", "\t{n}\r")),
    ("exponents", ("{n}e0", "{n}E+0", r"{n} \times 10^0", "{n} × 10⁰", "{n}0e-1", "{n}*10^{0}")),
    ("fractions", ("{n}/1", "{twice}/2", r"\frac{{twice}}{2}", r"\dfrac{{n}}{1}")),
    ("percent", ("{n}%", r"{n}\%", "{n} percent", "{n} per cent", "{n} %")),
    ("currency", ("${n}", r"\${n}", "€{n}", "{n} €", "US${n}", "${n}.00")),
    ("markup", (r"\boxed{{n}}", "${n}$", r"\({n}\)", "**{n}**", r"$\boxed{{n}}$", "`{n}`")),
)  # fmt: skip
WRONG: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("other values", ("{above}", "-{n}", "−{n}", "{n}.5", "{n}0", "{n}{n}", "0.{n}", "$-{n}")),
    ("thousands", ("{n},000", "{n}{,}000", r"{n},\!000", r"{n}\,000", "{n}\u2009000", "1,{n}{n}",
        "{n},00", "{n},0", "{n} 000", "{n}_000", "{n}'000", "{n}.000.000", "0,{n}", "{n},{n}")),
    ("exponents", ("{n}e4", "{n}E4", "1e{n}", "7e{n}", "{n}e-4", r"{n} \times 10^4", "{n}×10⁴",
        "{n}e999", "{n}e", "e{n}", "{n}e4.0", "10^{n}", "10^{{n}}", "{n}^2", "{n}²", "{n}**1",
        "2^{n}", "x^{{n}}", "x_{{n}}", "{n}^{1}", "{n}⁰", "{n}₀")),
    ("fractions", (r"\frac{1}{{n}}", "1/{n}", "{n}/2", "{n}/0", r"\frac{{n}}{0}", "½{n}", "{n}½",
        "{n} 1/2", r"{n}\frac{1}{2}", "1/1/{n}", "{n}//1", r"\frac{{n}}", "0/{n}", "{n} 0/1")),
    ("percent", ("{n}00%", "0.{n}%", "{n}0 percent", "{n}‰", "%{n}", "{n}%%")),
    ("units and letters", ("{n}kg", "x{n}", "{n}x", "{n}°", "{n}k", "{n}th_", "{n}¢", "{n}m²",
        "n{n}n", "{n}L", "{n}j", "0x{n}", "{n}f", "{n}n", "é{n}", "{n}ß")),
    ("words", ("{n} million", "{n} thousand", "{n} dozen", "{n} squared", "minus {n}",
        "negative {n}", "{n} and a half", "{n} thirds", "{n} Hundred", "{n} factorial")),
    ("not worked out", ("{n}+{n}-{n}", "{n}-0", "{n}*1", "{n} * 1", "{n}+0", "0+{n}", "√{n}",
        r"\sqrt{{n}}", "{n}!", "f({n})", "1({n})", "({n})({n})", "{n}÷1", "{n}:1", "1 {n}",
        "0 + {n}", "1 · {n}", r"1 \cdot {n}", r"\pm {n}", "|-{n}|", "-(-{n})", "--{n}")),
    ("not said to equal", ("≈ {n}", "~{n}", "< {n}", ">= {n}", "!= {n}", "≠ {n}", "{n}?",
        "{n}...", "{n}…", r"\approx {n}", r"\neq {n}", "± {n}", "≤{n}")),
    ("split", ("{rest} {least}", "{rest}\u200b{least}", "{rest}**{least}**", "{rest}\x00{least}",
        "{rest}_{least}", "{rest}<b>{least}</b>", "{rest}\\{least}", "{rest}{ }{least}")),
    ("nothing", ("", " ", ".", "-", "$", "$$", r"\boxed{}", "nan", "inf", "True", "None", "e", "%",
        "/", ",", "()", "Ⅷ", "½", "½½", "\ud800", "{{n}", "[" * 40, r"\boxed{" * 40 + "{n}")),
    ("long", ("9" * 40, "{n}" + "0" * 30_000, "0" * 30_000 + "{n}", "{n}," * 9_000 + "1",
        "(" * 30_000 + "{n}", "1/" * 15_000 + "{n}", r"\frac{" * 6_000 + "{n}")),
)  # fmt: skip


# Among the lookalikes, but nothing odd after a number in a sentence.
PUNCTUATION = ":—"


def cases() -> Iterator[NumberCase]:
    """The whole set, grouped by category."""
    for category, contents in RIGHT:
        yield from (NumberCase(f"numbers, right: {category}", text, True) for text in contents)
    for category, contents in WRONG:
        yield from (NumberCase(f"numbers: {category}", text, False) for text in contents)
    for characters in LOOKALIKES.values():
        for mark in characters:
            if not mark.isspace() and mark not in PUNCTUATION:
                for text in (f"{{rest}}{mark}{{least}}", f"{{n}}{mark}", f"{mark}{{n}}", mark):
                    yield NumberCase("numbers: lookalikes", text, False)


def filled(content: str, gold: int) -> str:
    """A case about one gold answer of at least two digits."""
    digits = str(gold)
    names = {"n": gold, "above": gold + 1, "twice": 2 * gold}
    text = content.replace("{rest}", digits[:-1]).replace("{least}", digits[-1])
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text
