"""Stop strings: one rule for every engine of what completes one."""

from collections.abc import Sequence

from harness.models.tokens import UNKNOWN


def completed(before: str, after: str, stops: Sequence[str]) -> bool:
    """Whether a token completes a stop string; one that stood there before it does not count.

    Args:
        before: the response's text without the token. Bytes of a character that is not whole yet
            stand at its end as UNKNOWN, and are of what comes after.
        after: its text with the token.
    """
    old = len(before.rstrip(UNKNOWN))
    return any(stop in after[max(0, old - len(stop) + 1) :] for stop in stops)
