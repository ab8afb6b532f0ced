"""Whether a learner's function is right, and if not, what is wrong with it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from harness.commands.parity import compare, leaves, load, visible
from harness.commands.parity_ops import Outputs
from harness.exercises.kinds import Case, Data, Exercise, Learned, UnfitError

# Two functions are the same where no number of any case differs by more than this share.
SAME = 1e-5
SIGN = "the sign is wrong: every number is the negative of what it must be"
FACTOR = "every number is {:.4g} times what it must be: a constant factor is wrong"
UNKNOWN = "its numbers are others, and it is none of the usual mistakes"

Numbers = dict[tuple[int, ...], float]


class State(Enum):
    """What became of one function."""

    RIGHT = "right"
    WRONG = "not right"
    BLANK = "not written yet"


@dataclass(frozen=True)
class Verdict:
    """What is said of one function: the state, why, and the numbers that show it."""

    state: State
    why: str
    shown: str = ""


@dataclass(frozen=True)
class _Run:
    """One case and what a function made of it: outputs, or why there are none."""

    case: Case
    outputs: Outputs | None
    unfit: str = ""

    def numbers(self) -> Numbers | None:
        """All that is compared, by output and position."""
        if self.outputs is None:
            return None
        return _flat(self.outputs, self.case)


def judge(exercise: Exercise, learned: Learned, golden: Path) -> Verdict:
    """Give a function every case and property of its exercise.

    Args:
        golden: folder of the golden files.

    Raises:
        Exception: what the learner's function itself raises.
        ConfigError: a golden file is missing or damaged.
    """
    cases = _cases(exercise, golden)
    try:
        runs = [_run(data, case, learned) for data, case in cases]
        failed = [(run, why) for run in runs if (why := _failure(run))]
        broken = [p.says for p in exercise.properties if not _holds(p.holds, learned)]
    except NotImplementedError:
        return Verdict(State.BLANK, "its blank still raises NotImplementedError")
    if not failed and not broken:
        return Verdict(State.RIGHT, _praise(exercise, len(runs)))
    shown = f"{failed[0][0].case['name']}: {failed[0][1]}" if failed else ""
    return Verdict(State.WRONG, _reason(exercise, cases, runs, broken), shown)


def _cases(exercise: Exercise, golden: Path) -> list[tuple[Data, Case]]:
    return [
        (data, case)
        for data in exercise.data
        for case in (load(golden / f"{data.op}.json")[1] if data.op else data.cases)
        if data.chosen(case["params"])
    ]


def _run(data: Data, case: Case, learned: Learned) -> _Run:
    try:
        return _Run(case, data.outputs(learned, case["inputs"], case["params"]))
    except UnfitError as error:
        return _Run(case, None, str(error))


def _failure(run: _Run) -> str:
    if run.outputs is None:
        return run.unfit
    return compare(run.case, run.outputs).failure


def _holds(holds: Callable[[Learned], bool], learned: Learned) -> bool:
    """A function that fails on a property's input, after it took every case, does not keep it."""
    try:
        return holds(learned)
    except NotImplementedError:
        raise
    except Exception:  # the learner's function may raise anything
        return False


def _praise(exercise: Exercise, cases: int) -> str:
    ops = ", ".join(data.op for data in exercise.data if data.op)
    golden = f" (golden: {ops})" if ops else ""
    properties = len(exercise.properties)
    kept = f", {properties} propert{'y' if properties == 1 else 'ies'}" if properties else ""
    return f"{cases} case{'' if cases == 1 else 's'}{golden}{kept}"


def _reason(
    exercise: Exercise, cases: list[tuple[Data, Case]], runs: list[_Run], broken: list[str]
) -> str:
    """A mistake with the same numbers; else what the numbers or a property say."""
    unfit = [run.unfit for run in runs if run.unfit]
    if unfit:
        return unfit[0]
    got = [run.numbers() for run in runs]
    for mistake in exercise.mistakes:
        wrong = (_run(data, case, mistake.wrong).numbers() for data, case in cases)
        if all(_same(mine, other) for mine, other in zip(got, wrong, strict=True)):
            return mistake.says
    ratio = _ratio(got, [_flat(run.case["expected"], run.case) for run in runs])
    if ratio is not None and math.isclose(ratio, -1, rel_tol=SAME):
        return SIGN
    if broken:
        return broken[0]
    return UNKNOWN if ratio is None else FACTOR.format(ratio)


def _flat(outputs: Outputs, case: Mapping[str, Any]) -> Numbers:
    """Numbers of the outputs that a case expects, at the positions that are compared."""
    found: Numbers = {}
    for index, key in enumerate(case["expected"]):
        numbers = leaves(outputs[key])
        places = visible(numbers, case["inputs"])
        found |= {(index, *place): numbers[place] for place in places}
    return found


def _same(mine: Numbers | None, other: Numbers | None) -> bool:
    """Equal where both are numbers: a guard against 0 / 0 is not what tells mistakes apart."""
    if mine is None or other is None or mine.keys() != other.keys():
        return False
    return all(_close(mine[place], other[place]) for place in mine)


def _close(a: float, b: float) -> bool:
    return a == b or math.isnan(a - b) or abs(a - b) <= SAME * max(abs(b), SAME)


def _ratio(got: list[Numbers | None], expected: list[Numbers]) -> float | None:
    """got / expected where that is one number other than 1 for all that are not 0."""
    pairs: list[tuple[float, float]] = []
    for mine, right in zip(got, expected, strict=True):
        if mine is None or mine.keys() != right.keys():
            return None
        pairs += [(mine[place], right[place]) for place in right]
    ratios = [a / b for a, b in pairs if abs(b) > SAME]
    if not ratios or math.isclose(ratios[0], 1, rel_tol=SAME):
        return None
    alike = all(abs(a - ratios[0] * b) <= 1e-4 * max(abs(b), 1) for a, b in pairs)
    return ratios[0] if alike else None
