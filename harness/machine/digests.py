"""Digests of a folder's files: whether it is as it was written, to the last bit.

They find damage, not malice: whoever changes a file can write its digest as well.
"""

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from harness.distributed.ranks import ALONE, Ranks

DIGESTS = "digests.json"
# What loaders of models, tokenizers and checkpoints look for: a file of this kind that nobody
# listed may be read instead of one that was. All else (notes, pictures) may lie beside them.
READ = (".bin", ".distcp", ".jinja", ".json", ".metadata", ".model", ".pt", ".safetensors", ".txt")
# A file that changed less than this ago may change again without a new time.
SETTLED_NS = 2_000_000_000

_known: dict[Path, tuple[tuple[int, ...], str]] = {}


def write(folder: Path, ranks: Ranks = ALONE) -> None:
    """List every file of a folder with its sha256; all ranks call it, each reads its part.

    Raises:
        OSError: a file cannot be read back, or the list not be written.
    """
    names = ranks.agreed(sorted(_files(folder)))
    digests = _digests(folder, names, ranks)
    if unread := [name for name in names if not digests[name]]:
        raise OSError(errno.EIO, "cannot be read back", unread[0])
    if ranks.first:
        (folder / DIGESTS).write_text(json.dumps(digests))


def damage(folder: Path, needed: Iterable[str], ranks: Ranks = ALONE) -> str | None:
    """What is wrong with a folder, or None where it is as it was written; all ranks call it.

    Every listed file must be there and equal, those that are needed must be listed, and no other
    may be there that a loader would read. A list is only compared with the names in the folder, so
    that one which was tampered with leads nowhere else.
    """
    listed, reason = _listed(folder, needed)
    reasons = [found for found in ranks.gathered(reason) if found]
    if reasons:
        return reasons[0]
    listed = ranks.agreed(listed)
    digests = _digests(folder, sorted(listed), ranks)
    changed = [name for name in sorted(listed) if digests[name] != listed[name]]
    return f"{changed[0]} is not what was written" if changed else None


def _listed(folder: Path, needed: Iterable[str]) -> tuple[dict[str, str], str | None]:
    """The list, and what can be seen to be wrong without reading the files."""
    try:
        listed = json.loads((folder / DIGESTS).read_bytes())
    except (OSError, ValueError, RecursionError):  # not there, cut, never JSON
        return {}, f"{DIGESTS} is missing or damaged"
    if not isinstance(listed, dict):
        return {}, f"{DIGESTS} is no list of digests"
    there = _files(folder)
    if missing := sorted((set(listed) | set(needed)) - there):
        return {}, f"{missing[0]!r} is missing"
    if unlisted := sorted(set(needed) - set(listed)):
        return {}, f"{unlisted[0]!r} has no digest"
    if extra := sorted(name for name in there - set(listed) if name.endswith(READ)):
        return {}, f"{extra[0]!r} was not written with the others"
    return listed, None


def _files(folder: Path) -> set[str]:
    """Names of the regular files in and below a folder, the list itself and links left out."""
    found = set()
    for place, _, names in os.walk(folder):
        paths = [Path(place, name) for name in names]
        found |= {p.relative_to(folder).as_posix() for p in paths if _regular(p)}
    return found - {DIGESTS}


def _regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _digests(folder: Path, names: list[str], ranks: Ranks) -> dict[str, str]:
    """sha256 of every file, each worked out by one of the ranks; "" of one that cannot be read."""
    own = {name: _sha256(folder / name) for name in names[ranks.rank :: ranks.count]}
    return {name: digest for part in ranks.gathered(own) for name, digest in part.items()}


def _sha256(path: Path) -> str:
    """Read once in a process, unless the file has changed since."""
    try:
        stat = path.stat()
        stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if path in _known and _known[path][0] == stamp:
            return _known[path][1]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
        _known[path] = (stamp, digest)
    return digest
