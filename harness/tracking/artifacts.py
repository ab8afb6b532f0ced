"""Files of a run in the store: read and written only where they lie inside of its folder.

A store may be anybody's: what lies where an artifact should be can be a link to a file of mine.
"""

from pathlib import Path
from urllib.parse import unquote, urlparse

from harness.errors import StoreError
from harness.tracking.store import MOVE_AWAY


def listed(uri: str, root: Path, folder: str = "") -> list[str]:
    """Names of a run's files and links, `folder/name` where a folder is given; sorted.

    Args:
        uri: where the run's artifacts are, as the store says.
        root: the folder in which they must lie, links resolved.
        folder: below the run's.

    Raises:
        StoreError: the folder leads elsewhere.
    """
    place = path_of(uri, root, folder)
    prefix = f"{folder}/" if folder else ""
    there = place.iterdir() if place.is_dir() else ()
    return sorted(prefix + path.name for path in there if path.is_symlink() or not path.is_dir())


def path_of(uri: str, root: Path, name: str) -> Path:
    """Where a file of a run lies, if it is there; arguments as of `listed`.

    Raises:
        StoreError: it or a folder on the way is a link that leads elsewhere, or all of it does.
    """
    path = Path(unquote(urlparse(uri).path)) / name
    if path.is_symlink() or not path.resolve().is_relative_to(root):
        raise StoreError(f"{path} is a link to {path.resolve()}; {MOVE_AWAY}")
    return path


def text_of(uri: str, root: Path, name: str) -> str | None:
    """A file's text, as it is to the byte; None if it is not there or no text.

    Raises:
        StoreError: it leads elsewhere.
    """
    path = path_of(uri, root, name)
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return None
