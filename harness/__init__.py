"""One trial: the training core and its plug-ins."""

import time

# The first thing that a process of the harness does; torch, which takes seconds, comes after.
IMPORTED_S = time.monotonic()
