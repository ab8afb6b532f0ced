"""CPU time of a call, for tests of how it grows with its input."""

import time
from collections.abc import Callable

REPEATS = 3


def cpu_seconds(call: Callable[[], object]) -> float:
    """The least of some repeats: what else the machine does only adds."""
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        call()
        spent.append(time.process_time() - began)
    return min(spent)
