"""How a sweep is shown: one row per trial in as many columns as there is room for.

The live view, `python -m sweeps status` and a log all print these lines.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence

from harness.machine import shown
from harness.machine.progress import spoken
from harness.tracking.record import Record
from sweeps import remaining
from sweeps.overview import RUNNING, Row, Seen
from sweeps.words import counted, percent

BARS = "▁▂▃▄▅▆▇█"
# Evaluations that a sparkline has room for.
COURSE = 8
ACCURACY, REWARD, RATE = "eval/accuracy", "critic/score/mean", "perf/throughput"
GAP = "  "
# What goes first where a screen is narrow, while less than NARROWEST is left for a trial's name.
DROPPED = ("step", "tokens/s", "course", "reward", "change", "state")
NARROWEST = 12
# Columns that are read from the left; the others are numbers.
LEFT = ("state", "course")


def headline(seen: Seen) -> str:
    """`mine: 59% of 4 trials, about 40 s left`."""
    if seen.share >= 1:
        return f"{seen.name}: all of {counted(len(seen.rows), 'trial')}"
    about = "" if seen.left is None else f", about {spoken(seen.left)} left"
    return f"{seen.name}: {percent(seen.share)} of {counted(len(seen.rows), 'trial')}{about}"


def lines(rows: Sequence[Row], width: int) -> list[str]:
    """A header and a line per trial, no longer than a screen is wide; nothing without one."""
    if not rows:
        return []
    cells = [_cells(row, time.time()) for row in rows]
    kept = [key for key in cells[0] if any(each[key] for each in cells)]
    if {row.state for row in rows} == {RUNNING}:
        kept.remove("state")
    room = width - _width(cells, kept)
    for key in DROPPED:
        if room < NARROWEST and key in kept:
            kept.remove(key)
            room = width - _width(cells, kept)
    names = _names(rows, room)
    longest = max(len(name) for name in (*names, "trial"))
    table = [{key: key for key in kept}, *cells]
    made = [
        GAP.join([name.ljust(longest), *(_cell(table, line, key) for key in kept)]).rstrip()
        for name, line in zip(["trial", *names], table, strict=True)
    ]
    return [line[:width] for line in made]


def failures(rows: Sequence[Row]) -> list[str]:
    """`grpo s0 failed: the last line of its error`, for every trial that has one."""
    return [
        f"{row.job.trial}  {row.state}: {shown.line(row.record.error)}"
        for row in rows
        if row.record is not None and row.record.error and row.state != RUNNING
    ]


def told(name: str, found: Record, step: int) -> str:
    """What a log says of the evaluation after a step; the record may know later ones."""
    until = {number: made for number, made in found.steps.items() if number <= step}
    cell = _measured(dataclasses.replace(found, steps=until), time.time())
    parts = [f"step {cell['step']:>5}", f"{cell['done']:>4}"]
    parts += [f"reward {cell['reward']}"] * bool(cell["reward"])
    parts += [f"held-out accuracy {cell['held-out']} ({cell['change']})"] * bool(cell["held-out"])
    parts += [f"{cell['tokens/s']} tokens/s"] * bool(cell["tokens/s"])
    parts += [f"about {cell['left']} left"] * bool(cell["left"])
    return "  ".join([shown.line(name), *parts])


def sparkline(values: Sequence[float]) -> str:
    """Values as bars from the smallest to the largest of them; of many, evenly spaced ones."""
    if len(values) > COURSE:
        values = [values[round(i * (len(values) - 1) / (COURSE - 1))] for i in range(COURSE)]
    low, high = min(values), max(values)
    width = (high - low) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int((v - low) / width * len(BARS)))] for v in values)


def _names(rows: Sequence[Row], room: int) -> list[str]:
    """Whole names, or without the hash, or shortened: the first that have room."""
    whole = [shown.line(row.job.trial) for row in rows]
    if all(len(name) <= room for name in whole):
        return whole
    short = [shown.line(f"{row.job.variant} s{row.job.seed}") for row in rows]
    return [shown.shortened(name, room) for name in short]


def _cell(table: Sequence[Mapping[str, str]], line: Mapping[str, str], key: str) -> str:
    width = max(len(each[key]) for each in table)
    return line[key].ljust(width) if key in LEFT else line[key].rjust(width)


def _width(cells: Sequence[Mapping[str, str]], kept: Sequence[str]) -> int:
    """Of all columns but the name's, gaps included."""
    return sum(len(GAP) + max(len(key), *(len(each[key]) for each in cells)) for key in kept)


def _cells(row: Row, now: float) -> dict[str, str]:
    """Column -> text, in the order of the columns."""
    made = dict.fromkeys(
        ("state", "step", "done", "reward", "held-out", "change", "course", "tokens/s", "left"), ""
    )
    made["state"] = row.state
    if row.record is not None and row.record.steps:
        made |= _measured(row.record, now)
    elif row.state == RUNNING:
        made["step"] = "start"
    if row.state != RUNNING:
        made["left"] = ""
    return made


def _measured(found: Record, now: float) -> dict[str, str]:
    steps = [found.steps[i].metrics for i in range(found.last + 1)]
    seen = [metrics[ACCURACY] for metrics in steps if ACCURACY in metrics]
    seconds = remaining.left(found, now)
    last = steps[-1]
    return {
        "step": str(found.last),
        "done": f"{remaining.used(found):.0%}",
        "reward": f"{last[REWARD]:.3f}" if REWARD in last else "",
        "held-out": f"{seen[-1]:.3f}" if seen else "",
        "change": f"{seen[-1] - seen[0]:+.3f}" if seen else "",
        "course": sparkline(seen) if seen else "",
        "tokens/s": f"{last[RATE]:,.0f}" if RATE in last else "",
        "left": "" if seconds is None or remaining.used(found) >= 1 else spoken(seconds),
    }
