"""The store `runs/mlflow.db`: made once and whole, found wherever the folder lies, opened anew.

Nothing else makes or opens it. Whatever is wrong with it ends in one line with the remedy; it can
always be moved away, because what it holds is published again from the trials' folders.
"""

import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.errors import ConfigError, StoreError
from harness.machine.files import locked
from harness.tracking import faults
from harness.tracking.address import SQLITE, address, artifacts, check_environment, store_path

LOCK, NEW = ".mlflow.db.lock", ".mlflow.db.new-"
# Making the store takes 1 to 2 s of CPU, 26 s of wall time were seen on a crowded machine.
MAKING_WAIT_S = 300.0
# MLflow's own patience with a writer (PRAGMA busy_timeout).
BUSY_S = 20.0
# What sqlite leaves beside a database whose writer was killed.
COMPANIONS = ("-journal", "-wal", "-shm")
# A store with rows in one of these holds somebody's work.
HOLDINGS = ("runs", "trace_info", "registered_models")
# Longest experiment name in bytes: it is a folder's name as well (255 on every file system), with
# room for a suffix.
MAX_NAME = 200
# Where an experiment of ours keeps its artifacts, whatever the folder before it is.
ARTIFACTS = re.compile(r"file://.*/artifacts/([^/]+)")
MOVE_AWAY = (
    "move it away: the trials' folders are the truth, and the same command publishes them again"
)


def open_store(runs: Path, create: bool = True) -> Any:
    """A client on the store that lies in `runs` now.

    Call it again after a pause in which the file may have been deleted or replaced: MLflow keeps
    connections, and would go on writing to the file that was.

    Args:
        runs: the output folder.
        create: make the store where there is none, or one that is half made and holds nothing.

    Returns:
        An mlflow.MlflowClient.

    Raises:
        ConfigError: there is no store, or the user's environment asks for another.
        StoreError: the store is damaged, of another MLflow's schema, or cannot be written.
    """
    path = store_path(runs)
    check_environment(path)
    with one_line(runs):
        if not _usable(path):
            if not create:
                raise ConfigError(
                    f"no MLflow store at {path}; run an ablation first or pass the folder with "
                    f"--runs"
                )
            _make(path)
        _move_artifacts(path)
        return _client(path)


def experiment_id(client: Any, name: str, runs: Path, create: bool = True) -> str:
    """Id of the experiment of that name.

    Args:
        client: of open_store.
        name: of the ablation, the grid, or `trials`.
        runs: the output folder.
        create: make it if there is none.

    Raises:
        ConfigError: no such experiment, a deleted one, or a name that no folder can have.
        StoreError: the store fails.
    """
    check_name(name)
    with one_line(runs):
        found = client.get_experiment_by_name(name)
        if found is None and create:
            with locked(store_path(runs).with_name(LOCK), MAKING_WAIT_S):
                found = client.get_experiment_by_name(name)  # perhaps another process's, by now
                if found is None:
                    location = artifacts(store_path(runs)) + "/" + quote(name)
                    return str(client.create_experiment(name, artifact_location=location))
        if found is None:
            known = ", ".join(sorted(e.name for e in client.search_experiments())) or "none"
            raise ConfigError(f"experiment {name!r} is not in the MLflow store; valid: {known}")
    if found.lifecycle_stage != "active":
        uri = f"MLFLOW_TRACKING_URI='{SQLITE}{store_path(runs)}'"
        raise ConfigError(
            f"experiment {name!r} was deleted from {store_path(runs)}; bring it back: {uri} mlflow "
            f"experiments restore -x {found.experiment_id}, or drop it for good: {uri} mlflow gc "
            f"--backend-store-uri '{SQLITE}{store_path(runs)}' --experiment-ids "
            f"{found.experiment_id}; the same command then goes on"
        )
    return str(found.experiment_id)


def check_name(name: str) -> None:
    """Refuse an experiment's name that cannot be a folder's as well.

    Raises:
        ConfigError: which name.
    """
    fits = name not in ("", ".", "..") and len(os.fsencode(name)) <= MAX_NAME
    if not fits or "/" in name or not name.isprintable():
        raise ConfigError(
            f"an experiment's name is also a folder's: printable, no '/', at most {MAX_NAME} "
            f"bytes; received {name!r}; choose another"
        )


@contextmanager
def one_line(runs: Path) -> Iterator[None]:
    """Word whatever goes wrong with the store inside the block; nothing else may be in it.

    Raises:
        StoreError: in one line, with the remedy.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    kinds = (sqlite3.Error, SQLAlchemyError, MlflowException, OSError)
    with faults.worded(store_path(runs), kinds, MOVE_AWAY):
        yield


def _usable(path: Path) -> bool:
    """Whether the file is a whole store of this MLflow; False if it may be made (again).

    Raises:
        StoreError: it holds something, but in another schema.
        sqlite3.Error: it is damaged.
    """
    if not path.exists():
        return False
    with connected(path) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        held = [
            name
            for name in HOLDINGS
            if name in tables and db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone()
        ]
        schema = None
        if {"alembic_version", "experiments"} <= tables:
            begun = db.execute("SELECT 1 FROM experiments").fetchone()  # the last thing to be made
            (schema,) = db.execute("SELECT max(version_num) FROM alembic_version").fetchone()
            schema = schema if begun else None
    if schema == _schema():
        return True
    if held:
        raise StoreError(
            f"{path} has the schema {schema} of another MLflow, this one's is {_schema()}; keep a "
            f"copy and run: mlflow db upgrade '{SQLITE}{path}', install the newer MLflow that "
            f"wrote it, or {MOVE_AWAY}"
        )
    return False


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as it is, never made by looking at it."""
    # as_uri: sqlite reads ?, % and # of a plain name as they are only in this form.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_S)) as db:
        yield db


@cache
def _schema() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision  # no public name says it

    return str(_get_latest_schema_revision())


def _make(path: Path) -> None:
    """Make the store under a temporary name; many may try at once, one does it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    _quiet()
    with locked(path.with_name(LOCK), MAKING_WAIT_S):
        if _usable(path):  # another process made it in the meantime
            return
        for leftover in path.parent.glob(f"{NEW}*"):  # of a process that was killed
            shutil.rmtree(leftover)
        # A new name each time: MLflow would go on with the file of an attempt that failed.
        with tempfile.TemporaryDirectory(prefix=NEW, dir=path.parent) as folder:
            new = Path(folder) / path.name
            SqlAlchemyStore(address(new), artifacts(path)).engine.dispose()
            # The journal of a store that was deleted would be replayed into the new one.
            for suffix in COMPANIONS:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            new.rename(path)


def _move_artifacts(path: Path) -> None:
    """Let experiments and runs keep their artifacts in this folder, wherever it was before.

    MLflow stores absolute addresses. A copy is a store of its own.
    """
    with connected(path) as db:
        found = db.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        moved = [
            (number, old, f"{artifacts(path)}/{match[1]}")
            for number, old in found
            if (match := ARTIFACTS.fullmatch(old or ""))
            if old != f"{artifacts(path)}/{match[1]}"
        ]
        for number, old, new in moved:
            db.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (new, number),
            )
            db.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (new, len(old) + 1, number, len(old) + 1, f"{old}/"),
            )
        db.commit()
        _refuse_elsewhere(path, db)


def _refuse_elsewhere(path: Path, db: sqlite3.Connection) -> None:
    """A store must not make us read or write outside of its folder: it may be anybody's.

    Raises:
        StoreError: it names artifacts that lie elsewhere.
    """
    own = artifacts(path)
    named = db.execute(
        "SELECT artifact_location FROM experiments UNION SELECT artifact_uri FROM runs"
    )
    strange = [uri for (uri,) in named if not f"{uri}/".startswith(f"{own}/") or ".." in str(uri)]
    folder = path.with_name("artifacts")
    if folder.exists() and not folder.resolve().is_relative_to(path.parent):
        strange.append(str(folder.resolve()))
    if strange:
        raise StoreError(
            f"{path} keeps artifacts outside of its folder, at {strange[0]!r}; {MOVE_AWAY}"
        )


def _client(path: Path) -> Any:
    """A client that reads nothing from what MLflow keeps of files that lay there before."""
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service import utils

    _quiet()
    client = MlflowClient(tracking_uri=address(path))
    # MLflow keeps one engine per address with open connections, and a folder per run id; it has
    # no public way to drop them.
    client._tracking_client.store.engine.dispose()
    utils._artifact_repos_cache.clear()
    return client


def _quiet() -> None:
    """Making tables is no news, and an error that is raised need not be printed as well."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
