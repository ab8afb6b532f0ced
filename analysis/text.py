"""Numbers and tables as Markdown."""

import math
from collections.abc import Sequence

from analysis.stats import Difference, Estimate
from harness.schema import METRICS

NONE = "–"
# A token more or less is below every spread seen; shares and nats need three decimals.
DECIMALS = {"tokens": 1}
DEFAULT_DECIMALS = 3
SHORT_HASH = 12
SMALLEST_P = 0.001


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
    """Inline code that survives backticks in the value; a dash for nothing."""
    text = " ".join(str(value).split())
    if not text:
        return NONE
    fence = "``" if "`" in text else "`"
    pad = " " if fence == "``" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def prose(text: str) -> str:
    """One paragraph from text that may be folded over lines."""
    return " ".join(text.split())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Pipes and line breaks in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def fenced(text: str) -> str:
    """A block of verbatim text; control characters are shown as escapes."""
    clean = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    fence = "```"
    while fence in clean:
        fence += "`"
    return f"{fence}text\n{clean}\n{fence}"
