"""From YAML nodes to typed, frozen objects.

A node with `_target_` names a dataclass; that dataclass is the node's schema. There is no
registry: any importable dataclass works, so another package can add a variant.
"""

import dataclasses
import importlib
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.blame import said
from harness.errors import ConfigError, HarnessError
from harness.wording import documented, expected, given, unknown

TARGET = "_target_"
# Keys whose value is the import path of a function.
FUNCTIONS = ("grader", "function")


def typed(node: Mapping[str, Any] | DictConfig, path: str = "", cls: type | None = None) -> Any:
    """The object that a node describes.

    Args:
        node: a mapping; `_target_` names its dataclass unless `cls` does.
        path: key path of the node, for messages.
        cls: the dataclass that it must be; a `_target_` beside it may say so, and is not imported.

    Raises:
        ConfigError: unknown class, unknown key, missing key, wrong type or bad value.
    """
    plain = _plain(node) if isinstance(node, DictConfig) else {str(k): v for k, v in node.items()}
    target = plain.pop(TARGET, None)
    if cls is None:
        cls = _dataclass(target, path)
    elif target not in (None, import_path(cls)):
        where = f"{path}.{TARGET}" if path else TARGET
        raise ConfigError(f"{where} must be {import_path(cls)}, received {target!r}; leave it out")
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    prefix = f"{path}." if path else ""
    for key in plain:
        if key not in names:
            raise ConfigError(unknown("key", key, names, prefix))
    hints = get_type_hints(cls)
    children = {
        key: _child(value, prefix + key, hints[key])
        for key, value in plain.items()
        if hints[key] in (Any, list[Any])
        or (hints[key] == dict[str, Any] and _holds_nodes(value))
        or (_is_node(value) and _dataclass_of(hints[key]))
    }
    rest = {
        key: _enumerated(value, hints[key], prefix + key)
        for key, value in plain.items()
        if key not in children
    }
    return _construct(cls, rest, children, path)


def import_path(cls: type) -> str:
    """What `_target_` says of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def imported(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Key paths and import paths of all that a plain node names: nothing is imported."""
    items: Any = node.items() if isinstance(node, Mapping) else ()
    for key, value in enumerate(node) if isinstance(node, list) else items:
        where = f"{path}.{key}" if path else str(key)
        if key == TARGET or key in FUNCTIONS:
            yield where, value
        yield from imported(value, where)


def _construct(cls: type, rest: dict[str, Any], children: dict[str, Any], path: str) -> Any:
    """Type-check the fields that are no nodes against the dataclass and build it."""
    fields = [f for f in dataclasses.fields(cls) if f.init]
    unset = (dataclasses.MISSING, dataclasses.MISSING)
    required = {f.name for f in fields if (f.default, f.default_factory) == unset}
    absent = sorted(required - set(rest) - set(children))
    absent += sorted(key for key, value in rest.items() if value == "???")
    if absent:
        prefix = f"{path}." if path else ""
        about = documented(cls)
        names = ", ".join(
            f"{prefix}{key} ({about[key]})" if key in about else prefix + key for key in absent
        )
        raise ConfigError(f"required key not set: {names}; set it with {prefix}{absent[0]}=VALUE")
    try:
        values = _merged(OmegaConf.structured(cls), rest, path)
    except OmegaConfBaseException as error:  # a field of a type that OmegaConf does not know
        raise ConfigError(f"{path or 'config'}: {str(error).splitlines()[0]}") from error
    try:
        return cls(**values, **children)
    except HarnessError:
        raise
    except Exception as error:  # a plug-in's own check, in its own words
        raise ConfigError(
            f"{path or 'config'}: {cls.__qualname__} refuses: {said(error)}"
        ) from error


def _merged(schema: Any, rest: dict[str, Any], path: str) -> dict[str, Any]:
    """Fields' values in the fields' own types; no number is NaN or infinite."""
    prefix = f"{path}." if path else ""
    try:
        whole: Any = OmegaConf.merge(schema, rest)
    except OmegaConfBaseException as error:
        hints = get_type_hints(OmegaConf.get_type(schema))
        for key, value in rest.items():
            if not _fits(schema, key, value):
                raise ConfigError(
                    f"{prefix}{key} must be {expected(hints[key])}, received {given(value)}"
                ) from error
        raise
    made = {key: _plain_value(whole[key]) for key in rest}
    for key, value in made.items():
        if not _finite(value):
            raise ConfigError(f"{prefix}{key} must be finite, received {given(rest[key])}")
    return made


def _fits(schema: Any, key: str, value: Any) -> bool:
    try:
        OmegaConf.merge(schema, {key: value})
    except OmegaConfBaseException:
        return False
    return True


def _plain_value(value: Any) -> Any:
    return OmegaConf.to_container(value) if isinstance(value, (DictConfig, ListConfig)) else value


def _finite(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _enumerated(value: Any, hint: Any, path: str) -> Any:
    """The member that a YAML value names; OmegaConf knows members by their Python names only."""
    if get_origin(hint) is list and isinstance(value, list):
        (kind,) = get_args(hint)
        return [_enumerated(item, kind, f"{path}[{i}]") for i, item in enumerate(value)]
    if not (isinstance(hint, type) and issubclass(hint, Enum)) or isinstance(value, hint):
        return value
    try:
        return hint(value)
    except ValueError as error:
        raise ConfigError(f"{path} must be {expected(hint)}, received {given(value)}") from error


def _is_node(value: Any) -> bool:
    """A mapping, or a list of them (an empty list is a plain value)."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _holds_nodes(value: Any) -> bool:
    """A mapping of names to nodes; other mappings are plain data."""
    items = value.values() if isinstance(value, Mapping) else ()
    return bool(items) and all(isinstance(item, Mapping) and TARGET in item for item in items)


def _dataclass_of(hint: Any) -> type | None:
    """The dataclass that a field's type names, alone, in a list or as an optional."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _child(value: Any, path: str, hint: Any) -> Any:
    """The object or the list of objects that a node stands for."""
    cls = _dataclass_of(hint)
    if isinstance(value, list) and (hint is Any or get_origin(hint) is list):
        return [_child(item, f"{path}[{i}]", cls or Any) for i, item in enumerate(value)]
    if isinstance(value, Mapping) and hint == dict[str, Any]:
        return {str(name): _child(item, f"{path}.{name}", Any) for name, item in value.items()}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path} must be a mapping with {TARGET}, received {given(value)}")
    made = typed(value, path, cls)
    if cls is not None and not isinstance(made, cls):
        raise ConfigError(f"{path} must be a {cls.__name__}, received a {type(made).__name__}")
    return made


def _dataclass(target: str | None, path: str) -> type:
    where = f"{path}._target_" if path else TARGET
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(
            f"{where} must be the import path of a dataclass, received {target!r}; "
            f"for example harness.algorithms.grpo.Grpo"
        )
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # importing runs the module, which may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{where}: cannot import {target!r}: {reason}") from error
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ConfigError(f"{where}: {target!r} is not a dataclass")
    return cls


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {str(error).splitlines()[0]}") from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
