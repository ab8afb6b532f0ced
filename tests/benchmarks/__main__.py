"""`python -m tests.benchmarks NAME [...]`: the benchmarks, by hand; see tests/README.md."""

import importlib
import sys
from pathlib import Path

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if not path.stem.startswith("_") and path.stem != "work"
)


def main() -> int:
    """Run the benchmark that is named, with the rest of the arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"error: name a benchmark: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    name, *arguments = sys.argv[1:]
    code: int = importlib.import_module(f"tests.benchmarks.{name}").main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
