"""JSON data read against fixed dataclasses, and written back: nothing that it names is imported,
resolved or guessed, so a file from somebody else is only ever data.
"""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from harness.errors import ConfigError

# Metadata of a field that came when there were files without it: where it has its default it is not
# written, so that the hash over what says nothing new stays what it was.
SINCE = {"since": "later"}

Leaf = str | int | float | bool | None
"""What a leaf of JSON data can be."""


def read(cls: type, data: Any, path: str = "") -> Any:
    """The object of `cls` that a JSON object describes.

    Args:
        cls: a dataclass of scalars, enums, leaves, dataclasses, lists and mappings of them.
        data: what `json.loads` returned.
        path: key path of the object, for messages.

    Raises:
        ConfigError: no object, an unknown or missing key, a wrong type or a bad value.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{path or 'the whole'} must be an object, received {_kind(data)}")
    prefix = f"{path}." if path else ""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise ConfigError(f"unknown key {prefix + key!r}; valid: {', '.join(sorted(fields))}")
    unset = (dataclasses.MISSING, dataclasses.MISSING)
    for key, field in fields.items():
        if key not in data and (field.default, field.default_factory) == unset:
            raise ConfigError(f"required key {prefix + key!r} is not there")
    hints = get_type_hints(cls)
    return cls(**{key: _value(hints[key], item, prefix + key) for key, item in data.items()})


def plain(value: Any) -> Any:
    """A dataclass as the JSON data that `read` takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: plain(v) for f, v in pairs if f.metadata != SINCE or v != _default(f)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _value(hint: Any, value: Any, path: str) -> Any:
    """One field's value, of exactly the type that its class declares."""
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        return [_value(item, v, f"{path}[{i}]") for i, v in enumerate(_only(list, value, path))]
    if get_origin(hint) is dict:
        _, item = get_args(hint)
        mapping = _only(dict, value, path)
        return {_text(k, path): _value(item, v, f"{path}.{k}") for k, v in mapping.items()}
    if hint == Leaf:
        return value if value is None else _scalar(type(value), value, path)
    if isinstance(hint, UnionType):  # something or nothing
        (own,) = set(get_args(hint)) - {NoneType}
        return value if value is None else _value(own, value, path)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return read(hint, value, path)
    if issubclass(hint, Enum):
        return _member(hint, value, path)
    return _scalar(hint, value, path)


def _only(kind: type, value: Any, path: str) -> Any:
    if type(value) is not kind:  # True is no int
        raise ConfigError(f"{path} must be {kind.__name__}, received {_kind(value)}")
    return value


def _scalar(kind: type, value: Any, path: str) -> Any:
    if kind is str:
        return _text(value, path)
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{path} is too large a number") from error
    if kind not in (int, float, bool):
        raise ConfigError(f"{path} must be a single value, received {_kind(value)}")
    return _only(kind, value, path)


def _text(value: Any, path: str) -> str:
    """Text that can be written out again: JSON may hold halves of characters."""
    text: str = _only(str, value, path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{path} is no valid Unicode") from error
    return text


def _member(cls: type[Enum], value: Any, path: str) -> Enum:
    valid = {member.value: member for member in cls}
    if not isinstance(value, str) or value not in valid:
        raise ConfigError(f"{path}: {_kind(value)} is no choice; valid: {', '.join(valid)}")
    return valid[value]


def _kind(value: Any) -> str:
    """A value for a message: short ones as they are, others by their type."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"a {type(value).__name__}"
