"""What goes wrong with a store, in one line with the remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import StoreError

# In an address that an error repeats: what comes before the password, and it.
SECRET = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
# (signs in an error, what to do about it); the first that fits.
REMEDIES = (
    (
        ("is full", "No space left", "disk I/O error", "File too large", "quota"),
        "free some space there, or raise the limit on file sizes (ulimit -f); the same command "
        "then continues",
    ),
    (
        ("is locked",),
        "another program keeps writing to it: end that one; the same command then continues",
    ),
    (
        ("readonly", "Permission denied", "Read-only", "unable to open", "not permitted"),
        "make the folder and the file writable, or copy the folder to where you may write",
    ),
)


@contextmanager
def worded(place: object, kinds: tuple[type[Exception], ...], otherwise: str) -> Iterator[None]:
    """Word errors of these kinds that a store raises inside the block.

    Args:
        place: the store.
        otherwise: the remedy where none of REMEDIES fits.

    Raises:
        StoreError: in one line, with the remedy.
    """
    try:
        yield
    except kinds as error:
        reason = _reason(error)
        fitting = (remedy for signs, remedy in REMEDIES if any(sign in reason for sign in signs))
        raise StoreError(
            f"{place} cannot be used ({reason}); {next(fitting, otherwise)}"
        ) from error


def _reason(error: BaseException) -> str:
    """What the innermost of some nested errors says, on one line and without a password."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).split()) or type(error).__name__
    return SECRET.sub(r"\1:***@", said)
