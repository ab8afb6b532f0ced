"""What a received folder would have this machine do: named before it is done, and asked for.

A trial's config names classes, functions and files. The harness's own tasks, templates and engines
and the files of the folder itself are taken as they are; all else is the reader's to allow.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.typed import TARGET, imported

# Where the harness's own plug-ins of a kind live; a template may be anywhere below a task.
OWN = {
    "task": "harness.tasks.",
    "template": "harness.tasks.templates.",
    "rollout": "harness.rollout.",
}
# Keys of the harness's plug-ins whose values are read from a disk or a hub.
READ = ("path", "held_out_path", "source", "held_out_source", "tokenizer")
# The file in which transformers keeps the names of a model's parts.
PARTS = "model.safetensors.index.json"


def check_folder(checkpoint: Path) -> None:
    """Refuse a checkpoint that leads out of its trial's folder.

    Args:
        checkpoint: resolved.

    Raises:
        ConfigError: a link, or a part of the weights, that points elsewhere.
    """
    root = checkpoint.parent
    inside = [Path(place, name) for place, *both in os.walk(checkpoint) for name in chain(*both)]
    for path in (*inside, *root.glob("*.json")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ConfigError(
                f"{str(path)!r} is a link that leads out of the folder; put the file in its place"
            )
    parts = mapping(checkpoint / PARTS).get("weight_map", {})
    for name in parts.values() if isinstance(parts, Mapping) else ():
        if not isinstance(name, str) or Path(name).name != name:
            raise ConfigError(
                f"{str(checkpoint / PARTS)!r} names {name!r}, which is no file beside it; "
                f"take the checkpoint from where it was made"
            )


def stored(file: Path, groups: Sequence[str]) -> dict[str, Any]:
    """Nodes of a trial's config, as data.

    Raises:
        ConfigError: the file holds no such config, or something that would be filled in here.
    """
    own = mapping(file)
    nodes = {group: own.get(group) for group in groups}
    for group, node in nodes.items():
        if not isinstance(node, Mapping):
            raise ConfigError(
                f"{str(file)!r} holds no trial's config (no {group}); name it: {group}=NAME"
            )
        for key, value in _leaves(node, group):
            if isinstance(value, str) and "${" in value:
                raise ConfigError(
                    f"{str(file)!r}: {f'{key}={value}'!r} would be filled in here, and a stored "
                    f"config is complete; name it: {group}=NAME"
                )
    return nodes


def numeric(node: Any, keys: Sequence[str]) -> list[str]:
    """Overrides `model.KEY=WORD` of what a trial's config says of its model; plain words alone."""
    there = node if isinstance(node, Mapping) else {}
    words = {key: there[key] for key in keys if isinstance(there.get(key), str)}
    return [f"model.{key}={word}" for key, word in words.items() if word.isidentifier()]


def demands(nodes: Mapping[str, Any], folder: Path) -> list[str]:
    """What typing and using some nodes would import and read, beyond our own and the folder's.

    Raises:
        ConfigError: a path that hides where it leads.
    """
    strange = [(key, name) for key, name in imported(nodes) if not _is_own(key, name)]
    found = [f"import {f'{key}={name}'!r}" for key, name in strange]
    for key, value in _leaves(nodes):
        read = key.rpartition(".")[2] in READ and isinstance(value, str)
        if read and _is_elsewhere(key, value, folder):
            found.append(f"read {f'{key}={value}'!r}")
    return found


def ask(wanted: list[str], file: Path, trust: bool) -> None:
    """Let a person decide: by trust=true, or at the terminal.

    Raises:
        ConfigError: not allowed, or nobody to ask.
    """
    if trust or not wanted:
        return
    what = f"{str(file)!r} would {', '.join(wanted)}"
    question = f"{what}\nDo you trust who wrote it? [y/N] "
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal and input(question).strip().lower() in ("y", "yes"):
        return
    raise ConfigError(
        f"{what}; if you trust who wrote it add trust=true, else name your own: task=NAME"
    )


def _is_own(key: str, name: Any) -> bool:
    """Whether an import path is of a plug-in of ours; functions never are."""
    *kinds, last = key.split(".")
    kind = next(kind for kind in reversed(kinds) if kind in OWN)
    return last == TARGET and isinstance(name, str) and name.startswith(OWN[kind])


def _is_elsewhere(key: str, value: str, folder: Path) -> bool:
    """Whether a name is of a file that is not the folder's own; hub names are of no file."""
    if "://" in value or ".." in Path(value).parts:
        raise ConfigError(
            f"{f'{key}={value}'!r} leads elsewhere, by a URL or '..'; name your own: task=NAME"
        )
    place = Path(value).expanduser().absolute()
    if place.is_relative_to(folder) and not place.resolve().is_relative_to(folder):
        raise ConfigError(
            f"{f'{key}={value}'!r} is a link that leads out of the folder; name your own: task=NAME"
        )
    on_disk = Path(value).is_absolute() or value.startswith("~") or place.exists()
    return on_disk and not place.resolve().is_relative_to(folder)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items: Any = node.items() if isinstance(node, Mapping) else None
    items = enumerate(node) if isinstance(node, list) else items
    if items is None:
        yield path, node
        return
    for key, value in items:
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def mapping(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
