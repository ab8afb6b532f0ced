"""Words of a refusal: what was received, what would have been valid, and what was probably meant.

No library's own words reach a user: `must be a number, received 'abc'` whatever refused it.
"""

import dataclasses
import inspect
import re
import types
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

# Names that a message lists before it only counts.
NAMED = 3
# How a value of each type is called in a message.
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
# Beside the words of a list or a mapping.
MANY = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}


def documented(cls: type) -> dict[str, str]:
    """What a class's own docstring says of its fields, by name: its `Attributes:` section.

    An entry may go over several lines and may be about several fields: `a, b: text`.
    """
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    section = re.split(r"\n\S", section)[0]
    entries = re.findall(r"^    (\w+(?:, \w+)*): (\S.*(?:\n     .*)*)", section, flags=re.MULTILINE)
    return {
        name: " ".join(text.split()).rstrip(".")
        for names, text in entries
        for name in names.split(", ")
    }


def few(names: Sequence[str], most: int = NAMED) -> str:
    """The first names, and how many more there are: `a, b, c and 2 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quoted(path: Path) -> str:
    """A path as a value of Hydra's grammar, whatever characters it has."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def unknown(what: str, name: str, valid: Collection[str], prefix: str = "") -> str:
    """`unknown key 'a.gruop'; did you mean a.group? valid: ...`.

    Args:
        what: kind of the name; name: the one that does not exist.
        valid: those that exist in its place.
        prefix: stands before all of them, such as `algorithm.` or `algorithm=`.
    """
    close = get_close_matches(name, valid, n=1)
    meant = f"did you mean {prefix}{close[0]}? " if close else ""
    return f"unknown {what} {prefix + name!r}; {meant}valid: {', '.join(sorted(valid))}"


def expected(hint: Any) -> str:
    """What a field of this type takes: `a number or null`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [expected(kind) for kind in inner if kind is not type(None)]
        return " or ".join([*kinds, "null"] if type(None) in inner else kinds)
    if origin in (list, tuple):
        kind = inner[0] if inner else Any
        return f"a list of {MANY[kind]}" if kind in MANY else "a list"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    if origin is dict or hint is dict:
        return f"a mapping of names to {MANY.get(inner[1], 'nodes')}" if inner else "a mapping"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        names = ", ".join(f.name for f in dataclasses.fields(hint) if f.init)
        return f"a group of keys ({names})"
    return KINDS.get(hint, "of another type")


def given(value: Any) -> str:
    """A value as a config writes it."""
    return {None: "null", True: "true", False: "false"}[value] if _is_word(value) else repr(value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
