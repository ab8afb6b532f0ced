"""Hydra's grammar of a multirun, from the command line to the trials' values."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from harness.errors import ConfigError
from sweeps.comparable import check
from sweeps.overrides import values
from sweeps.plan import Plan
from tests.conftest import Here
from tests.sweeps.test_plan import planned


def of_variants(plan: Plan, key: str) -> list[object]:
    """A dotted key's value in every variant, in order."""
    found: list[object] = []
    for config in plan.variants.values():
        value: object = config
        for name in key.split("."):
            value = getattr(value, name)
        found.append(list(value) if isinstance(value, tuple) else value)
    return found


def refused(*arguments: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        check(planned(*arguments))
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("sweep", "key", "expected"),
    [
        ("trainer.mini_batches=choice(2,1)", "trainer.mini_batches", [2, 1]),
        ("trainer.mini_batches=range(1,4)", "trainer.mini_batches", [1, 2, 3]),
        ("rollout.temperature=range(0.5,1.1,0.25)", "rollout.temperature", [0.5, 0.75, 1.0]),
        ("trainer.mini_batches=sort(4,1,2)", "trainer.mini_batches", [1, 2, 4]),
        ("trainer.mini_batches=sort(1,2,reverse=true)", "trainer.mini_batches", [2, 1]),
        ("rollout.temperature=float(range(1,3))", "rollout.temperature", [1.0, 2.0]),
        ("task.counts=[3,3],[3,4]", "task.counts", [[3, 3], [3, 4]]),
        ("rollout.stop=[';'],['a,b',\"it's\"]", "rollout.stop", [[";"], ["a,b", "it's"]]),
        ("evaluation={every: 0.5},{every: 0.25}", "evaluation.every", [0.5, 0.25]),
    ],
)  # fmt: skip
def test_values_arrive_as_they_were_written(sweep: str, key: str, expected: list[object]) -> None:
    assert of_variants(planned(sweep), key) == expected


def test_a_range_that_never_ends_is_one_line() -> None:
    assert refused("seed=range(0,3,0)").startswith("seed=range(0,3,0): no values can be listed")


def test_a_key_that_is_taken_away_has_its_own_default() -> None:
    made = planned("~rollout.temperature", "algorithm=grpo,dr_grpo")
    assert of_variants(made, "rollout.temperature") == [1.0, 1.0]


def test_a_glob_is_the_groups_files() -> None:
    made = planned("algorithm=glob([dr*,rloo,rein*],exclude=reinforce_*)")
    assert made.ablation.labels == ["dr_grpo", "reinforce", "rloo"]


def test_a_group_in_a_package_that_is_added() -> None:
    made = planned("reward=sum", "+reward@reward.parts.a=binary,format_only")
    parts = [config.reward.parts["a"] for config in made.variants.values()]
    assert [type(part).__name__ for part in parts] == ["Binary", "FormatOnly"]


def test_quoted_text_is_one_value_and_no_sweep() -> None:
    made = planned("rollout.stop=['a,b']", "seed=0,1")
    assert of_variants(made, "rollout.stop") == [["a,b"]]


@pytest.mark.parametrize("sweep", ["tracking=none,mlflow", "runs=a,b", "rollout.temperature=1,1.0"])
def test_one_trial_spelled_twice(sweep: str) -> None:
    assert "are the same trials" in refused(sweep)


@pytest.mark.parametrize(
    ("sweep", "other"),
    [
        ("rollout.temperature=interval(0.5,1)", "seed=0"),
        ("rollout.temperature=tag(log,interval(0.5,1))", "+ablation=a_a"),
        ("rollout.temperature=interval(0.5,1)", "sweep.stage=confirm"),
    ],
)
def test_an_interval_needs_a_search_stage(sweep: str, other: str) -> None:
    message = refused(sweep, other)
    assert message.startswith(f"{sweep}: an interval cannot be listed; list values")
    assert "or search it with sweep.stage=tune" in message


def test_a_tag_on_listed_values_is_not_passed_over() -> None:
    override = OverridesParser.create().parse_overrides(["x=tag(log,choice(1,2))"])[0]
    with pytest.raises(ConfigError, match="tag 'log' means nothing on listed values"):
        values(override)


def test_a_key_that_only_one_variant_has_belongs_in_its_overrides(here: Here) -> None:
    """GRPO has std_epsilon, Dr. GRPO has not; PPO has a critic, and the default algorithm none."""
    for question in ("+ablation=length_bias", "algorithm=grpo,dr_grpo"):
        message = refused(question, "algorithm.std_epsilon=0.1")
        assert "dr_grpo has no such key, only grpo has" in message
        assert "belongs in the overrides of those that have it" in message
    done = here("-m", "algorithm=ppo,grpo", "algorithm.critic.learning_rate=1e-3")
    assert done.returncode == 2
    assert "that not every variant has belongs in the overrides" in done.stderr
    done = here("-m", "+ablation=algorithm_family", "algorithm.critic.learning_rate=1e-3")
    assert done.returncode == 2
    assert "that not every variant has belongs in the overrides" in done.stderr
    assert len(done.stderr.splitlines()) == 1
