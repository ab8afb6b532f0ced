"""Files of a run in the store: read and written only where they lie inside of its folder.

A store may be anybody's: what lies where an artifact should be can be a link to a file of mine.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from harness.errors import StoreError
from harness.tracking.address import store_path
from harness.tracking.store import MOVE_AWAY


def listed(client: Any, run_id: str, runs: Path, folder: str = "") -> list[str]:
    """Names of a run's files and links, `folder/name` where a folder is given; sorted.

    Raises:
        StoreError: the folder leads elsewhere.
    """
    place = path_of(client, run_id, runs, folder)
    prefix = f"{folder}/" if folder else ""
    there = place.iterdir() if place.is_dir() else ()
    return sorted(prefix + path.name for path in there if path.is_symlink() or not path.is_dir())


def path_of(client: Any, run_id: str, runs: Path, name: str) -> Path:
    """Where a file of a run lies, if it is there.

    Raises:
        StoreError: it or a folder on the way is a link that leads elsewhere.
    """
    root = store_path(runs).with_name("artifacts")
    uri = client.get_run(run_id).info.artifact_uri  # checked when the store was opened
    path = Path(unquote(urlparse(uri).path)) / name
    if path.is_symlink() or not path.resolve().is_relative_to(root):
        raise StoreError(f"{path} is a link to {path.resolve()}; {MOVE_AWAY}")
    return path


def text_of(client: Any, run_id: str, runs: Path, name: str) -> str | None:
    """A file's text, as it is to the byte; None if it is not there or no text.

    Raises:
        StoreError: it leads elsewhere.
    """
    path = path_of(client, run_id, runs, name)
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return None
