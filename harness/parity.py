"""Numerical parity with the reference implementations: `python -m harness.parity DIR`."""

import sys

from harness.commands.parity import main

if __name__ == "__main__":
    sys.exit(main())
