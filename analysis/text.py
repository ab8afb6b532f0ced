"""Numbers and tables as Markdown."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal

from analysis.stats import Difference, Estimate, Resolution
from analysis.units import limit, unit
from harness.machine import shown

NONE = "–"
# A token more or less is below every spread seen; shares and nats need three decimals.
DECIMALS = {"tokens": 1}
DEFAULT_DECIMALS = 3
SHORT_HASH = 12
SMALLEST_P = 0.001
NOTHING = 1e-12  # what rounding leaves of a difference that is none
# What Markdown acts on inside a line: emphasis, code, links, images, struck text, HTML, entities,
# and a backslash that would escape what follows it.
_SPECIAL = re.compile(r"[*`\[~]|<(?! |$)|&(?=#?\w+;)|\\(?=[!-/:-@\[-`{-~]|$)")
# Underscores inside a word are plain.
_UNDERSCORES = re.compile(r"(?<![^\W_])(?<!_)_+|(?<!_)_+(?![^\W_])(?!_)")
# What Markdown acts on where a line begins, and the marks that close a heading.
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?= |$)")
_AT_AN_END = re.compile(r"^[#>+=-]|(?<= )#+$")


def decimals(metric: str, scale: float = math.nan) -> int:
    """Decimals that a metric is shown with: its own, or as many as one digit of `scale` takes.

    What is not zero never prints as zero, and an interval never as a point.
    """
    own = DECIMALS.get(unit(metric), DEFAULT_DECIMALS)
    if not abs(scale) >= NOTHING or math.isinf(scale):
        return own
    return max(own, -math.floor(math.log10(abs(scale))))


def number(value: float, metric: str) -> str:
    """A value in its metric's decimals; a dash for NaN."""
    return _shown([value], metric, value)[0]


def signed(value: float, metric: str) -> str:
    """A difference, always with its sign; a dash for NaN."""
    return _shown([value], metric, value, "+")[0]


def exact(value: float, metric: str) -> str:
    """A number that somebody chose, with all its digits, `0.020` or `0.00001`."""
    written = max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))
    return f"{value:z.{max(decimals(metric), written)}f}"


def estimate(e: Estimate, metric: str) -> str:
    """Mean and interval, `0.880 [0.870, 0.890]`; the mean alone without one or of zero width."""
    if math.isnan(e.low) or e.low == e.high:
        return number(e.mean, metric)
    return _interval(e.mean, e.low, e.high, metric)


def change(e: Estimate, metric: str) -> str:
    """A mean change and its interval, both with signs, `+0.211 [+0.180, +0.242]`."""
    if math.isnan(e.low) or e.low == e.high:
        return signed(e.mean, metric)
    return _interval(e.mean, e.low, e.high, metric, "+")


def difference(d: Difference, metric: str) -> str:
    """Signed difference and interval, `+0.045 [+0.020, +0.070]`; of times `×0.42 [×0.3, ×0.59]`."""
    if d.of_logs:
        return factors(d.value, d.low, d.high)
    if math.isnan(d.low):
        return signed(d.value, metric)
    return _interval(d.value, d.low, d.high, metric, "+")


def factors(*logs: float) -> str:
    """Ratios from their logarithms, the first with the others as its interval."""
    known = [f"×{_exp(x):.3g}" for x in logs if not math.isnan(x)]
    shown, *bounds = known or [NONE]
    return f"{shown} [{', '.join(bounds)}]" if bounds else shown


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:  # a ratio's bound that nothing is known of
        return math.inf


def resolution(r: Resolution, metric: str) -> str:
    """What could have been shown, with its own uncertainty; a dash where it is unknown."""
    if r.of_logs:
        return factors(r.value, r.low, r.high)
    if math.isnan(r.value):
        return NONE
    scale = (min(r.high, limit(metric)) - r.low) / 2
    shown, *bounds = (_within(size, metric, scale) for size in (r.value, r.low, r.high))
    return f"{shown} [{', '.join(bounds)}]"


def size(value: float, metric: str) -> str:
    """A difference that could be shown; `> 1.000` where no two values of the metric have it."""
    return _within(value, metric, min(value, limit(metric)))


def _within(value: float, metric: str, scale: float) -> str:
    most = limit(metric)
    (shown,) = _shown([min(value, most)], metric, scale)
    return f"> {shown}" if value > most else shown


def _interval(value: float, low: float, high: float, metric: str, sign: str = "") -> str:
    shown, *bounds = _shown([value, low, high], metric, (high - low) / 2, sign)
    return f"{shown} [{', '.join(bounds)}]"


def _shown(values: Sequence[float], metric: str, scale: float, sign: str = "") -> list[str]:
    """Numbers with the same decimals; a dash for NaN."""
    places = decimals(metric, scale)
    return [NONE if math.isnan(v) else f"{v:{sign}z.{places}f}" for v in values]


def percent(level: float) -> str:
    """A level, `95 %` or `98.33 %`."""
    return f"{100 * level:.4g} %"


def plain(value: float, places: int) -> str:
    """A number without a unit; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:+z.{places}f}"


def p_value(p: float | None) -> str:
    """`0.013`, `< 0.001`, or a dash."""
    if p is None:
        return NONE
    return f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def equals(p: float) -> str:
    """A p-value behind its letter: `= 0.013`, `< 0.001`."""
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


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


def alternative(value: object) -> str:
    """The text between the brackets of an image: one line, whose own brackets close nothing."""
    return prose(value).replace("]", "\\]")


def image(name: str, words: str) -> str:
    """A figure that the report has drawn, with what it shows."""
    return f"![{alternative(words)}]({name})"


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
