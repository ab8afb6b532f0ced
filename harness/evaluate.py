"""`python -m harness.evaluate CHECKPOINT [KEY=VALUE ...]`: measure a checkpoint, held out."""

import sys

from harness.commands.evaluate import main

if __name__ == "__main__":
    from harness.__main__ import use_sweeper_plugin

    use_sweeper_plugin()
    sys.exit(main())
