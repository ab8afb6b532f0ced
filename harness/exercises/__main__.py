"""`python -m harness.exercises check FILE`."""

import sys

from harness.exercises.command import main

if __name__ == "__main__":
    sys.exit(main())
