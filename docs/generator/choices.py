"""Groups, choices and keys: from the YAML files and the dataclasses that they name."""

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

import conf
from harness.config import TrialConfig
from harness.manual import meanings
from harness.typed import TARGET

CONF = Path(conf.__file__).parent
# Groups in the order in which a trial uses them.
GROUPS = (
    *("task", "task/template", "reward", "curriculum", "window", "rollout", "algorithm"),
    *("trainer", "model", "tracking", "listeners"),
)
# What the sections of the page on keys are called where it is not the group's name.
WHOLE = "of the trial as a whole"
# Of a class whose module says what it is.
SAYS_NOTHING = "Hyper-parameters of"
# Where a choice's settings of other groups are kept.
OTHERS = "others"
DO_NOT_SHOW = (TARGET, "defaults", "hydra", "labels", OTHERS)


def read(group: str, choice: str) -> dict[str, Any]:
    """The YAML of a choice, over that of the choice of its group which it begins from."""
    text = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    listed = found.get("defaults", [])
    begun = [name for name in listed if isinstance(name, str) and name != "_self_"]
    own = found.pop(group, found) if TARGET not in found else found  # `# @package _global_`
    rest = {} if own is found else {OTHERS: found}
    return {**(read(group, begun[0]) if begun else {}), **own, **rest, "defaults": listed}


def brought(node: Mapping[str, Any]) -> str:
    """What a choice chooses and sets in other groups, in words; "" for nothing."""
    pairs = [p for each in node.get("defaults", []) if isinstance(each, dict) for p in each.items()]
    names = [
        f"`{key.removeprefix('override ').lstrip('/').partition('@')[0]}={value}`"
        for key, value in pairs
        if key.startswith("override ")
    ]
    names += [f"`{key}={value}`" for key, value, _ in rows("", node.get(OTHERS, {}), None)]
    return f"It also brings {', '.join(names)}, unless the command says otherwise." if names else ""


def choices(group: str) -> list[str]:
    """The choices of a group, as their files are called."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def target(node: Mapping[str, Any]) -> type | None:
    """The class that a node names."""
    if TARGET not in node:
        return None
    module, _, name = str(node[TARGET]).rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def about(cls: type) -> str:
    """What a class is, and what its module says of it: the paragraphs of both, papers included."""
    module = inspect.getdoc(sys.modules[cls.__module__]) or ""
    own = (inspect.getdoc(cls) or "").partition("Attributes:")[0].partition("Raises:")[0].strip()
    title, _, rest = own.partition("\n\n")
    said = rest if title.startswith(SAYS_NOTHING) or title in module else own
    return starred(f"{module}\n\n{said}")


def starred(text: str) -> str:
    """A*-PO and V* keep their stars; lines of formulas are code and have them anyway."""
    return re.sub(
        r"^(?! {4}).*", lambda line: re.sub(r"(?<=[AV])\*", r"\\*", line[0]), text, flags=re.M
    )


def table(rows: Iterator[tuple[str, str, str]]) -> str:
    """Keys as a table, or nothing where there are none."""
    # A key may be broken where it has a dot, and only there.
    lines = [
        f"| <code>{'.<wbr>'.join(key.split('.'))}</code> | `{value}` | {cell(text)} |"
        for key, value, text in rows
    ]
    head = ["| key | as it stands | what it means |", "|---|---|---|"]
    return stacked([*head, *lines]) if lines else "It has no keys."


def stacked(lines: Sequence[str]) -> str:
    """A table whose cells stand below each other on a telephone."""
    return "\n".join(['<div class="stacked" markdown>', "", *lines, "", "</div>"])


def cell(text: str) -> str:
    """A text inside a table."""
    return starred(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")


def rows(path: str, node: Mapping[str, Any], cls: type | None) -> Iterator[tuple[str, str, str]]:
    """(key, value, meaning) of a node and of what it holds; the class has what YAML leaves out."""
    hints = get_type_hints(cls) if cls else {}
    said = meanings(cls) if cls else {}
    for key, value in {**_defaults(cls), **node}.items():
        if key in DO_NOT_SHOW:
            continue
        inner = target(value) if isinstance(value, Mapping) else None
        inner = inner or _nested(hints.get(key))
        if isinstance(value, Mapping) and (inner or not said.get(key)):
            yield from rows(f"{path}{key}.", value, inner)
        else:
            yield f"{path}{key}", written(value), said.get(key, "") + members(hints.get(key))


def _defaults(cls: type | None) -> dict[str, Any]:
    """Default values of a dataclass's fields, nested ones as mappings."""
    if cls is None or not dataclasses.is_dataclass(cls):
        return {}
    found = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        value: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        found[field.name] = "???" if value is dataclasses.MISSING else plain(value)
    return found


def plain(value: Any) -> Any:
    """A value as YAML has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    return value.value if isinstance(value, Enum) else value


def _nested(hint: Any) -> type | None:
    """The dataclass that a field's type names."""
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)


def members(hint: Any) -> str:
    """The values of a key that takes one of a few."""
    kinds = [k for k in (hint, *get_args(hint)) if isinstance(k, type) and issubclass(k, Enum)]
    return f" ({', '.join(str(member.value) for member in kinds[0])})" if kinds else ""


def written(value: Any) -> str:
    """A value as a command line writes it."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}: {written(v)}' for k, v in value.items())}}}"
    words: dict[Any, str] = {None: "null", True: "true", False: "false", "": '""'}
    if value is None or isinstance(value, bool) or value == "":
        return words[value]
    return str(value)


def section(group: str, choice: str, level: int) -> str:
    """A choice of a group: what it is and its keys."""
    node = read(group, choice)
    cls = target(node)
    if cls is None:  # a listener stands under its own name
        node = node[choice]
        cls = target(node)
    assert cls is not None, f"conf/{group}/{choice}.yaml names no class"
    head = f"{'#' * level} `{group}={choice}`"
    keys = table(rows(f"{group.replace('/', '.')}.", node, cls))
    return "\n\n".join(part for part in (head, about(cls), brought(node), keys) if part)


def _page(title: str, opening: str, group: str) -> str:
    parts = [f"# {title}", opening, *(section(group, each, 2) for each in choices(group))]
    return "\n\n".join(parts)


def written_part(name: str) -> str:
    """What a person wrote for a page of which the rest is made."""
    return (Path(__file__).parent / "written" / f"{name}.md").read_text(encoding="utf-8").strip()


def tasks() -> str:
    """Every task and template."""
    templates = "\n\n".join(section("task/template", t, 3) for t in choices("task/template"))
    return "\n\n".join([_page("Tasks", written_part("tasks"), "task"), "## Templates", templates])


def rewards() -> str:
    """Every reward."""
    return _page("Rewards", written_part("rewards"), "reward")


def keys() -> str:
    """Every key of every group; tasks, rewards and algorithms have pages of their own."""
    own_page = {"task", "task/template", "reward", "algorithm"}
    parts = ["# Every key", written_part("keys"), f"## {WHOLE.capitalize()}", table(_whole())]
    for group in (group for group in GROUPS if group not in own_page):
        parts += [f"## `{group}=`"] + [section(group, each, 3) for each in choices(group)]
    return "\n\n".join(parts)


def _whole() -> Iterator[tuple[str, str, str]]:
    """Keys of conf/config.yaml that belong to no group."""
    node = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    grouped = {group.partition("/")[0] for group in GROUPS}
    groups = {f.name for f in dataclasses.fields(TrialConfig) if f.name in grouped}
    for key, value, text in rows("", node, TrialConfig):
        if key.partition(".")[0] not in groups:
            yield key, value, text
