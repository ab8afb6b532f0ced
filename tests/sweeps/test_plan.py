"""What a command line becomes: jobs, deviations, and what is refused before anything starts."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import sweeps.plan
from harness.config import config_hash, group_hash, trial_name
from harness.errors import ConfigError
from sweeps.composing import Composer
from sweeps.plan import Plan, differences, plan
from tests.conftest import ROOT


def planned(*arguments: str) -> Plan:
    """The plan of `harness -m ARGUMENTS`, made as Hydra makes it."""
    return plan(*_of_hydra(*arguments), _tasks(arguments))


def _of_hydra(*arguments: str) -> tuple[ConfigLoader, DictConfig]:
    """What Hydra hands to a sweeper."""
    GlobalHydra.instance().clear()
    path = create_automatic_config_search_path(None, None, "pkg://conf")
    hydra = Hydra.create_main_hydra2("harness", path)
    master = hydra.compose_config(
        "config", list(arguments), run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    return hydra.config_loader, master


def _tasks(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("hydra.")]


def test_an_ablation_is_expanded_seed_by_seed() -> None:
    made = planned("+ablation=length_bias")
    assert [(job.labels.variant, job.seed) for job in made.jobs] == [
        (variant, seed) for seed in (0, 1, 2) for variant in ("grpo", "dr_grpo")
    ]
    assert made.departures(made.ablation.seeds) == []
    assert {job.labels.ablation for job in made.jobs} == {"length_bias"}
    assert made.ablation.budget == made.jobs[0].budget


def test_only_the_declared_factors_differ_between_its_variants() -> None:
    made = planned("+ablation=length_bias")
    changed = differences(made.variants["grpo"], made.variants["dr_grpo"])
    assert set(changed) == set(made.ablation.factors)
    assert changed["algorithm.std_epsilon"] == [1e-6, "(absent)"]


def test_seeds_of_the_command_line_replace_the_files_and_are_a_deviation() -> None:
    made = planned("+ablation=length_bias", "seed=7,9", "budget.amount=4", "runs=elsewhere")
    assert made.ablation.seeds == [7, 9]
    assert [job.seed for job in made.jobs] == [7, 7, 9, 9]
    assert made.ablation.budget.amount == 4
    found = made.departures(made.ablation.seeds)
    assert found == ["budget.amount=4", "seeds [0, 1, 2] replaced by [7, 9]"]


def edited(folder: Path, old: str, new: str) -> Plan:
    """The plan of a user's own ablation file: length_bias with one piece of text changed."""
    text = (ROOT / "sweeps" / "ablation" / "length_bias.yaml").read_text()
    assert old in text
    (folder / "ablation").mkdir()
    text = text.replace("name: length_bias", "name: mine").replace(old, new, 1)
    (folder / "ablation" / "mine.yaml").write_text(text)
    return planned("+ablation=mine", f"hydra.searchpath=[file://{folder}]")


def test_a_difference_that_is_no_factor_is_refused_with_both_values(tmp_path: Path) -> None:
    old = "overrides: [algorithm=dr_grpo]"
    new = "overrides: [algorithm=dr_grpo, trainer.optimizer.learning_rate=0.001]"
    with pytest.raises(ConfigError) as refusal:
        edited(tmp_path, old, new)
    message = str(refusal.value)
    assert "only the declared factors may differ" in message
    assert re.search(r"write factors: \[algorithm.*, trainer.optimizer.learning_rate\]", message)
    line = "dr_grpo: trainer.optimizer.learning_rate: 0.0003 in grpo, 0.001 here"
    assert line in message
    assert len(message.splitlines()) == 1


def test_a_users_own_ablation_file_is_found(tmp_path: Path) -> None:
    made = edited(tmp_path, "seeds: [0, 1, 2]", "seeds: [4]")
    assert made.ablation.name == "mine"
    assert [job.seed for job in made.jobs] == [4, 4]


def test_a_grid_makes_a_variant_of_every_combination() -> None:
    made = planned("algorithm=grpo,dr_grpo", "trainer.mini_batches=1,2", "seed=range(0,2)")
    assert made.ablation.labels == [
        "algorithm=grpo_mini_batches=1",
        "algorithm=grpo_mini_batches=2",
        "algorithm=dr_grpo_mini_batches=1",
        "algorithm=dr_grpo_mini_batches=2",
    ]
    assert len(made.jobs) == 8
    assert len({trial_name(job) for job in made.jobs}) == 8
    one = planned("seed=0,1,2")
    assert one.ablation.labels == ["grpo"]
    assert [job.seed for job in one.jobs] == [0, 1, 2]


def test_seed_copies_share_everything_but_the_seed() -> None:
    jobs = planned("seed=0,1").jobs
    assert config_hash(jobs[0]) != config_hash(jobs[1])
    assert group_hash(jobs[0]) == group_hash(jobs[1])
    assert differences(jobs[0], jobs[1]) == {}


def test_a_name_that_is_not_the_files_is_refused() -> None:
    with pytest.raises(ConfigError, match="`name` must be the file's name, received 'other'"):
        planned("+ablation=length_bias", "ablation.name=other")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("baseline: grpo\n", "baseline: nope\n", "'nope' is no variant; valid: grpo, dr_grpo"),
        ("seeds: [0, 1, 2]", "seeds: []", "has no trial"),
        ("label: grpo", "label: ../grpo", "received '../grpo'"),
        ("seeds: [0, 1, 2]", "seeds: [0, x]", "ablation.seeds"),
        ("metric: eval/accuracy, c", "metric: accuracy, c", "valid: eval/accuracy"),
        ("margin: 2.0", "margin: -1", "margin must be at least 0, received -1"),
        ("relation: equal", "relation: same", "one of greater, less, equal"),
        ("amount: 50", "amount: 0", "budget.amount must be above 0"),
        ("question:", "qestion:", "unknown key 'ablation.qestion'"),
    ],
)
def test_a_wrong_ablation_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        edited(tmp_path, old, new)
    assert words in str(refusal.value)


def test_every_job_is_typed_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="seed"):
        planned("seed=0,x")
    with pytest.raises(ConfigError, match="group_size"):
        planned("algorithm=grpo,dr_grpo", "algorithm.group_size=1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seed=0,00"], r"seeds repeat: \[0, '00'\] are \[0, 0\]"),
        (["seed=[0,1]"], r"seed must be a whole number, received \[0, 1\]; several are seed=0,1"),
        (["seed={a:1}"], "seed must be a whole number, received "),
        (
            ["algorithm.group_size=4", "algorithm=grpo,dr_grpo", "algorithm.group_size=4,8"],
            "algorithm.group_size=4: variant algorithm=grpo_group_size=4 sets "
            "algorithm.group_size=4 itself; leave algorithm.group_size=4 out",
        ),
        (
            ["+ablation=length_bias", "algorithm=grpo"],
            "algorithm=grpo: variant grpo sets algorithm=grpo itself",
        ),
    ],
)
def test_what_is_said_twice_is_named(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(*arguments)


def test_a_wrong_variant_is_told_without_composing_those_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    composed: list[str] = []
    real = sweeps.plan._composed

    def counted(*arguments: Any) -> Any:
        composed.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr("sweeps.plan._composed", counted)
    with pytest.raises(ConfigError, match=r"rollout\.temperature must be above 0"):
        planned("rollout.temperature=0.5,-1,0.7,0.8")
    assert composed == ["temperature=0.5", "temperature=-1"]


def test_variants_that_share_their_groups_are_composed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    composed: list[Sequence[str]] = []
    real = Composer._composed

    def counted(self: Composer, groups: Sequence[str]) -> Any:
        composed.append(groups)
        return real(self, groups)

    monkeypatch.setattr(Composer, "_composed", counted)
    planned("algorithm=grpo,dr_grpo", "rollout.temperature=0.5,0.7,0.9", "budget.amount=4")
    assert composed == [("algorithm=grpo",), ("algorithm=dr_grpo",)]


@pytest.mark.parametrize(
    "overrides",
    [
        ["rollout.temperature=0.5", "algorithm=ppo", "algorithm.clip_high=0.3", "seed=3"],
        ["algorithm.group_size=4", "algorithm.group_size=8", "algorithm=dr_grpo"],
        ["evaluation.every=0.1", "evaluation={every: 0.5}", "evaluation.pass_k=4"],
        ["evaluation={every: 0.5}", "evaluation.every=0.1"],
        ["reward=sum", "+reward@reward.parts.a=binary", "+reward.parts.a.right=2.0"],
        ["~rollout.temperature", "++rollout.top_p=0.5", "task.counts=[3,4]"],
    ],
)
def test_a_config_is_what_hydra_composes(overrides: list[str]) -> None:
    loader, master = _of_hydra()
    whole = loader.load_sweep_config(master, overrides)
    config, choices = Composer(loader, master)(overrides)
    assert choices == whole.hydra.runtime.choices
    OmegaConf.set_struct(whole, False)
    del whole["hydra"]
    assert OmegaConf.to_container(config) == OmegaConf.to_container(whole)


def test_a_key_that_is_not_there_is_refused_in_hydras_words() -> None:
    with pytest.raises(HydraException, match=r"Could not override 'rollout\.temprature'"):
        Composer(*_of_hydra())(["rollout.temprature=1"])


def test_a_grid_is_named_by_its_question() -> None:
    def name(*arguments: str) -> str:
        return planned(*arguments).ablation.name

    arguments = ("algorithm=grpo,dr_grpo", "trainer.mini_batches=2")
    own = name(*arguments, "seed=0,1")
    assert re.fullmatch(r"grid-[0-9a-f]{8}", own)
    same = [
        ("seed=0,1,2,3,4",),
        (),
        ("runs=elsewhere", "tracking=none", "fresh=true", "ray.retries=3"),
        ("budget.amount=50.0",),
    ]
    assert {name(*arguments, *more) for more in same} == {own}
    others = [
        name("algorithm=grpo,rloo", "trainer.mini_batches=2"),
        name("algorithm=dr_grpo,grpo", "trainer.mini_batches=2"),
        name("algorithm=grpo,dr_grpo", "trainer.mini_batches=4"),
        name("algorithm=grpo,dr_grpo", "trainer.mini_batches=2,4"),
        name(*arguments, "budget.amount=60"),
        name(*arguments, "budget.unit=tokens"),
        name(*arguments, "model.warm_up.steps=400"),
    ]
    assert len({own, *others}) == 1 + len(others)


def test_a_grid_takes_the_name_that_it_is_given() -> None:
    made = planned("algorithm=grpo,dr_grpo", "name=my-grid.2", "seed=0,1")
    assert made.ablation.name == "my-grid.2"
    assert made.grid
    assert {job.labels.ablation for job in made.jobs} == {"my-grid.2"}
    plain = planned("algorithm=grpo,dr_grpo", "seed=0,1")
    assert [trial_name(job) for job in made.jobs] == [trial_name(job) for job in plain.jobs]
    assert {job.labels.ablation for job in plain.jobs} == {plain.ablation.name}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("name=../x",), "received '../x'"),
        (("name=a/b",), "received 'a/b'"),
        (("name=.hidden",), "received '.hidden'"),
        (("name='..'",), "received '..'"),
        (("name='a b'",), "received 'a b'"),
        (("name=''",), "received ''"),
        (("name=null",), "received ''"),
        (("name=a,b",), "name names one grid"),
        (("name=" + "x" * 101,), "at most 100"),
        (("name=trials",), "'trials' is that of single runs"),
        (("name=reports",), "'reports' is that of single runs, of the reports"),
        (("name=length_bias",), "is that of an ablation file, received a grid"),
        (("+ablation=length_bias", "name=mine"), "beside +ablation the file names the plan"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line(
    arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        planned(*arguments, "seed=0,1")
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_name_of_a_users_own_ablation_file_is_taken(tmp_path: Path) -> None:
    edited(tmp_path, "seeds: [0, 1, 2]", "seeds: [4]")
    with pytest.raises(ConfigError, match="name=mine is that of an ablation file"):
        planned("name=mine", "seed=0,1", f"hydra.searchpath=[file://{tmp_path}]")
