"""Evaluation tables and configs: the files that lie beside a store."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from analysis.reading.source import Run
from harness.errors import StoreError
from harness.tracking import artifacts
from harness.tracking.mlflow import CONFIG_FILE

TABLES = "eval"
TABLE = re.compile(rf"{TABLES}/step_(\d+)\.json")
# What is raised by reading a file that is not what was written.
DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(pl.exceptions.PolarsError, YAMLError, OmegaConfBaseException),
)
# An artifact address of ours, whatever the folder before it was when it was written.
MOVED = re.compile(r"file://.*/artifacts/([^/]+/[^/]+/artifacts)")

Read = TypeVar("Read")


class Files(Protocol):
    """The files of the runs of one store."""

    def listed(self, run: Run, folder: str = "") -> list[str]:
        """Names of a run's files, `folder/name` where a folder is given; sorted."""
        ...

    def text(self, run: Run, name: str) -> str:
        """A file's text; "" where there is none."""
        ...

    def place(self, run: Run, name: str) -> object:
        """Where a file is, for messages."""
        ...


class Folder:
    """Files that must lie in a store's own folder: it may be anybody's."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def listed(self, run: Run, folder: str = "") -> list[str]:
        return artifacts.listed(self._uri(run), self._root, folder)

    def text(self, run: Run, name: str) -> str:
        return artifacts.text_of(self._uri(run), self._root, name) or ""

    def place(self, run: Run, name: str) -> object:
        return artifacts.path_of(self._uri(run), self._root, name)

    def _uri(self, run: Run) -> str:
        """The run's address where the folder lies now."""
        ours = MOVED.fullmatch(run.uri)
        return f"{(self._root / 'artifacts').as_uri()}/{ours[1]}" if ours else run.uri


def tables(files: Files, run: Run) -> Iterator[tuple[int, pl.DataFrame]]:
    """Step and table of every evaluation of a run that stored one, one row per held-out prompt.

    Raises:
        StoreError: one is damaged, or a link.
    """
    for name in files.listed(run, TABLES):
        step = TABLE.fullmatch(name)
        table = _read(files, run, name, _table) if step else None
        if step and table is not None:
            yield int(step[1]), table


def first_table(files: Files, run: Run) -> pl.DataFrame | None:
    """The first evaluation's table of a run; None if there is none.

    Raises:
        StoreError: it is damaged, or a link.
    """
    names = _table_names(files, run)
    return _read(files, run, names[0], _table) if names else None


def last_table(files: Files, run: Run) -> pl.DataFrame | None:
    """The last evaluation's table of a run; None if there is none.

    Raises:
        StoreError: it is damaged, or a link.
    """
    names = _table_names(files, run)
    return _read(files, run, names[-1], _table) if names else None


def _table_names(files: Files, run: Run) -> list[str]:
    return [name for name in files.listed(run, TABLES) if TABLE.fullmatch(name)]


def config(files: Files, run: Run) -> dict[str, Any]:
    """The resolved config of a run; empty if the run stored none.

    Raises:
        StoreError: it is damaged, or a link.
    """
    return _read(files, run, CONFIG_FILE, _config) if CONFIG_FILE in files.listed(run) else {}


def _read(files: Files, run: Run, name: str, parsed: Callable[[str], Read]) -> Read:
    try:
        return parsed(files.text(run, name))
    except DAMAGED as error:
        # A trial's folder would have mended the file: there is none any more.
        raise StoreError(
            f"{files.place(run, name)} is damaged, and the folder of its trial is gone, from which "
            f"it would be published again; bring that folder back, or run the trial again with "
            f"fresh=true"
        ) from error


def _table(text: str) -> pl.DataFrame | None:
    data = json.loads(text)
    if not data["data"]:
        return None
    columns = zip(*data["data"], strict=True)
    return pl.DataFrame(dict(zip(data["columns"], columns, strict=True)), strict=False)


def _config(text: str) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    if not isinstance(plain, dict) or not plain:
        raise ValueError("no mapping")
    return {str(key): value for key, value in plain.items()}
