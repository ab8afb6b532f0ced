"""Experiments of record, by hand: `pytest -m record`."""

import json
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


# Of the searchers who wrote the base's warm-up traces (conf/task/countdown_search.yaml).
SHARES = {"toward": 0.2, "random": 0.6, "away": 0.2, "patient": 0.75}


def test_in_the_dish_grpo_learns_what_to_try(tmp_path: Path) -> None:
    """Planted shares are read back; most of the gain is proposals, little of it patience."""
    done = harness(tmp_path, "-m", "+ablation=search_gain", timeout=7200)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    for label in ("true_reward", "random_reward"):
        for name, planted in SHARES.items():
            base = at_step(tmp_path / "runs", label, f"eval/strategy/{name}", 0)
            assert np.mean(base) == pytest.approx(planted, abs=0.05), name
    report = tmp_path / "runs" / "reports" / "search_gain" / "report.json"
    gains = json.loads(report.read_text(encoding="utf-8"))["gains"]
    seeds = gains["true_reward"]["seeds"].values()
    shares = mean_interval(np.array([parts["proposals"] / sum(parts.values()) for parts in seeds]))
    print(f"proposals of the gain: {shares.mean:.0%} [{shares.low:.0%}, {shares.high:.0%}]")
    assert shares.mean >= 0.5
    assert shares.low > 0.35
    assert gains["random_reward"]["gain"]["low"] <= 0
    tried = "eval/behaviour/success_per_attempt"
    before, after = (at_step(tmp_path / "runs", "true_reward", tried, end) for end in (0, -1))
    assert np.mean(after) >= 2 * np.mean(before)


def at_step(runs: Path, variant: str, metric: str, end: int) -> list[float]:
    """A metric at the first (0) or last (-1) evaluation of each seed."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("search_gain")
    found = client.search_runs([experiment.experiment_id], f"tags.variant = '{variant}'")
    histories = [client.get_metric_history(run.info.run_id, metric) for run in found]
    return [sorted(history, key=lambda point: point.step)[end].value for history in histories]
