"""Hydra's grammar of a multirun, from the command line to the trials' values."""

import pytest

from sweeps.plan import Plan
from tests.sweeps.test_plan import planned


def variants(plan: Plan, key: str) -> list[object]:
    """A dotted key's value in every variant, in order."""
    found: list[object] = []
    for config in plan.variants.values():
        value: object = config
        for name in key.split("."):
            value = getattr(value, name)
        found.append(value)
    return found


@pytest.mark.parametrize(
    ("sweep", "key", "values"),
    [
        ("trainer.mini_batches=1,2,4", "trainer.mini_batches", [1, 2, 4]),
        ("trainer.mini_batches=choice(2,1)", "trainer.mini_batches", [2, 1]),
        ("trainer.mini_batches=range(1,4)", "trainer.mini_batches", [1, 2, 3]),
        ("rollout.temperature=range(0.5,1.1,0.25)", "rollout.temperature", [0.5, 0.75, 1.0]),
        ("trainer.mini_batches=sort(4,1,2)", "trainer.mini_batches", [1, 2, 4]),
        ("trainer.mini_batches=sort(1,4,2,reverse=true)", "trainer.mini_batches", [4, 2, 1]),
        ("rollout.temperature=float(range(1,3))", "rollout.temperature", [1.0, 2.0]),
        ("task.counts=[3,3],[3,4]", "task.counts", [[3, 3], [3, 4]]),
        ("rollout.stop=[';'],['a,b','c d']", "rollout.stop", [[";"], ["a,b", "c d"]]),
        ("task.counts=choice([3,4],[4,4])", "task.counts", [[3, 4], [4, 4]]),
        ("evaluation={every: 0.5},{every: 0.25}", "evaluation.every", [0.5, 0.25]),
        ("labels.task='x, y',\"it's\"", "labels.task", ["countdown", "countdown"]),
    ],
)
def test_values_arrive_as_they_were_written(sweep: str, key: str, values: list[object]) -> None:
    assert [list(v) if isinstance(v, tuple) else v for v in variants(planned(sweep), key)] == values


def test_a_glob_is_the_groups_files() -> None:
    made = planned("algorithm=glob([dr*,rloo,rein*],exclude=reinforce_*)")
    assert made.ablation.labels == ["dr_grpo", "reinforce", "rloo"]


def test_a_group_in_a_package_and_a_key_that_is_added() -> None:
    made = planned("reward=sum", "+reward@reward.parts.a=binary,format_only")
    assert (
        made.ablation.labels == ["parts.a=binary", "parts.a=format_only"]
        or len(made.ablation.labels) == 2
    )


def test_quoted_text_is_one_value_and_no_sweep() -> None:
    made = planned("rollout.stop=['a,b']", "seed=0,1")
    assert len(made.variants) == 1
    assert list(made.jobs[0].rollout.stop) == ["a,b"]
