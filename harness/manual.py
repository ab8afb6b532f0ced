"""`harness --help`: every choice and key with its meaning, which is that of the dataclasses.

A class's first paragraph says what a group is, its `Attributes:` what a key is: one text for those
who read the code and for those who write a command.
"""

import dataclasses
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, get_args, get_type_hints

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import refusals
from harness.errors import ConfigError
from harness.typed import TARGET
from harness.wording import documented

WIDTH = 80
# Where the meaning of a key begins, and of one whose name is longer, on the next line.
MEANING = 32
# Groups of Hydra's own, and keys that nobody sets.
HIDDEN = ("hydra", "labels")


def page(overrides: Sequence[str]) -> str:
    """The help of a command: its header, and each group as these overrides choose it.

    Raises:
        ConfigError: the overrides are wrong.
    """
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module("conf", version_base="1.3"):
            node = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
            loader = GlobalHydra.instance().config_loader()
            groups = {group: loader.get_group_options(group) for group in _groups(loader, "")}
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(refusals.one_line(error, overrides)) from error
    chosen = {key: str(value) for key, value in node.hydra.runtime.choices.items()}
    plain: Any = OmegaConf.to_container(node)
    lines = [node.hydra.help.header.rstrip()]
    cls = _imported(plain[TARGET])
    own, about = [], meanings(cls)
    for key, value in plain.items():
        if key in (*HIDDEN, TARGET):
            continue
        if isinstance(value, Mapping):
            lines += _group(key, value, _nested(cls, key, value), chosen, groups)
        else:
            own += _entry(key, value, about.get(key, ""))
    lines += ["", "of the trial as a whole", *own]
    for group in sorted(set(groups) - set(chosen)):
        lines += ["", *_wrapped(*_unchosen(group, groups[group], about.get(group, "")), MEANING)]
    return "\n".join([*lines, "", FOOTER])


FOOTER = """\
Of other choices:         harness algorithm=ppo task=gsm8k --help
Hydra's options:          harness --hydra-help, such as --cfg job
Names completed by Tab:   eval "$(harness -sc install=bash)" in ~/.bashrc"""


def _groups(loader: Any, parent: str) -> Iterator[str]:
    """Every group that has choices, `task` before `task/template`."""
    for name in loader.list_groups(parent):
        path = f"{parent}/{name}" if parent else name
        if path in HIDDEN:
            continue
        if loader.get_group_options(path, ObjectType.CONFIG):
            yield path
        yield from _groups(loader, path)


def _group(
    path: str,
    node: Mapping[str, Any],
    cls: type | None,
    chosen: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    inner: bool = False,
) -> list[str]:
    """A group's title, what it is, and its keys."""
    group = path.replace(".", "/")
    title = f"{group}={chosen[group]}" if group in chosen else path
    doc = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ") if cls else ""
    lines = ["" for _ in range(not inner)] + _wrapped(title, doc, MEANING, margin=0)
    others = [name for name in groups.get(group, ()) if name != chosen.get(group)]
    if others:
        lines += _wrapped("", f"or {', '.join(others)}", MEANING)
    about, hints = (meanings(cls), get_type_hints(cls)) if cls else ({}, {})
    nested = []
    for key, value in node.items():
        where = f"{path}.{key}"
        if isinstance(value, Mapping) and (value or key in hints):
            nested += _group(where, value, _nested(cls, key, value), chosen, groups, inner=True)
        elif key != TARGET:
            lines += _entry(where, value, about.get(key, "") + _members(hints.get(key)))
    return lines + nested


def _unchosen(group: str, options: Sequence[str], meaning: str) -> tuple[str, str]:
    """A group without a choice: a key of the trial's takes several, others are added."""
    names = ", ".join(options)
    if meaning:
        return f"{group}=[NAME,...]", f"{meaning}: {names}"
    return f"+{group}=NAME", f"one of {names}"


def _entry(key: str, value: Any, meaning: str) -> list[str]:
    return _wrapped(f"  {key}={_written(value)}", meaning, MEANING)


def _wrapped(name: str, meaning: str, indent: int, margin: int = 2) -> list[str]:
    """A name and its meaning beside it, or below where the name is long."""
    text = textwrap.wrap(meaning, WIDTH - indent) or [""]
    if len(name) + margin > indent:
        return [name[:WIDTH], *(" " * indent + line for line in text if line)]
    first, *rest = text
    return [f"{name:{indent}}{first}".rstrip(), *(" " * indent + line for line in rest)]


def _written(value: Any) -> str:
    """As a command line writes it."""
    words: dict[Any, str] = {None: "null", True: "true", False: "false", "": '""'}
    if value is None or isinstance(value, bool) or value == "":
        return words[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}: {_written(v)}' for k, v in value.items())}}}"
    return " ".join(str(value).split())


def _members(hint: Any) -> str:
    """The values of a key that takes one of a few."""
    kinds = [k for k in (hint, *get_args(hint)) if isinstance(k, type) and issubclass(k, Enum)]
    return f" ({', '.join(str(member.value) for member in kinds[0])})" if kinds else ""


def meanings(cls: type) -> dict[str, str]:
    """Of a dataclass's fields, those of its bases included."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            found |= documented(each)
    return found


def _nested(cls: type | None, key: str, node: Mapping[str, Any]) -> type | None:
    """The dataclass of a node: the one that it names, or that its parent's field names."""
    if TARGET in node:
        return _imported(str(node[TARGET]))
    hint = get_type_hints(cls).get(key) if cls else None
    kinds = [k for k in (hint, *get_args(hint)) if isinstance(k, type)]
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)


def _imported(target: str) -> type:
    module, _, name = target.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found
