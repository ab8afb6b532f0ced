"""What a benchmark found: ratios beside their bounds, told, written, and judged.

A time alone says more of the machine than of the code: what is judged is a ratio of two
measurements that were made side by side, or of one to what is allowed.
"""

import json
import os
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.machine.provenance import git_state, hardware, versions

FOLDER = Path("runs") / "benchmarks"
"""Under the folder in which the command is started, as a trial's runs are."""
MISSED, NOT_RUN = 1, 2
"""Exit codes: a bound is missed; nothing of what was asked could be run."""


@dataclass(frozen=True)
class Ratio:
    """One number that a benchmark found, and what it must keep.

    Attributes:
        name: of which work, and what is divided by what.
        value: the ratio.
        least, most: its bounds; with neither it is told and not judged.
        sides: what was measured of each side, one number per repetition.
        unit: of the sides.
    """

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    sides: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unit: str = "CPU s"

    @property
    def kept(self) -> bool | None:
        """Whether it is within its bounds; None without any. What is no number is not."""
        if self.least is None and self.most is None:
            return None
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    @property
    def bound(self) -> str:
        """`>= 1.40`, or "" without one."""
        known = ((">=", self.least), ("<=", self.most))
        return ", ".join(f"{sign} {value:.2f}" for sign, value in known if value is not None)


@dataclass(frozen=True)
class Found:
    """What a benchmark found, and in one line each what it could not run."""

    ratios: tuple[Ratio, ...] = ()
    not_run: tuple[str, ...] = ()

    def __add__(self, other: "Found") -> "Found":
        return Found(self.ratios + other.ratios, self.not_run + other.not_run)


def quotient(
    name: str,
    sides: Mapping[str, Sequence[float]],
    least: float | None = None,
    most: float | None = None,
    unit: str = "CPU s",
) -> Ratio:
    """The first side's median over the second's."""
    over, under = (statistics.median(values) for values in sides.values())
    return Ratio(name, over / under, least, most, sides, unit)


def told(ratio: Ratio) -> str:
    """One line: verdict, ratio and bound, then the medians with the least and most of each side."""
    word = {True: "kept", False: "MISSED", None: "told"}[ratio.kept]
    sides = "; ".join(
        f"{name} {_shown(statistics.median(values))} "
        f"({_shown(min(values))} to {_shown(max(values))}, {len(values)})"
        for name, values in ratio.sides.items()
    )
    bound = f" ({ratio.bound})" if ratio.bound else ""
    return f"{word:6} {ratio.name}: {ratio.value:.2f}{bound}" + (
        f"   {sides} {ratio.unit}" if sides else ""
    )


def concluded(name: str, parts: Iterable[Found], folder: Path = FOLDER) -> Found:
    """Print what a benchmark finds, as it does, and write all of it to FOLDER/NAME.json."""
    found = Found()
    for part in parts:
        for ratio in part.ratios:
            print(told(ratio), flush=True)
        for reason in part.not_run:
            print(f"not run {name}: {reason}", flush=True)
        found += part
    folder.mkdir(parents=True, exist_ok=True)
    made = json.dumps(written(name, found), indent=1, allow_nan=True)
    (folder / f"{name}.json").write_text(made + "\n", "utf-8")
    return found


def written(name: str, found: Found) -> dict[str, Any]:
    """What the file holds."""
    commit, changed = git_state()
    return {
        "benchmark": name,
        "command": shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]]),
        "commit": commit,
        "changed": changed,
        "machine": {
            "hardware": hardware(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "libraries": versions(),
        },
        "ratios": [
            {
                "name": ratio.name,
                "value": ratio.value,
                "least": ratio.least,
                "most": ratio.most,
                "kept": ratio.kept,
                "unit": ratio.unit,
                "sides": {side: list(values) for side, values in ratio.sides.items()},
            }
            for ratio in found.ratios
        ],
        "not_run": list(found.not_run),
    }


def code(found: Found) -> int:
    """Exit code of all that was found; says how much was kept, missed and not run."""
    kept = [ratio.kept for ratio in found.ratios]
    missed, judged = kept.count(False), kept.count(True) + kept.count(False)
    print(f"{kept.count(True)} kept, {missed} missed, {len(found.not_run)} not run")
    if missed:
        return MISSED
    return 0 if judged or (found.ratios and not found.not_run) else NOT_RUN


def _shown(value: float) -> str:
    return f"{value:.3g}"
