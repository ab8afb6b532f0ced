"""The process in which a learner's code runs: MODULE GOLDEN FUNCTIONS.

It writes one line of JSON for everything that it begins and finds; whatever the learner's code
prints goes to stderr.
"""

import importlib.util
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from harness import blame
from harness.exercises import judging
from harness.exercises.course import EXERCISES

Say = Callable[[str, Any], None]


def main(argv: list[str]) -> int:
    """Judge each of the named functions of a module that is an exercise."""
    file, golden, functions = Path(argv[0]), Path(argv[1]), argv[2].split(",")
    out = sys.stdout

    def say(event: str, content: Any) -> None:
        out.write(json.dumps([event, content]) + "\n")
        out.flush()

    say("valid", list(EXERCISES))
    with redirect_stdout(sys.stderr):
        found = _imported(file, say)
        if found is not None:
            say("imported", None)
            _judged(found, golden, [f for f in functions if f in EXERCISES], file, say)
    return 0


def _imported(file: Path, say: Say) -> Mapping[str, Any] | None:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the learner's code may raise anything
        say("broken", _raised(error, file))
        return None
    return vars(module)


def _judged(found: Mapping[str, Any], golden: Path, names: list[str], file: Path, say: Say) -> None:
    for name in names:
        say("begins", name)
        try:
            verdict = judging.judge(EXERCISES[name], found[name], golden)
        except (Exception, SystemExit) as error:  # the learner's code may raise anything
            say("raised", _raised(error, file))
            continue
        say("judged", [verdict.state.value, verdict.why, verdict.shown])


def _raised(error: BaseException, file: Path) -> list[Any]:
    """What it says, and the learner's line (0: none) from which it came."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno or 0 for frame in frames if frame.filename == str(file)]
    return [blame.said(error), lines[-1] if lines else 0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
