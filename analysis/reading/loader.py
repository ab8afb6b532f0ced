"""`analysis.load`: one call from the address of a store to tidy frames."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl

from analysis.reading import cache, database, files, tidy
from analysis.reading.columns import EVALS, POINTS, SAMPLES
from analysis.reading.files import Files, Folder
from analysis.reading.source import ACTIVE, Experiment, Run, Source
from harness.config import IDENTITY_IRRELEVANT, flattened
from harness.errors import ConfigError
from harness.tracking.address import SQLITE, store_path
from harness.tracking.reports import REPORT
from harness.typed import TARGET

POSTGRES = "postgresql+"  # and the name of a driver
SCHEMES = ("sqlite", "postgresql", "http", "https")


@dataclass(frozen=True)
class Data:
    """What a store holds of some experiments. Frames are made when they are first asked for.

    Attributes:
        runs: every attempt, finished or not, deleted ones included; columns `columns.ATTEMPTS`:
            `status` marks the unfinished, `lifecycle` the deleted, `counts` the one attempt of
            each trial that counts (see `tidy`).
        points: every metric of every run that is not deleted, columns `columns.POINTS`.
        stored: the runs as stored, by id.
        files: what lies beside the store.
    """

    runs: pl.DataFrame
    points: pl.DataFrame
    stored: Mapping[str, Run]
    files: Files

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """`points` with the labels of their runs, columns `columns.METRICS`.

        One value per run, metric and step; NaN and ±inf as they were logged.
        """
        return tidy.metrics(self.points, self.runs)

    @cached_property
    def evals(self) -> pl.DataFrame:
        """Every held-out prompt in every evaluation that stored a table, columns `columns.EVALS`.

        Raises:
            StoreError: a table is damaged.
        """
        return tidy.together(self._tables, EVALS)

    @cached_property
    def samples(self) -> pl.DataFrame:
        """The prompts and responses of the same rows, columns `columns.SAMPLES`.

        Raises:
            StoreError: a table is damaged.
        """
        return tidy.together(self._tables, SAMPLES)

    def settings(self, run_id: str) -> dict[str, str]:
        """Every key of a run's config that decides a number, and its params, as texts.

        A plan's runs have only what differs between them as params.

        Raises:
            StoreError: the config is damaged.
        """
        if run_id not in self._settings:
            run = self.stored[run_id]
            plain = files.config(self.files, run)
            config = {k: v for k, v in plain.items() if k not in IDENTITY_IRRELEVANT}
            flat = {k: str(v) for k, v in flattened(config).items() if not k.endswith(TARGET)}
            self._settings[run_id] = {**flat, **run.params} if config else run.params
        return self._settings[run_id]

    @cached_property
    def _settings(self) -> dict[str, dict[str, str]]:
        return {}

    @cached_property
    def _tables(self) -> list[pl.DataFrame]:
        found = []
        active = self.runs.filter(pl.col("lifecycle") == ACTIVE)
        for run_id, trial, variant, seed in active.select(
            "run_id", "trial", "variant", "seed"
        ).iter_rows():
            for step, table in files.tables(self.files, self.stored[run_id]):
                labels = {"run_id": run_id, "trial": trial, "variant": variant}
                columns = {name: pl.lit(value) for name, value in labels.items()}
                found.append(table.with_columns(seed=pl.lit(seed), step=pl.lit(step), **columns))
        return found


def load(
    store: str | Path = "runs",
    experiment: str | Sequence[str] | None = None,
    *,
    cached: bool = True,
    planned: Mapping[str, str] | None = None,
) -> Data:
    """Runs, metrics, per-prompt evaluations and samples of a store, as polars frames.

    Nothing is written to the store, and none is made.

    Example:
        >>> data = analysis.load("runs", "length_bias")
        >>> data.metrics.filter(metric="eval/accuracy").group_by("variant", "step").agg(
        ...     pl.col("value").mean()
        ... )

    Args:
        store: an output folder, or MLflow's tracking URI: sqlite:///..., postgresql://..., or
            http(s)://... of a server.
        experiment: one name, several, or None for all that are not deleted.
        cached: keep the points of an sqlite store in `cache/` beside it. A hit is what reading
            would give.
        planned: trial -> identity that a plan gives it; which attempt counts then depends on it.

    Raises:
        ConfigError: no store there, or an experiment that is unknown or deleted.
        StoreError: the store is damaged, locked or out of reach.
    """
    uri = _uri(store)
    with _opened(uri) as source:
        chosen = _experiments(source, experiment, shown(uri))
        found = (run for each in chosen for run in source.runs(each))
        runs = [run for run in found if REPORT not in run.tags]  # a report's copy is no trial
        frame = tidy.attempts(runs, planned)
        stored = {run.id: run for run in runs}
        parts = [_points(source, each, frame, stored, uri, cached) for each in chosen]
        points = pl.concat([pl.DataFrame(schema=POINTS), *parts])
    return Data(frame, points, stored, _files(uri))


def _uri(store: str | Path) -> str:
    """The address of a store; a folder's store is its mlflow.db."""
    text = str(store)
    if "\0" in text:
        raise ConfigError(
            f"no folder's name holds a NUL character, received {text!r}; name another"
        )
    if "://" not in text:
        return f"{SQLITE}{store_path(Path(text))}"
    scheme = urlsplit(text).scheme
    if scheme not in SCHEMES and not scheme.startswith(POSTGRES):
        raise ConfigError(
            f"a store is an output folder or an address that begins with {', '.join(SCHEMES)}, "
            f"received {text!r}; a file store becomes sqlite by `mlflow migrate-filestore`"
        )
    return text


def shown(uri: str) -> str:
    """An address without its password."""
    parts = urlsplit(uri)
    secret = parts.password
    return uri.replace(f":{secret}@", ":***@") if secret else uri


def _file(uri: str) -> Path | None:
    """The file of an sqlite address, which any name may follow as it is."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


@contextmanager
def _opened(uri: str) -> Iterator[Source]:
    if urlsplit(uri).scheme in ("http", "https"):
        from analysis.reading import server  # and with it MLflow, which takes seconds to import

        with server.worded(shown(uri)):
            yield server.Server(uri)
    else:
        path = _file(uri)
        with database.opened(path or uri, str(path or shown(uri))) as source:
            yield source


def _files(uri: str) -> Files:
    path = _file(uri)
    if path is not None:
        return Folder(path.parent)
    from analysis.reading import server

    return server.Downloads(uri)


def _experiments(source: Source, wanted: str | Sequence[str] | None, uri: str) -> list[Experiment]:
    known = source.experiments()
    active = {each.name: each for each in known if each.lifecycle == ACTIVE}
    if wanted is None:
        return list(active.values())
    names = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
    for name in names:
        if name in active:
            continue
        deleted = [each for each in known if each.name == name]
        if deleted:
            raise ConfigError(
                f"experiment {name!r} was deleted from {uri}; bring it back: MLFLOW_TRACKING_URI="
                f"'{uri}' mlflow experiments restore -x {deleted[0].id}"
            )
        raise ConfigError(
            f"experiment {name!r} is not in the MLflow store; valid: "
            f"{', '.join(sorted(active)) or 'none'}"
        )
    return [active[name] for name in names]


def _points(
    source: Source,
    experiment: Experiment,
    frame: pl.DataFrame,
    stored: Mapping[str, Run],
    uri: str,
    cached: bool,
) -> pl.DataFrame:
    """Points of an experiment's active runs, in the order of the frame."""
    own = frame.filter((pl.col("experiment") == experiment.name) & (pl.col("lifecycle") == ACTIVE))[
        "run_id"
    ].to_list()

    def read() -> pl.DataFrame:
        histories = source.points([stored[run_id] for run_id in own])
        parts = [tidy.points(raw, run_id) for run_id, raw in zip(own, histories, strict=True)]
        return pl.concat([pl.DataFrame(schema=POINTS), *parts])

    path = _file(uri)
    return cache.kept(path, experiment.id, read) if cached and path is not None else read()
