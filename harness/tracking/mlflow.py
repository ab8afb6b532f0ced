"""MLflow on sqlite: one experiment per ablation, one run per trial, continued on resume."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import (
    TrialConfig,
    config_hash,
    flattened,
    group_hash,
    identity,
    resolved,
    trial_name,
)
from harness.machine import shown
from harness.typed import TARGET

# MLflow refuses more in one call.
MAX_PARAMS = 100


@dataclass(frozen=True)
class MlflowTracking:
    """The store `runs/mlflow.db`.

    Attributes:
        experiment: name of the experiment of trials that belong to no ablation.
    """

    experiment: str = "trials"

    def prepare(self, config: TrialConfig, runs: Path) -> None:
        self._experiment_id(_client(runs), config, runs)

    def forget(self, config: TrialConfig, runs: Path) -> None:
        client = _client(runs)
        for run in _found(client, self._experiment_id(client, config, runs), config):
            client.delete_run(run.info.run_id)

    def settle(self, config: TrialConfig, runs: Path) -> None:
        client = _client(runs)
        for run in _found(client, self._experiment_id(client, config, runs), config):
            if run.info.status != "FINISHED":
                client.set_terminated(run.info.run_id, "FINISHED")

    @contextmanager
    def run(
        self, config: TrialConfig, runs: Path, facts: Mapping[str, str]
    ) -> Iterator["MlflowRun"]:
        client = _client(runs)
        experiment = self._experiment_id(client, config, runs)
        run_id = _opened(client, experiment, config, facts)
        try:
            yield MlflowRun(client, run_id)
        except Exception:
            client.set_terminated(run_id, "FAILED")
            raise
        except BaseException:  # the scheduler's SystemExit, Ctrl-C, a signal
            client.set_terminated(run_id, "KILLED")
            raise
        client.set_terminated(run_id, "FINISHED")

    def _experiment_id(self, client: Any, config: TrialConfig, runs: Path) -> str:
        name = config.labels.ablation or self.experiment
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = (runs / "artifacts" / name).as_uri()
        return str(client.create_experiment(name, artifact_location=location))


class MlflowRun:
    """One MLflow run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        history = client.get_metric_history(run_id, "budget/updates")
        self.logged_step = max((point.step for point in history), default=-1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key, value, now, step) for key, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=points)

    def text(self, name: str, text: str) -> None:
        if name not in [file.path for file in self.client.list_artifacts(self.run_id)]:
            self.client.log_text(self.run_id, shown.storable(text), name)

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        name = f"eval/step_{step:06d}.json"
        # log_table appends: a resumed trial must not write its evaluation twice.
        if name not in [file.path for file in self.client.list_artifacts(self.run_id, "eval")]:
            self.client.log_table(self.run_id, _storable(table), name)


def _storable(table: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """A table whose texts a file can hold."""
    return {
        key: [shown.storable(x) if isinstance(x, str) else x for x in column]
        for key, column in table.items()
    }


def _client(runs: Path) -> Any:
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # making the tables is no news
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")


def _found(client: Any, experiment: str, config: TrialConfig) -> list[Any]:
    found = client.search_runs([experiment], f"tags.trial = '{trial_name(config)}'")
    return list(found)


def _opened(client: Any, experiment: str, config: TrialConfig, facts: Mapping[str, str]) -> str:
    """Run id of the trial's run: the existing one set to RUNNING, or a new one."""
    labels = config.labels
    existing = _found(client, experiment, config)
    if existing:
        run_id = str(existing[0].info.run_id)
        attempt = int(existing[0].data.tags["attempt"]) + 1
        client.set_tag(run_id, "attempt", str(attempt))
        client.update_run(run_id, status="RUNNING")
        _log_config(client, run_id, config)  # the first attempt may have died before it
        return run_id
    tags = {
        "trial": trial_name(config),
        "variant": labels.variant,
        "algorithm": labels.algorithm,
        "task": labels.task,
        "model": labels.model,
        "seed": str(config.seed),
        "ablation": labels.ablation,
        "config_hash": config_hash(config),
        "group_hash": group_hash(config),
        "attempt": "1",
        **facts,
    }
    tags = {key: shown.storable(value) for key, value in tags.items()}
    run = client.create_run(experiment, tags=tags, run_name=trial_name(config))
    run_id = str(run.info.run_id)
    _log_config(client, run_id, config)
    return run_id


def _log_config(client: Any, run_id: str, config: TrialConfig) -> None:
    """The whole config as an artifact; variant, seed and every key as params, for the UI."""
    from mlflow.entities import Param

    client.log_dict(run_id, resolved(config), "config.yaml")
    keys = {k: v for k, v in flattened(identity(config)).items() if not k.endswith(TARGET)}
    params = {"variant": config.labels.variant, "algorithm": config.labels.algorithm, **keys}
    entries = [
        Param(key.replace("[", ".").replace("]", ""), shown.storable(str(v)))
        for key, v in params.items()
    ]
    for start in range(0, len(entries), MAX_PARAMS):
        client.log_batch(run_id, params=entries[start : start + MAX_PARAMS])
