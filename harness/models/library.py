"""The transformers library: imported where a model or a tokenizer is first touched, and quiet.

It takes longer to import than all else of a command together. Help, a value that is refused and an
analysis need none of it.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from harness.machine.progress import Unit, advance

# How transformers calls the loop over a checkpoint's tensors.
TENSORS = "Loading weights"


@cache
def transformers() -> Any:
    """The package, with its models ready to be made."""
    with _without("sklearn"):  # one of its ways to sample, never used here, imports all of it
        import transformers as library

        library.GenerationMixin  # noqa: B018  its modules are imported when they are named
    library.utils.logging.disable_progress_bar()  # three bars per checkpoint hide our own lines
    library.utils.logging.set_tqdm_hook(_bar)
    return library


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Nobody finds a package inside the block, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # what Python takes for "not there"
    try:
        yield
    finally:
        del sys.modules[package]


def _ticked(items: Collection[Any]) -> Iterator[Any]:
    for item in items:
        yield item
        advance(Unit.COPIES, 1 / len(items))


def _bar(factory: Callable[..., Any], arguments: Any, options: Any) -> Any:
    """What transformers gets where it asks for a bar: our own for a checkpoint's tensors."""
    if options.get("desc") == TENSORS:
        return _ticked(arguments[0])
    return factory(*arguments, **options)
