"""Numerical parity with the reference implementations: `python -m harness.parity DIR`.

DIR holds one `<op>.json` per op (schema: tests/golden/README.md). Each case is given to the
function that training itself calls (`parity_ops.OPS`), and every expected number must be
reproduced: |got - expected| <= atol + rtol |expected|, per-token outputs where the mask is 1.
An op that the project does not know counts as failed.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from harness.commands.parity_ops import OPS, Inputs, Outputs
from harness.errors import ConfigError
from harness.machine import shown, terminal

# Outputs of a search, of which a smaller one than the reference found is as good.
LESS_IS_AS_GOOD = {"max_partition_sum"}


@dataclass(frozen=True)
class CaseResult:
    """Outcome of one case: its largest error, and why it fails ("" when it passes)."""

    name: str
    error: float
    failure: str = ""


def leaves(value: Any, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], float]:
    """Numbers of a nested list (or tensor) by position."""
    plain = value.tolist() if isinstance(value, Tensor) else value
    if isinstance(plain, (list, tuple)):
        return {k: v for i, item in enumerate(plain) for k, v in leaves(item, (*path, i)).items()}
    return {path: float(plain)}


def visible(expected: dict[tuple[int, ...], float], inputs: Inputs) -> list[tuple[int, ...]]:
    """Positions to compare: a per-token output only where the mask is 1."""
    mask = leaves(inputs["mask"]) if inputs.get("mask") is not None else {}
    return [path for path in expected if expected.keys() != mask.keys() or mask[path] == 1]


def compare(case: Mapping[str, Any], outputs: Outputs) -> CaseResult:
    """Judge what an adapter produced for one case."""
    worst, failure = 0.0, ""
    for key, value in case["expected"].items():
        if key not in outputs:
            return CaseResult(case["name"], math.inf, f"{key} is not produced")
        got, expected = leaves(outputs[key]), leaves(value)
        if got.keys() != expected.keys():
            return CaseResult(case["name"], math.inf, f"{key} has another shape than expected")
        for path in visible(expected, case["inputs"]):
            error = abs(got[path] - expected[path])
            if key in LESS_IS_AS_GOOD:
                error = max(got[path] - expected[path], 0.0)
            error = math.inf if math.isnan(error) else error
            if not failure and error > case["atol"] + case["rtol"] * abs(expected[path]):
                where = f"{key}{list(path) or ''}"
                failure = f"{where} is {got[path]:.9g}, expected {expected[path]:.9g}"
            worst = max(worst, error)
    return CaseResult(case["name"], worst, failure)


def run_case(op: str, case: Mapping[str, Any]) -> CaseResult:
    """Run one case; an op without an adapter fails, and so does an adapter that raises."""
    if op not in OPS:
        return CaseResult(case["name"], math.inf, "unknown op: add an adapter to harness.parity")
    try:
        return compare(case, OPS[op](case["inputs"], case["params"]))
    except Exception as error:
        return CaseResult(case["name"], math.inf, f"{type(error).__name__}: {error}")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number that can be compared")


def load(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """The op and the cases of one file.

    Raises:
        ConfigError: the file is not of the documented schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        for case in data["cases"]:
            if not (case["expected"] and case["atol"] >= 0 and case["rtol"] >= 0):
                raise ValueError(f"case {case['name']!r} expects nothing or has no tolerance")
            for value in case["expected"].values():
                leaves(value)
            _ = {**case["inputs"], **case["params"]}
        if not (data["cases"] and isinstance(data["op"], str)):
            raise ValueError("it needs an op name and at least one case")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise ConfigError(
            f"{path} is not an op file ({reason}); its schema is in tests/golden/README.md"
        ) from error
    return data["op"], data["cases"]


def select(directory: Path, names: str | None) -> list[tuple[str, list[dict[str, Any]]]]:
    """Ops of a directory in the order of their files, all or those named `a,b`.

    Raises:
        ConfigError: no such directory, no op in it, or a name that it does not have.
    """
    there = os.path.isdir(directory)  # unlike Path.is_dir, it takes a name that is too long
    files = sorted(directory.glob("*.json")) if there else []
    if not files:
        what = "has no *.json file" if there else "is not a directory"
        raise ConfigError(
            f"DIR must hold <op>.json files, received {directory}, which {what}; try tests/golden"
        )
    loaded = [load(path) for path in files]
    if names is None:
        return loaded
    valid = sorted({op for op, _ in loaded})
    wanted = [name.strip() for name in names.split(",")]
    if unknown := sorted(set(wanted) - set(valid)):
        raise ConfigError(
            f"--ops must name ops of {directory}, received {', '.join(map(repr, unknown))}; "
            f"valid: {', '.join(valid)}"
        )
    return [(op, cases) for op, cases in loaded if op in wanted]


def run(argv: Sequence[str] | None = None) -> int:
    """Print one line per op, failing cases beneath and a summary; 0 when every case passes."""
    about = (__doc__ or "").split("\n\n")[0]
    parser = terminal.Parser(prog="python -m harness.parity", description=about)
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder of <op>.json files")
    parser.add_argument("--ops", metavar="a,b", help="only these ops")
    arguments = parser.parse_args(argv)
    console = terminal.console()
    passed = failed = 0
    for op, cases in select(arguments.directory, arguments.ops):
        results = [run_case(op, case) for case in cases]
        failures = [result for result in results if result.failure]
        worst = max(result.error for result in results)
        good = len(results) - len(failures)
        console.print(f"{op:<28} {f'{good}/{len(results)}':>7}  max error {worst:.2g}")
        for result in failures:
            console.print(f"    {shown.line(result.name)}: {shown.line(result.failure)}")
        passed, failed = passed + good, failed + len(failures)
    console.print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command: 0 all pass, 1 a case fails, 2 the request is wrong."""
    try:
        return run(argv)
    except ConfigError as error:
        terminal.complain(error)
        return 2
