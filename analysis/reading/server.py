"""A store behind an MLflow server, and files that no folder holds: read with MLflow's client.

MLflow has no call for whole histories, so there is one request per run and metric, and threads.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow
import polars as pl
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from analysis.reading.columns import RAW
from analysis.reading.source import Experiment, Run
from harness.tracking import faults

THREADS = 16  # requests wait for the network, not for a core
PAGE = 1000  # MLflow's own default; a larger page only moves the memory peak
# MLflow tries a server that is not there for four minutes; three tries end after some seconds.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
# A bar per file would bury what is said.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


# A remedy for whatever none of the usual ones fits.
START = "start the server, or pass the address of an MLflow store"


class Server:
    """A client, as a `source.Source`."""

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(uri)

    def experiments(self) -> list[Experiment]:
        found = _pages(self._client.search_experiments, view_type=ViewType.ALL)
        return [Experiment(e.experiment_id, e.name, e.lifecycle_stage) for e in found]

    def runs(self, experiment: Experiment) -> list[Run]:
        found = _pages(
            self._client.search_runs,
            experiment_ids=[experiment.id],
            run_view_type=ViewType.ALL,
        )
        return [_run(run, experiment.name) for run in found]

    def points(self, runs: Sequence[Run]) -> Iterator[pl.DataFrame]:
        with ThreadPoolExecutor(THREADS) as pool:
            for run in runs:
                keys = sorted(self._client.get_run(run.id).data.metrics)
                ids = [run.id] * len(keys)
                rows = [
                    (m.key, m.step, m.timestamp, m.value, math.isnan(m.value))
                    for history in pool.map(self._client.get_metric_history, ids, keys)
                    for m in history
                ]
                yield pl.DataFrame(rows, schema=RAW, orient="row")


class Downloads:
    """Files that are found by their own address, as `files.Files`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def listed(self, run: Run, folder: str = "") -> list[str]:
        with worded(run.uri):
            there = f"{run.uri}/{folder}" if folder else run.uri
            found = mlflow.artifacts.list_artifacts(there, tracking_uri=self._uri)
        prefix = f"{folder}/" if folder else ""
        return sorted(prefix + PurePosixPath(f.path).name for f in found if not f.is_dir)

    def text(self, run: Run, name: str) -> str:
        with worded(run.uri), tempfile.TemporaryDirectory() as folder:
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{run.uri}/{name}", dst_path=folder, tracking_uri=self._uri
            )
            return Path(path).read_bytes().decode()

    def place(self, run: Run, name: str) -> object:
        return f"{run.uri}/{name}"


@contextmanager
def worded(place: str) -> Iterator[None]:
    """Word what a server or a store of files says no to.

    Raises:
        StoreError: in one line.
    """
    with faults.worded(place, (MlflowException, OSError), START):
        yield


def _pages(search: Callable[..., Any], **what: Any) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = search(max_results=PAGE, page_token=token, **what)
        yield from page
        token = page.token
        if not token:
            return


def _run(run: Any, experiment: str) -> Run:
    info = run.info
    return Run(
        id=info.run_id,
        name=info.run_name or "",
        status=info.status,
        started_ms=info.start_time,
        ended_ms=info.end_time,
        uri=info.artifact_uri,
        experiment=experiment,
        lifecycle=info.lifecycle_stage,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
    )
