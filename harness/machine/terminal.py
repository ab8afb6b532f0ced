"""What the commands say: on one kind of console, and one line for what went wrong.

A string is data: it is printed as it is, without rich's markup and emoji codes, and what a terminal
would obey is shown. Style is for `rich.text.Text`, which the code makes and no data can.
"""

import argparse
import io
import sys
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from harness.errors import ConfigError
from harness.machine import shown

# Columns where nobody's screen ends.
UNBOUNDED = 10_000


class _Plain(Console):
    """A console that obeys no string; every string, also a table's cell, passes through here."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(shown.block(text), **options)


def console() -> Console:
    """The project's console on stdout; lines are wrapped by the terminal only.

    A file or a pipe has no width: a table written to it takes what it needs. A terminal that moves
    no cursor (TERM=dumb, as in an editor) is written to as a file is: a screen that stays, or a bar
    would show nothing before its end.
    """
    tolerate()
    made = _Plain(markup=False, emoji=False, highlight=False, soft_wrap=True)
    if made.is_dumb_terminal:
        made = _Plain(
            force_terminal=False, markup=False, emoji=False, highlight=False, soft_wrap=True
        )
    elif not made.is_terminal:
        made.width = UNBOUNDED
    return made


def tolerate() -> None:
    """Let stdout escape the characters that its encoding lacks; stderr always does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def complain(problem: object) -> None:
    """`error: ...` on stderr, one line whatever the problem's text is."""
    remark(f"error: {problem}")


def remark(words: str) -> None:
    """One line on stderr."""
    print(shown.line(words), file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """A command line whose faults are errors like all others.

    Raises:
        ConfigError: from `parse_args`, where argparse would print two lines and exit.
    """

    def error(self, message: str) -> NoReturn:
        usage = self.format_usage().removeprefix("usage: ")
        raise ConfigError(f"{message}; usage: {shown.line(usage)}")
