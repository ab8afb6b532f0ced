"""`python -m harness.data TASK --out FILE.parquet [KEY=VALUE ...]`: a task as a file."""

import sys

from harness.commands.data import main

if __name__ == "__main__":
    from harness.__main__ import use_sweeper_plugin

    use_sweeper_plugin()
    sys.exit(main(sys.argv[1:]))
