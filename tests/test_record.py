"""Experiments of record, by hand: `pytest -m record`."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from analysis.stats import mean_interval
from tests.conftest import harness

pytestmark = pytest.mark.record

CONTROL = "random_reward"


def test_the_algorithm_family_improves_the_base_and_a_random_reward_does_not(
    tmp_path: Path,
) -> None:
    """Final minus base accuracy over three seeds: ten algorithms at least are above 0."""
    done = harness(tmp_path, "-m", "+ablation=algorithm_family", timeout=7200)
    assert done.returncode == 0, done.stdout + done.stderr
    gains = gained(tmp_path / "runs")
    intervals = {label: mean_interval(np.array(values)) for label, values in gains.items()}
    for label, e in intervals.items():
        print(f"{label:22} {e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]")
    assert all(len(values) == 3 for values in gains.values())
    control = intervals.pop(CONTROL)
    assert control.low <= 0 or control.mean < 0.05
    assert sum(e.low > 0 for e in intervals.values()) >= 10


# Two one-sided tests at 5 %: the 90 % interval of the paired differences lies within the margin.
EQUIVALENCE_LEVEL, MARGIN = 0.90, 0.05


def test_vllm_and_transformers_teach_the_same(tmp_path: Path) -> None:
    """Final accuracy, five seeds, paired: the same prompts in the same order at each seed."""
    done = harness(tmp_path, "-m", "+ablation=rollout_engine", timeout=7200)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    final = finals(tmp_path / "runs", "rollout_engine")
    ours, theirs = final["vllm"], final["transformers"]
    assert sorted(ours) == sorted(theirs) == ["0", "1", "2", "3", "4"]
    difference = np.array([ours[seed] - theirs[seed] for seed in sorted(ours)])
    e = mean_interval(difference, EQUIVALENCE_LEVEL)
    print(f"vllm - transformers {e.mean:+.3f}, 90 % [{e.low:+.3f}, {e.high:+.3f}]")
    print(difference)
    assert -MARGIN < e.low <= e.high < MARGIN


def finals(runs: Path, name: str) -> dict[str, dict[str, float]]:
    """Held-out accuracy at the end, by variant and seed."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for run in client.search_runs([experiment.experiment_id]):
        history = client.get_metric_history(run.info.run_id, "eval/accuracy")
        last = max(history, key=lambda point: point.step)
        found[run.data.tags["variant"]][run.data.tags["seed"]] = last.value
    return dict(found)


def gained(runs: Path) -> dict[str, list[float]]:
    """Held-out accuracy at the end minus at the start, of each seed of each variant."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("algorithm_family")
    gains = defaultdict(list)
    for run in client.search_runs([experiment.experiment_id]):
        history = client.get_metric_history(run.info.run_id, "eval/accuracy")
        points = sorted(history, key=lambda point: point.step)
        if run.info.status == "FINISHED":
            gains[run.data.tags["variant"]].append(points[-1].value - points[0].value)
    return dict(gains)
