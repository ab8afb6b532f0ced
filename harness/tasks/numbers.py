r"""Numbers as models write them: one reader, and its table.

| written | read as |
|---|---|
| `18`, `007`, `18.`, `18.0`, `.5` | 18, 7, 18, 18, 1/2 |
| `-18`, `−18` (U+2212) | -18; another dash, a space after it, `+18`: nothing |
| `1,250`, `70{,}000`, `70,\!000`, `70\,000`, thin or no-break spaces | thousands, in threes |
| `1,25`, `0,125`, `12,50,000`, `1.250.000`, `1 250`, `1_250`, `1'250` | nothing |
| `7e4`, `7E-4`, `7 \times 10^{4}`, `7 × 10⁴`, `7*10^4`, `10^4` | scientific, exponents to ±18 |
| `2^{10}`, `1250²`, `5!`, `√16`, `16-3`, `3:4`, `10:30` | nothing: it is not worked out |
| `1/2`, `\frac{1}{2}`, `\dfrac12`, `½` | one half; `1/0`, `0.5/2`, `1/2/3`: nothing |
| `1 1/2`, `1\frac{1}{2}`, `1½`; `-1 1/2` | 3/2, -3/2; `1 3/2`: nothing |
| `50%`, `50\%`, `50 percent` | 50: the unit of a question that asks for percent, as in GSM8K |
| `$18`, `-$18`, `\$18`, `US$18`, `€18`, `18 €` | 18, -18: one sign of money; `50¢`: nothing |
| `18th`, `1st`, `2nd`, `3rd` | 18, 1, 2, 3; `1th`: nothing |
| `1250kg`, `x1250`, `18°`, `1250٠`, `４`, `0x1f`, `nan` | nothing: something touches it |
| `\boxed{18}`, `$18$`, `\(18\)`, `\text{18}`, `**18**` | 18, up to four such layers |
| `18 eggs`, `x = 18`, `(18)`, `"18"`, `12 or 18` | nothing: it must stand alone |

The last row is for the content of a marked answer (`number`). In running text the last number
counts (harness.tasks.in_text): there words and punctuation stand around it. Gold answers are
read by the same table. What is not understood is no number, never a part of it: `7e4` is not 4.
More than 36 digits are no number.

Own code: math-verify 0.9.0, the field's library, was measured on tests/tasks/test_numbers.py. Of
the 107 contents that the table reads it reads 70 right as `$...$` and 15 as another number (bare:
61 and 34, `7e4` as 7 and `70{,}000` as 70); of the 144 that the table calls nothing it takes 75 for
numbers (bare: 94, `1250²` as 1250 and `1'250` as 1), and of a text `3 million` as 3. It is made to
find an answer wherever there may be one; a reward must not. It also brings sympy (80 MB), and stops
a long parse by SIGALRM, in the main thread only.
"""

import re
from fractions import Fraction

# More digits than this are no integer here; a number has at most twice as many.
MAX_DIGITS = 18
# Longer than any number within these limits, markup included.
MAX_CHARACTERS = 128
# Bold type in a formula in a box is three.
MAX_LAYERS = 4

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
# Touches what it is around; a formula may have space within.
_EMPHASIS = ("**", "__", "*", "_", "`")
# Around the content of an answer; the longer mark before the one that it begins with.
_LAYERS = (
    *(("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")),
    *((rf"\{name}{{", "}") for name in ("boxed", "fbox", "text", "textbf", "mathbf", "mathrm")),
    *((mark, mark) for mark in _EMPHASIS),
)
# Between thousands; the same one throughout.
_SEPARATORS = (r"\{,\}", r",\\!", r"\\,", ",", "\u00a0", "\u2009", "\u202f")
_THREES = "|".join(rf"[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+" for mark in _SEPARATORS)
_WHOLE = rf"(?:(?:{_THREES})(?![0-9])|[0-9]+)"
_SEPARATOR = re.compile("|".join(_SEPARATORS))
_CURRENCY = r"(?:(?:US)?\\?\$|[£€¥₩₪₫₱₹₺₽฿])"
_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5",
    "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8",
    "⅞": "7/8",
}  # fmt: skip
_SIGNS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")
_POWER = r"10(?:\^\{[-−]?[0-9]{1,2}\}|\^[-−]?[0-9]{1,2}|⁻?[⁰¹²³⁴-⁹]{1,2})"
_SHORT = re.compile(r"(frac)([0-9])([0-9])")
_RATIO = rf"""(?:{_WHOLE}(?:/|\ /\ |⁄){_WHOLE}
    | \\[dt]?frac(?:\{{[-−]?[0-9]+\}}\{{[0-9]+\}}|[0-9]{{2}}) | [{"".join(_VULGAR)}])"""
# The written forms of the table, markup apart; `_value` has the last word.
NUMBER = re.compile(
    rf"""(?: (?P<minus>[-−])?(?P<money>{_CURRENCY}\ ?)? | {_CURRENCY}\ ?(?P<inner>[-−]) )
    (?: (?:(?P<whole>{_WHOLE})(?:\ |(?=\\|[{"".join(_VULGAR)}])))?(?P<ratio>{_RATIO})
      | (?P<power>{_POWER})
      | (?P<size>{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)
        (?: [eE](?P<exponent>[-+]?[0-9]{{1,2}})
          | \ ?(?:[×*·⋅x]|\\times|\\cdot)\ ?(?P<times>{_POWER})
          | (?P<ordinal>st|nd|rd|th) )?
    )
    (?P<percent>\ ?\\?%|\ per\ ?cent\b)? (?:\ ?{_CURRENCY})?""",
    re.VERBOSE,
)
_MONEY = re.compile(_CURRENCY)


def integer(content: str) -> int | None:
    """The integer that a text is, as a program would write it; for answers that are one symbol.

    ASCII digits with an optional minus sign, white space around them ignored. No plus sign, no
    commas, no leading zeros, no fraction, at most MAX_DIGITS digits: all that is no integer.
    """
    text = content.strip()
    if not _INTEGER.fullmatch(text) or len(text.lstrip("-")) > MAX_DIGITS:
        return None
    return int(text)


def number(content: str) -> Fraction | None:
    """The exact value of a text that is a number by the module's table, and nothing else."""
    text = content.strip()
    for _ in range(MAX_LAYERS + 1):
        if len(text) > MAX_CHARACTERS:
            return None
        match = NUMBER.fullmatch(text) or NUMBER.fullmatch(text.removesuffix("."))
        if match and (found := value(match)) is not None:
            return found
        text = _inside(text)
    return None


def written(number: Fraction) -> str:
    """A value as `number` reads it again: 18, 1.5, or 1/3 where no decimal is exact."""
    for places in range(2 * MAX_DIGITS + 1):
        if 10**places % number.denominator == 0:
            scaled = abs(number.numerator) * 10**places // number.denominator
            digits = str(scaled).zfill(places + 1)
            point = len(digits) - places
            sign = "-" if number < 0 else ""
            return f"{sign}{digits[:point]}.{digits[point:]}".removesuffix(".")
    return str(number)


def value(match: re.Match[str]) -> Fraction | None:
    """What a match of NUMBER is worth; None where the table says that it is nothing."""
    if sum(map(str.isdigit, match[0])) > 2 * MAX_DIGITS:
        return None
    money = len(_MONEY.findall(match[0]))
    if money == 2 and match[0][0] == match[0][-1] == "$":  # a formula
        money = 0
    if money > 1 or (money and (match["percent"] or match["ordinal"])):
        return None
    if match["ratio"]:
        size = _ratio(match["whole"], match["ratio"])
    elif match["power"]:
        size = _power(match["power"])
    else:
        size = _decimal(match)
    if size is None:
        return None
    return -size if match["minus"] or match["inner"] else size


def _inside(text: str) -> str:
    """The content of the outermost layer of markup; the empty text without one."""
    bare = text.removesuffix(".")
    for opening, closing in _LAYERS:
        is_around = bare.startswith(opening) and bare.endswith(closing)
        if is_around and len(bare) > len(opening + closing):
            inner = bare[len(opening) : -len(closing)]
            return inner if closing in _EMPHASIS else inner.strip()
    return ""


def _digits(text: str) -> str:
    return _SEPARATOR.sub("", text)


def _ratio(whole: str | None, written: str) -> Fraction | None:
    """A fraction, or a mixed number: only with a proper fraction that has no sign of its own."""
    plain = _SHORT.sub(r"\1{\2}{\3}", _digits(_VULGAR.get(written, written)))
    top, bottom = map(int, re.findall("-?[0-9]+", plain.translate(_SIGNS)))
    if bottom == 0 or (whole is not None and not 0 < top < bottom):
        return None
    return int(_digits(whole or "0")) + Fraction(top, bottom)


def _power(written: str) -> Fraction | None:
    """A power of ten."""
    return _tens(written.removeprefix("10").strip("^{}").translate(_SIGNS))


def _tens(exponent: str) -> Fraction | None:
    return Fraction(10) ** int(exponent) if abs(int(exponent)) <= MAX_DIGITS else None


def _decimal(match: re.Match[str]) -> Fraction | None:
    """A decimal, with its power of ten; an ordinal only with the ending of its number."""
    size = _digits(match["size"])
    if match["ordinal"]:
        return Fraction(size) if size.isdigit() and match["ordinal"] == _ending(size) else None
    tens: Fraction | None = Fraction(1)
    if match["exponent"]:
        tens = _tens(match["exponent"])
    elif match["times"]:
        tens = _power(match["times"])
    return None if tens is None else Fraction(size) * tens


def _ending(size: str) -> str:
    """st, nd, rd or th: 21st, but 11th and 111th."""
    if size[-2:-1] == "1":
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(size[-1], "th")
