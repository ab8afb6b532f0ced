"""`python -m harness.audit_reward [fuzz=N] [KEY=VALUE ...]`: can the grader be fooled?"""

import sys

from harness.commands.audit_reward import main

if __name__ == "__main__":
    from harness.__main__ import use_sweeper_plugin

    use_sweeper_plugin()
    sys.exit(main())
