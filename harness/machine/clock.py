"""When this process began to be one of the harness."""

import time

# Torch and the rest, which take seconds to import, come after the package itself.
IMPORTED_S = time.monotonic()
