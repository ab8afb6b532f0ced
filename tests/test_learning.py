"""README's first command, for real: the base is made, RL learns, the report says what."""

import json
import statistics
from pathlib import Path

import pytest

from tests.conftest import harness

pytestmark = pytest.mark.learning


def test_every_seed_rises_and_every_variant_by_30_points(tmp_path: Path) -> None:
    done = harness(tmp_path, "-m", "+ablation=length_bias", timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("length_bias")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 6
    rises: dict[str, list[float]] = {}
    for run in runs:
        points = client.get_metric_history(run.info.run_id, "eval/accuracy")
        accuracy = {point.step: point.value for point in points}
        assert sorted(accuracy) == [0, 10, 20, 30, 40, 50]
        rise = accuracy[50] - accuracy[0]
        # Two standard errors of 512 problems below what a variant must rise by.
        assert rise > 0.25, run.data.tags["trial"]
        rises.setdefault(run.data.tags["variant"], []).append(rise)
        assert 0.15 < accuracy[0] < 0.5, "the base must search, and must have something to learn"
    assert {len(found) for found in rises.values()} == {3}
    assert all(statistics.mean(found) >= 0.30 for found in rises.values()), rises
    folder = tmp_path / "runs" / "reports" / "length_bias"
    text = (folder / "report.md").read_text()
    for words in (
        "base, sampled, early stop suppressed",
        "base, pass@16",
        "base, greedy",
        "eval/behaviour/give_up_rate",
        "detectable",
    ):
        assert words in text
    assert "://" not in (folder / "report.html").read_text().split("<body")[0]
    planned = tmp_path / "runs" / "sweeps" / "length_bias" / "manifest.jsonl"
    manifest = json.loads(planned.read_text())  # one revision is one line
    assert len(manifest["jobs"]) == 6
    assert str(folder / "report.html") in done.stdout
