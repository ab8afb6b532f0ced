"""A store that is a database: sqlite and PostgreSQL, read by SQL and never written.

MLflow's own way is one query per run and metric, and 20 to 50 times as long. The tables that are
read here have had these columns since MLflow 1.0, so an older store needs no upgrade to be read.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from analysis.reading.columns import RAW
from analysis.reading.source import Experiment, Run
from harness.errors import ConfigError
from harness.tracking import faults, store

TABLES = ("experiments", "runs", "tags", "params", "metrics")
EXPERIMENTS = "SELECT experiment_id, name, lifecycle_stage FROM experiments ORDER BY experiment_id"
RUNS = (
    "SELECT run_uuid, name, status, start_time, end_time, artifact_uri, lifecycle_stage FROM runs "
    "WHERE experiment_id = :experiment"
)
LABELS = (
    'SELECT l.run_uuid, l."key", l.value FROM {table} l JOIN runs r ON r.run_uuid = l.run_uuid '
    "WHERE r.experiment_id = :experiment"
)
POINTS = 'SELECT "key", step, timestamp, value, is_nan FROM metrics WHERE run_uuid = :run'
ANOTHER = "pass the address of an MLflow store"


class Database:
    """A connection, as a `source.Source`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def experiments(self) -> list[Experiment]:
        rows = self._rows(EXPERIMENTS)
        return [Experiment(str(number), name, stage or "") for number, name, stage in rows]

    def runs(self, experiment: Experiment) -> list[Run]:
        own = {"experiment": int(experiment.id)}
        labels: dict[str, dict[str, dict[str, str]]] = {"tags": {}, "params": {}}
        for table, found in labels.items():
            for run, key, value in self._rows(LABELS.format(table=table), **own):
                found.setdefault(run, {})[key] = value or ""
        return [
            Run(
                id=run,
                name=name or "",
                status=status or "",
                started_ms=started,
                ended_ms=ended,
                uri=uri or "",
                experiment=experiment.name,
                lifecycle=stage or "",
                tags=labels["tags"].get(run, {}),
                params=labels["params"].get(run, {}),
            )
            for run, name, status, started, ended, uri, stage in self._rows(RUNS, **own)
        ]

    def points(self, runs: Sequence[Run]) -> Iterator[pl.DataFrame]:
        for run in runs:
            rows = self._rows(POINTS, run=run.id)
            columns = zip(*rows, strict=True) if rows else ([] for _ in RAW)
            yield pl.DataFrame(dict(zip(RAW, columns, strict=True)), schema=RAW, strict=False)

    def _rows(self, query: str, **values: Any) -> Sequence[Any]:
        """Plain tuples: the driver's, since SQLAlchemy's rows take twice as long."""
        cursor = self._connection.execute(sa.text(query), values).cursor
        return [] if cursor is None else cursor.fetchall()


@contextmanager
def opened(store_of: Path | str, shown: str) -> Iterator[Database]:
    """A database, for reading.

    Args:
        store_of: an sqlite file, or the address of a PostgreSQL database.
        shown: what messages call it.

    Raises:
        ConfigError: no such file, no database driver, or no MLflow tables in it.
        StoreError: it is damaged, locked, or cannot be reached.
    """
    kinds = (sqlite3.Error, SQLAlchemyError, OSError)
    with faults.worded(shown, kinds, ANOTHER), _engine(store_of, shown).connect() as connection:
        missing = sorted(set(TABLES) - set(sa.inspect(connection).get_table_names()))
        if missing:
            raise ConfigError(
                f"no MLflow store at {shown}: it has no table {', '.join(missing)}; {ANOTHER}"
            )
        yield Database(connection)


def _engine(store_of: Path | str, shown: str) -> sa.Engine:
    if isinstance(store_of, Path):
        if not store_of.exists():
            raise ConfigError(f"no MLflow store at {shown}; run an ablation first or {ANOTHER}")
        return sa.create_engine(
            "sqlite://", creator=lambda: _read_only(store_of), poolclass=NullPool
        )
    try:
        return sa.create_engine(
            store_of, poolclass=NullPool, execution_options={"postgresql_readonly": True}
        )
    except ArgumentError as error:
        raise ConfigError(f"{shown!r} is no address of a database; {ANOTHER}") from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{shown} needs a driver that is not installed ({error.name}); pip install "
            f"psycopg2-binary"
        ) from error


def _read_only(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, except to finish what a killed writer left half done."""
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never made by looking at it
    connection = sqlite3.connect(uri, uri=True, timeout=store.BUSY_S)
    connection.execute("PRAGMA query_only = ON")
    return connection
