"""Whose fault an exception is: what a plug-in raises becomes one line with its name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import HarnessError, Interrupted, PlugInError, Terminated

log = logging.getLogger(__name__)

# Characters of an exception that are shown.
LENGTH = 200


def named(plugin: object) -> str:
    """Import path of a plug-in's class."""
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def said(error: BaseException) -> str:
    """An exception in one line, even one that cannot say what it is."""
    try:
        text = str(error)
    except Exception:  # its __str__ is a plug-in's as well
        text = ""
    name = type(error).__name__
    return line(f"{name}: {text}" if text.strip() else name, LENGTH)


def line(text: str, length: int) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text.split())[:length]


@contextmanager
def blamed(kind: str, plugin: object, method: str) -> Iterator[None]:
    """A call into a plug-in: what it raises is its fault, SystemExit and KeyboardInterrupt too.

    Ctrl-C and SIGTERM that arrive meanwhile are nobody's fault (`harness.machine.process` marks
    them), and errors of the harness say themselves whose they are.

    Args:
        kind: config key of the plug-in, such as `reward`.
        method: which of its methods is called.

    Raises:
        PlugInError: kind, class, method and exception in one line; the traceback is logged.
    """
    try:
        yield
    except (HarnessError, Interrupted, Terminated, GeneratorExit):
        raise
    except BaseException as error:
        log.exception("%s %s.%s raised", kind, named(plugin), method)
        raise PlugInError(f"{kind} {named(plugin)}: {method} raised {said(error)}") from error
