"""Texts of any kind reach the MLflow store and come back as they went in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from harness.machine import shown
from harness.tracking import Names
from harness.tracking.writer import Writer
from tests.hostile import HOSTILE


def test_store_holds_every_text(tmp_path: Path, composed: Callable[..., Any]) -> None:
    config = composed()
    texts = list(HOSTILE.values())
    facts = {f"fact_{number}": text for number, text in enumerate(texts)}
    folder = tmp_path / "checkpoints" / "t"
    folder.mkdir(parents=True)
    writer = Writer(folder)
    writer.start(facts, "")
    writer.text("prompt.txt", "".join(texts))
    writer.table(0, {"item": list(range(len(texts))), "response": texts})
    writer.step(0, {"eval/accuracy": 0.0})
    config.tracking.publish(folder, tmp_path, Names("t", "v"))
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("trials").experiment_id])
    stored = [shown.storable(text) for text in texts]
    assert [found.data.tags[key] for key in facts] == stored
    path = client.download_artifacts(found.info.run_id, "prompt.txt", str(tmp_path))
    assert Path(path).read_bytes().decode() == "".join(stored)
    path = client.download_artifacts(found.info.run_id, "eval/step_000000.json", str(tmp_path))
    assert json.loads(Path(path).read_text("utf-8"))["data"] == [
        list(row) for row in enumerate(stored)
    ]
