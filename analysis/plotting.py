"""Learning curves of any frame of metrics, as the report draws them."""

import math
from collections.abc import Mapping, Sequence

import polars as pl

from analysis import figures, labels, lines, names, text
from analysis.drawing import Panel, capitalised, mean
from analysis.frame import Axis
from analysis.labels import MOST_BRIGHT, Ink
from harness.errors import ConfigError
from harness.wording import few

MOST_NAMED = 8  # variants whose end an alternative text tells; more are not listened to
SHOWN = 12  # metrics that a message names


def curves(
    frame: pl.DataFrame,
    metric: str = "eval/accuracy",
    x: str = "tokens",
    variants: Sequence[str] | None = None,
) -> Panel:
    """One metric of every trial and its mean over seeds, in the report's own drawing.

    Example:
        >>> groups = analysis.grouped(analysis.load("runs", "length_bias"))
        >>> analysis.curves(groups.history, "eval/accuracy", x="tokens")

    Args:
        frame: variant, seed, trial, metric, step and value, as in `.metrics` of `analysis.read` and
            `.history` of `analysis.grouped`; one run of each trial.
        metric: key of what is drawn.
        x: "steps", "tokens" or "seconds".
        variants: which ones, in the order of their colours; all that the frame has by default. The
            first eight have seeds, bands and colours, the others are grey means.

    Raises:
        ConfigError: an unknown metric, axis or variant, or a trial with several runs.
    """
    if x.upper() not in Axis.__members__:
        valid = ", ".join(axis.name.lower() for axis in Axis)
        raise ConfigError(f"no axis {x!r}; valid: {valid}")
    axis = Axis[x.upper()]
    _check(frame)
    there = frame["variant"].unique(maintain_order=True).to_list()
    wanted = list(variants) if variants is not None else there
    unknown = [label for label in wanted if label not in there]
    if unknown:
        raise ConfigError(f"no variant {unknown[0]!r} in the frame; valid: {', '.join(there)}")
    parts = lines.by_metric(frame.filter(pl.col("variant").is_in(wanted)))
    if not lines.has(parts, metric, axis):
        known = [key for key in sorted(parts) if lines.has(parts, key, axis)] or ["none"]
        raise ConfigError(f"no value of {metric!r} against {x}; valid: {few(known, SHOWN)}")
    ink = labels.inks(wanted, wanted[:MOST_BRIGHT])
    return curve("", parts, metric, axis, ink, told(_ends(parts[metric]), metric, ink, "the end"))


def _check(frame: pl.DataFrame) -> None:
    """Two runs of one trial would be drawn as one line that goes to and fro."""
    runs = frame.group_by("trial").agg(pl.col("run_id").n_unique()).filter(pl.col("run_id") > 1)
    if len(runs):
        raise ConfigError(
            f"trial {runs['trial'].sort()[0]!r} has several runs in the frame; draw those that "
            f"count, `.history` of analysis.grouped(data)"
        )


def _ends(rows: pl.DataFrame) -> dict[str, float]:
    """Mean over trials of each one's last value."""
    last = rows.sort("step").unique("trial", keep="last", maintain_order=True)
    return {
        str(key[0]): mean(own["value"].to_numpy())
        for key, own in last.partition_by("variant", as_dict=True).items()
    }


def curve(
    group: str,
    parts: Mapping[str, pl.DataFrame],
    metric: str,
    axis: Axis,
    ink: dict[str, Ink],
    ends: str,
) -> Panel:
    """The figure of one metric against one axis.

    Args:
        parts: `lines.by_metric` of what is drawn.
        ink: of every variant, in order.
        ends: `told`.
    """
    title = capitalised(names.name(metric))
    words = f"{title} against {figures.AXIS_LABELS[axis]}. {ends}"
    bright = [label for label, own in ink.items() if own.bright]

    return Panel(
        group,
        f"{metric.replace('/', '_')}_{axis.name.lower()}",
        words,
        lambda: figures.curve(
            title,
            names.label(metric),
            axis,
            lines.curves(parts, metric, axis, list(ink), bright),
            ink,
        ),
    )


def told(ends: Mapping[str, float], metric: str, ink: Mapping[str, Ink], where: str) -> str:
    """`Means at the result: grpo 0.880, reinforce 0.810.`"""
    known = {x: ends[x] for x in ink if not math.isnan(ends.get(x, math.nan))}
    if not known:
        return f"No trial has a value at {where}."
    said = {x: end for x, end in known.items() if len(known) <= MOST_NAMED or ink[x].bright}
    listed = ", ".join(f"{ink[x].word} {text.number(v, metric)}" for x, v in said.items())
    rest = len(known) - len(said)
    low, high = (text.number(end(known.values()), metric) for end in (min, max))
    span = f"; {rest} others from {low} to {high}" if rest else ""
    return f"Means at {where}: {listed}{span}."
