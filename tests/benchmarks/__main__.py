"""`python -m tests.benchmarks [NAME [...]]`: the benchmarks, by hand; see tests/README.md.

Without a name all that judge and are quick. Exits with 1 where a ratio misses its bound, with 2
where nothing of what was asked could be run or no such benchmark is there.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import verdict

HELPERS = {"resident", "turns", "verdict", "work"}
ASKS_HELP = {"-h", "--help"}
NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if not path.stem.startswith(("_", "test_")) and path.stem not in HELPERS
)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that is named, with the rest of the arguments, or all that are quick."""
    if not arguments:
        return judged({name: made for name in NAMES if getattr(made := _of(name), "QUICK", False)})
    name, *rest = arguments
    if name in ASKS_HELP:
        print(f"{__doc__}\nThere are {', '.join(NAMES)}.")
        return 0
    if name not in NAMES:
        print(f"error: no benchmark {name!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return verdict.NOT_RUN
    found = _of(name)
    if ASKS_HELP & set(rest):
        print(found.__doc__)
        return 0
    if hasattr(found, "measure"):
        return judged({name: found}, rest)
    code: int = found.main(rest)
    return code


def judged(benchmarks: dict[str, Any], arguments: Sequence[str] = ()) -> int:
    """Run them one after the other; returns the exit code of all."""
    every = verdict.Found()
    for name, benchmark in benchmarks.items():
        print(f"{name}: {benchmark.__doc__.splitlines()[0]}", flush=True)
        every += verdict.concluded(name, benchmark.measure(arguments))
    return verdict.code(every)


def _of(name: str) -> Any:
    return importlib.import_module(f"tests.benchmarks.{name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
