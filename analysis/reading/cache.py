"""Points of an sqlite store, kept in parquet beside it, for as long as the file is the same.

The key is what every commit to the file changes: sqlite's own counter of changes, with size, times
and inode. It is taken before and after the file is read, so what is kept was read from that state
alone. The file's name holds the digest of its bytes, so a damaged one is no hit, and it is renamed
into place, so nobody reads half of one. Losing it costs time and nothing else.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from analysis.reading.columns import POINTS

FOLDER = "cache"
KEY_BYTES = 16  # of a digest; two states of one file never share them
VERSION = "1"  # of how points are made; another number forgets what was kept
COUNTER = slice(24, 28)  # of sqlite's header: https://www.sqlite.org/fileformat.html, 1.3.7


def kept(path: Path, experiment: str, read: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """What `read` returns, from the cache where it holds just that.

    Args:
        path: the sqlite file.
        experiment: id of the experiment that is read.
        read: reads it; columns POINTS.
    """
    before = _state(path)
    if not before:
        return read()
    name = f"{experiment}-{_digest(before.encode())}"
    folder = path.parent / FOLDER
    found = _found(folder, name)
    if found is not None:
        return found
    points = read()
    if _state(path) == before:
        _keep(folder, experiment, name, points)
    return points


def _state(path: Path) -> str:
    """What changes with every commit to a file; "" where that cannot be told.

    With a write-ahead log commits pass the file by; a journal is a commit that is going on.
    """
    if any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal")):
        return ""
    with path.open("rb") as file:
        counter = file.read(COUNTER.stop)[COUNTER]
        stat = os.fstat(file.fileno())
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    parts = (VERSION, counter.hex(), stat.st_size, *times, stat.st_ino, stat.st_dev)
    return " ".join(map(str, parts))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[: 2 * KEY_BYTES]


def _found(folder: Path, name: str) -> pl.DataFrame | None:
    for path in sorted(folder.glob(f"{name}-*.parquet")):
        try:
            content = path.read_bytes()
        except OSError:  # another reader has just made room, or it is not ours to read
            continue
        if path.stem == f"{name}-{_digest(content)}":
            return pl.read_parquet(io.BytesIO(content), schema=POINTS)
    return None


def _keep(folder: Path, experiment: str, name: str, points: pl.DataFrame) -> None:
    """Write the points, and remove those of earlier states."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as scratch:
            new = Path(scratch) / "points"
            points.write_parquet(new, compression="lz4")
            new.rename(folder / f"{name}-{_digest(new.read_bytes())}.parquet")
        for old in folder.glob(f"{experiment}-*.parquet"):
            if not old.name.startswith(f"{name}-"):
                old.unlink(missing_ok=True)
    except OSError:  # a folder that may not be written, or is full: the next reader takes longer
        return
