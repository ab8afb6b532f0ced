"""Locks and atomic replacement: nothing half-done is ever left under its final name."""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import ConfigError

# How often a waiting process looks again.
POLL_S = 0.2


def writable_folder(path: Path, key: str) -> Path:
    """The folder, absolute and made if absent.

    Raises:
        ConfigError: it cannot be written to.
    """
    absolute = path.expanduser().absolute()
    try:
        absolute.mkdir(parents=True, exist_ok=True)
        probe = absolute / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"{key}: cannot write to {str(path)!r} ({error.strerror}); set {key} to a folder that "
            f"you may write to"
        ) from error
    return absolute


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Hold an exclusive lock on a file; it is freed when the process ends, however it ends.

    Raises:
        ConfigError: another process still holds it after wait_s seconds, or no lock can be had
            at that place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise ConfigError(
            f"cannot lock {path} ({error.strerror}); it must be a file that you may write to: "
            f"remove what lies there, or set runs to a folder that you may write to"
        ) from error
    with os.fdopen(descriptor, "w") as handle:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ConfigError(
                        f"{path.parent} is in use by another process; wait for it or end it"
                    ) from error
                time.sleep(POLL_S)
        yield


def held(lock: Path) -> bool:
    """Whether some process holds a lock; looking does not take it."""
    if not lock.is_file():
        return False
    with lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def temporary_name(path: Path) -> Path:
    """What a file or a folder is called while it is being written."""
    return path.with_name(f".{path.name}.new")


def write(path: Path, data: bytes) -> None:
    """Put a whole file in a place, or leave what lies there as it is.

    Raises:
        OSError: the file cannot be written, or a folder lies there.
    """
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def append(path: Path, data: bytes, end: int | None = None) -> None:
    """Put data at the end of a file, and see it to the disk.

    Args:
        end: bytes that stay; what lies behind them is what a kill left of a line. None: all.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("ab") as file:
        if end is not None:
            file.truncate(end)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Whatever lies there: a folder, a file, or a link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(folder)
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not os.path.lexists(folder):  # killed between the two renames below
        old.rename(folder)
    for leftover in (temporary, old):
        remove(leftover)
    temporary.mkdir()
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(temporary)
    _open_to_others(temporary)
    if os.path.lexists(folder):
        folder.rename(old)
    temporary.rename(folder)
    _sync_entry(folder.parent)
    remove(old)


def _sync(folder: Path) -> None:
    """Flush every file to the disk, so that the rename never outruns the data."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_entry(path)
    _sync_entry(folder)


def _open_to_others(folder: Path) -> None:
    """Give every file the mode of a new one: safetensors lets only its writer read."""
    probe = folder / ".mode"
    probe.touch()  # the umask itself cannot be read without changing it
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
