"""Numbers and tables as Markdown."""

import math
import re
from collections.abc import Sequence

from analysis.stats import Difference, Estimate
from harness.machine import shown
from harness.schema import METRICS

NONE = "–"
# A token more or less is below every spread seen; shares and nats need three decimals.
DECIMALS = {"tokens": 1}
DEFAULT_DECIMALS = 3
SHORT_HASH = 12
SMALLEST_P = 0.001
# What Markdown acts on inside a line: emphasis, code, links, images, struck text, HTML, entities,
# and a backslash that would escape what follows it.
_SPECIAL = re.compile(r"[*`\[~]|<(?! |$)|&(?=#?\w+;)|\\(?=[!-/:-@\[-`{-~]|$)")
# Underscores inside a word are plain.
_UNDERSCORES = re.compile(r"(?<![^\W_])(?<!_)_+|(?<!_)_+(?![^\W_])(?!_)")
# What Markdown acts on where a line begins, and the marks that close a heading.
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?= |$)")
_AT_AN_END = re.compile(r"^[#>+=-]|(?<= )#+$")


def decimals(metric: str) -> int:
    """Decimals that a metric is shown with."""
    return DECIMALS.get(METRICS[metric].unit, DEFAULT_DECIMALS)


def number(value: float, metric: str) -> str:
    """A value in its metric's decimals; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:z.{decimals(metric)}f}"


def signed(value: float, metric: str) -> str:
    """A difference, always with its sign; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:+z.{decimals(metric)}f}"


def estimate(e: Estimate, metric: str) -> str:
    """Mean and interval, `0.880 [0.870, 0.890]`; the mean alone without an interval."""
    if math.isnan(e.low):
        return number(e.mean, metric)
    return f"{number(e.mean, metric)} [{number(e.low, metric)}, {number(e.high, metric)}]"


def difference(d: Difference, metric: str) -> str:
    """Signed difference and interval, `+0.045 [+0.020, +0.070]`."""
    if math.isnan(d.low):
        return signed(d.value, metric)
    return f"{signed(d.value, metric)} [{signed(d.low, metric)}, {signed(d.high, metric)}]"


def plain(value: float, places: int) -> str:
    """A number without a unit; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:+z.{places}f}"


def p_value(p: float | None) -> str:
    """`0.013`, `< 0.001`, or a dash."""
    if p is None:
        return NONE
    return f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def seeds(n: int) -> str:
    """`3 seeds`."""
    return f"{n} seed" if n == 1 else f"{n} seeds"


def code(value: object) -> str:
    """Inline code, whatever backticks the value has; a dash for nothing."""
    text = shown.line(value)
    if not text:
        return NONE
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def codes(values: Sequence[object]) -> str:
    """A list of inline code, or `none`."""
    return ", ".join(map(code, values)) or "none"


def prose(value: object) -> str:
    """One line of Markdown that reads as the text itself: no heading, link, image, list or HTML.

    Every text that the report did not write itself goes through here, `code` or `fenced`. Only
    what Markdown would act on is escaped, so that report.md stays readable.
    """
    text = _SPECIAL.sub(r"\\\g<0>", shown.line(value))
    text = _UNDERSCORES.sub(lambda run: "\\_" * len(run[0]), text)
    text = _NUMBERED.sub(r"\1\\\2", text)
    return _AT_AN_END.sub(r"\\\g<0>", text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Cells are Markdown; their pipes and line breaks are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def fenced(value: object) -> str:
    """A block of verbatim text; what is not printable is shown as escapes."""
    text = shown.block(value)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
