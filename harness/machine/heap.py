"""Python's own memory: what stays for a whole trial is not looked at again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled(sleeps: bool) -> Iterator[None]:
    """Take what there is for permanent while the block runs.

    vLLM collects garbage when it sleeps and twice when it wakes, three times a step: .7 s over the
    half a million objects that its libraries and the models are.

    Args:
        sleeps: whether such an engine is there: false leaves everything as it is.
    """
    if not sleeps:
        yield
        return
    gc.collect()  # what is garbage now would never be found
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # Python would complain of it at its end
