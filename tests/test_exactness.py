"""Level 1 of exactness: bitwise over repetition, and over kill and resume."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.facts import declared_metrics
from harness.launch import run_trial
from harness.schema import METRICS
from harness.trial import clear, trial_folder
from tests.conftest import SMALL

Steps = dict[int, dict[str, float]]


def recorded(config: Any) -> Steps:
    """Deterministic metrics of every step of a trial."""
    declared, steps = declared_metrics(config), dict[int, dict[str, float]]()

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        steps[step] = {k: v for k, v in metrics.items() if not declared[k].clock}

    run_trial(config, observe)
    return steps


class StoppedError(Exception):
    """Raised where the trial reports a step."""


@pytest.mark.parametrize(
    "chosen",
    [
        ("algorithm=ppo", "algorithm.kl.coefficient=0.01", "algorithm.kl.target=0.01"),
        ("algorithm=a_star_po", "algorithm.value_samples=2"),
        ("algorithm=dapo", "algorithm.max_batches=3"),
        ("algorithm=adaptive_window", "window.initial=24", "window.epsilon=0.3"),
    ],
    ids=lambda chosen: chosen[0],
)
def test_what_an_algorithm_brings_is_resumed_as_well(
    work: Path, composed: Callable[..., Any], chosen: tuple[str, ...]
) -> None:
    """Critic, KL coefficient, the base's responses, rejected groups, the window."""
    config = composed(
        *SMALL, *chosen, f"runs={work / 'runs'}", "tracking=none", "evaluation.pass_k=0"
    )
    declared = declared_metrics(config)

    def steps(stop: int | None) -> Steps:
        found: Steps = {}

        def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
            found[step] = {k: v for k, v in metrics.items() if not declared[k].clock}
            if step == stop:
                raise StoppedError

        with contextlib.suppress(StoppedError):
            run_trial(config, observe)
        return found

    whole = steps(None)
    weights = final_weights(trial_folder(config))
    clear(config)
    last = max(whole)
    assert last >= 2
    before, after = steps(last - 1), steps(None)
    assert max(before) == last - 1
    assert {**before, **after} == whole
    again = final_weights(trial_folder(config))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_drawing_for_several_steps_at_once_moves_no_number(
    work: Path, composed: Callable[..., Any]
) -> None:
    """V* of each step, or of all steps at the first: beside what is drawn when, all is equal."""
    asked = (*SMALL, "tracking=none", "evaluation.pass_k=0", "algorithm=a_star_po")
    asked = (*asked, "algorithm.value_samples=2")
    found = []
    for ahead in (1, 99):
        runs = work / f"runs_{ahead}"
        shutil.copytree(work / "runs", runs)
        found.append(recorded(composed(*asked, f"trainer.reference_ahead={ahead}", f"runs={runs}")))
    assert found[0] == found[1]


def test_checking_the_sampler_less_often_moves_no_number(
    work: Path, composed: Callable[..., Any]
) -> None:
    """Every second sync is sampled from: what that says is all that the others lack."""
    asked = (*SMALL, f"runs={work / 'runs'}", "tracking=none", "evaluation.pass_k=0")
    each = recorded(composed(*asked))
    seldom = recorded(composed(*asked, "trainer.check_sync_every=2"))
    gap = "rollout/sync/gap"
    assert [step for step in seldom if gap in seldom[step]] == [s for s in each if s and s % 2 == 0]
    for metrics in (*each.values(), *seldom.values()):
        metrics.pop(gap, None)
    assert seldom == each


def final_weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "final" / "model.safetensors")


def stored(runs: Path, config: Any) -> tuple[Any, Steps]:
    """The MLflow run of a trial and its deterministic metrics by step."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("trials")
    (run,) = client.search_runs([experiment.experiment_id])
    steps: Steps = {}
    for key in run.data.metrics:
        if not METRICS[key].clock:
            history = client.get_metric_history(run.info.run_id, key)
            assert len({point.step for point in history}) == len(history), f"{key} logged twice"
            for point in history:
                steps.setdefault(point.step, {})[key] = point.value
    return run, steps


def test_the_same_seed_twice_is_equal_to_the_last_bit(
    work: Path, composed: Callable[..., Any]
) -> None:
    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none", "seed=3")
    first = recorded(config)
    weights = final_weights(trial_folder(config))
    clear(config)
    second = recorded(config)
    assert sorted(first) == list(range(9))
    assert first == second
    assert sum(step["actor/grad_norm"] > 0 for step in first.values() if "actor/lr" in step) >= 4
    again = final_weights(trial_folder(config))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_two_seeds_differ_in_order_sampling_and_results(
    work: Path, composed: Callable[..., Any]
) -> None:
    from harness.curricula.order import next_prompts

    a, b = (
        composed(*SMALL, f"runs={work / 'runs'}", "tracking=none", f"seed={seed}")
        for seed in (0, 1)
    )
    orders = [
        [p.text for p in next_prompts(c.task.pool(), c.seed, 0, len(c.task.pool()))] for c in (a, b)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    first, second = recorded(a), recorded(b)
    # Step 0 has the same weights and prompts: only the sampling can make it differ.
    assert first[0]["eval/entropy"] != second[0]["eval/entropy"]
    assert first[8]["actor/grad_norm"] != second[8]["actor/grad_norm"]


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo"])
def test_variants_at_one_seed_see_the_same_first_rollout(
    work: Path, composed: Callable[..., Any], algorithm: str
) -> None:
    """Common random numbers: before the first update they cannot differ in what they sampled."""
    config = composed(
        *SMALL,
        f"algorithm={algorithm}",
        f"runs={work / 'runs'}",
        "tracking=none",
        "budget.amount=1",
    )
    other = composed(
        *SMALL, "algorithm=grpo", "algorithm.clip_low=0.1", f"runs={work / 'runs'}",
        "tracking=none", "budget.amount=1",
    )  # fmt: skip
    first, second = recorded(config)[1], recorded(other)[1]
    for key in (
        "critic/score/mean",
        "response_length/mean",
        "reward/accuracy",
        "prompt_length/max",
    ):
        assert first[key] == second[key]
