"""Typing of configs: what is refused and how, identity hashes, and every YAML of the project."""

import dataclasses
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

import conf
from harness import __main__ as entry
from harness.config import (
    IDENTITY_IRRELEVANT,
    MAX_SEED,
    BudgetUnit,
    TrialConfig,
    config_hash,
    flattened,
    group_hash,
    resolved,
    trial_name,
)
from harness.errors import ConfigError
from harness.guard import OnCollapse
from harness.stages import Goal, Only, Scheduler, Searcher, Stage
from harness.typed import imported, typed

CONF = Path(str(conf.__file__)).parent
ABLATIONS = sorted((CONF.parent / "sweeps" / "ablation").glob("*.yaml"))
GROUP_FILES = sorted(
    path.relative_to(CONF).with_suffix("").as_posix()
    for path in CONF.glob("*/**/*.yaml")
    if path.parent.name != "recipe"  # files over several groups, not choices of one: test_recipes
)
# Numbers that may be below 0: targets of a task, and what a reward or a part of it is worth.
SIGNED = {"target_low", "target_high", "correct", "long"}
SIGNED |= {"correct_short", "correct_long", "wrong_short", "wrong_long", "exceed"}
# Numbers that were tried: several files are of one class.
TRIED: set[tuple[str, str]] = set()
SECTIONS = ("task", "reward", "window", "curriculum", "algorithm", "model", "rollout")
SECTIONS += ("trainer", "tracking")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    ratio: float = 1.0
    name: str = "leaf"


@dataclass(frozen=True)
class Inner:
    depth: int = 2
    colour: Colour = Colour.BLUE


@dataclass(frozen=True)
class Plugin:
    """A plug-in with every kind of field that configs use."""

    size: int
    ratio: float = 0.5
    flag: bool = False
    name: str = "a"
    colour: Colour = Colour.RED
    bound: float | None = None
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    inner: Inner = field(default_factory=Inner)
    parts: list[Any] = field(default_factory=list)
    part: Any = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"plugin.size must be at least 1, received {self.size}")


class NotADataclass:
    pass


HERE = __name__
TARGET = f"{HERE}.Plugin"
LEAF = {"_target_": f"{HERE}.Leaf"}


def plugin(**values: Any) -> Any:
    return typed({"_target_": TARGET, "size": 3, **values}, "task")


def test_fields_get_their_declared_types() -> None:
    values = {"size": "4", "ratio": 1, "flag": "true", "bound": "2", "sizes": ["5", 6]}
    got = plugin(**values, colour="blue", inner={"depth": "7", "colour": "red"})
    expected = Plugin(
        size=4, ratio=1.0, flag=True, colour=Colour.BLUE, bound=2.0, sizes=[5, 6],
        inner=Inner(depth=7, colour=Colour.RED),
    )  # fmt: skip
    assert got == expected
    assert type(got.ratio) is float
    assert got.flag is True
    assert plugin(bound=None).bound is None
    assert plugin() == Plugin(size=3)


def test_nested_plugins_are_typed_by_their_own_classes() -> None:
    leaf = {**LEAF, "ratio": "2"}
    got = plugin(part={"_target_": TARGET, "size": 1, "parts": [leaf, LEAF]}, parts=[leaf])
    assert list(got.parts) == [Leaf(ratio=2.0)]
    assert isinstance(got.part, Plugin)
    assert list(got.part.parts) == [Leaf(ratio=2.0), Leaf()]


def test_a_composed_node_is_typed_like_plain_data() -> None:
    root = OmegaConf.create({"half": 0.25, "part": {"_target_": TARGET, "size": 2}})
    root.part.ratio = "${half}"
    assert typed(root.part) == Plugin(size=2, ratio=0.25)


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"size": "x"}, ["task.size", "'x'"]),
    ({"size": 1.5}, ["task.size", "1.5"]),
    ({"size": None}, ["task.size"]),
    ({"ratio": "abc"}, ["task.ratio", "'abc'"]),
    ({"flag": "perhaps"}, ["task.flag", "perhaps"]),
    ({"sizes": [1, "x"]}, ["task.sizes", "x"]),
    ({"inner": {"depth": "x"}}, ["task.inner.depth", "'x'"]),
    ({"inner": {"breadth": 1}}, ["task.inner.breadth", "colour", "depth"]),
    ({"breadth": 1}, ["task.breadth", "bound", "colour", "flag", "inner", "size", "sizes"]),
    ({"part": {**LEAF, "size": 1}}, ["task.part.size", "name", "ratio"]),
    ({"part": {**LEAF, "ratio": "x"}}, ["task.part.ratio", "'x'"]),
    ({"parts": [LEAF, {**LEAF, "ratio": "x"}]}, ["task.parts[1].ratio", "'x'"]),
    ({"parts": [{**LEAF, "size": 1}]}, ["task.parts[0].size", "name", "ratio"]),
    ({"colour": "green"}, ["task.colour", "green", "red", "blue"]),
    ({"inner": {"colour": "green"}}, ["task.inner.colour", "green", "red", "blue"]),
    ({"size": 0}, ["plugin.size must be at least 1", "received 0"]),
    ({"size": "???"}, ["size", "not set"]),
    ({"_target_": None}, ["task._target_", "import path of a dataclass", "None"]),
    ({"_target_": 5}, ["task._target_", "import path of a dataclass", "5"]),
    ({"_target_": "Plugin"}, ["task._target_", "import path of a dataclass", "'Plugin'"]),
    ({"_target_": ".Plugin"}, ["task._target_", "'.Plugin'"]),
    ({"_target_": "no_such_module.Plugin"}, ["task._target_", "no_such_module.Plugin"]),
    ({"_target_": f"{HERE}.NoSuchClass"}, ["task._target_", "NoSuchClass"]),
    ({"_target_": f"{HERE}.NotADataclass"}, ["task._target_", "is not a dataclass"]),
    ({"_target_": "harness.typed.typed"}, ["task._target_", "is not a dataclass"]),
    ({"inner": {"_target_": "os.path"}}, ["task.inner._target_ must be", ".Inner", "'os.path'"]),
    ({"inner": {"_target_": None, "x": 1}}, ["task.inner.x"]),
    ({"part": {"_target_": "os.path"}}, ["task.part._target_", "is not a dataclass"]),
]


@pytest.mark.parametrize(("values", "words"), REFUSED)
def test_refused_by_name_in_one_line(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        plugin(**values)
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"required.*size"):
        typed({"_target_": TARGET}, "task")


def test_a_class_that_is_asked_for_is_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is read against a fixed class imports nothing that it names."""
    canary = tmp_path / "canary"
    (tmp_path / "hostile.py").write_text(f"open({str(canary)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for node in ({"_target_": "hostile.Leaf"}, {"_target_": "hostile"}, {"_target_": 5}):
        with pytest.raises(ConfigError, match=f"_target_ must be {HERE}.Leaf"):
            typed(node, cls=Leaf)
    with pytest.raises(ConfigError, match=r"inner\._target_ must be"):
        typed({"size": 1, "inner": {"_target_": "hostile.Leaf"}}, cls=Plugin)
    assert list(imported({"a": [{"_target_": "hostile.Leaf", "grader": "hostile.f"}]})) == [
        ("a.0._target_", "hostile.Leaf"),
        ("a.0.grader", "hostile.f"),
    ]
    assert not canary.exists()
    assert typed({"_target_": f"{HERE}.Leaf"}, cls=Leaf) == typed({}, cls=Leaf) == Leaf()


# --- the identity of a trial ----------------------------------------------------------------------


def node(**changes: Any) -> dict[str, Any]:
    """A trial of eight small plug-ins."""
    sections = {name: {**LEAF, "name": name} for name in SECTIONS}
    return {"_target_": "harness.config.TrialConfig", **sections, **changes}


def trial(**changes: Any) -> TrialConfig:
    config = typed(node(**changes))
    assert isinstance(config, TrialConfig)
    return config


@pytest.mark.parametrize("seed", [0, 1, "7", MAX_SEED])
def test_valid_seeds(seed: Any) -> None:
    assert trial(seed=seed).seed == int(seed)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ConfigError, match=f"received {seed}"):
        trial(seed=seed)


def test_seed_zero_is_not_the_absence_of_a_seed() -> None:
    assert trial(seed=0) == trial()
    assert config_hash(trial(seed=0)) != config_hash(trial(seed=1))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"budget": {"unit": "hours"}}, "updates, tokens, prompts, seconds"),
        ({"budget": {"amount": 0}}, "budget.amount"),
        ({"evaluation": {"every": 1.5}}, "evaluation.every"),
        ({"evaluation": {"temperature": 0}}, "evaluation.temperature"),
        ({"evaluation": {"pass_k": -1}}, "evaluation.pass_k"),
        ({"ray": {"retries": -1}}, "ray.retries"),
        ({"ray": {"cpus_per_rank": 0}}, "ray.cpus_per_rank"),
        ({"ray": {"retry_seconds": "inf"}}, "ray.retry_seconds must be finite"),
        ({"ray": {"retry_seconds": 1e8}}, r"ray.retry_seconds must be at most .* \(a year\)"),
        # The system's clock ends before 1e10 seconds do: it was accepted, and guarded nothing.
        ({"guard": {"stall_seconds": 1e10}}, r"guard.stall_seconds must be at most .* \(a year\)"),
        ({"guard": {"stall_seconds": 10}}, r"above grading.wall_seconds=10.*null switches it off"),
        ({"guard": {"collapse_steps": 0}}, "guard.collapse_steps"),
        ({"fresh": True, "sweep": {"only": "failed"}}, "fresh=true throws away.*leave one out"),
        (
            {"sweep": {"stage": "tune", "only": "failed"}},
            "fail_fast=false sweep.only=failed; leave",
        ),
        ({"sweep": {"stage": "tune", "fail_fast": True}}, "fail_fast=true sweep.only=all; leave"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_trial_settings_are_checked(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        trial(**changes)


def test_hash_does_not_see_the_order_of_keys() -> None:
    backwards = dict(reversed(node(seed=3).items()))
    backwards["task"] = dict(reversed(node()["task"].items()))
    assert config_hash(typed(backwards)) == config_hash(trial(seed=3))


@pytest.mark.parametrize("spelling", [7, 7.0, "7", "7.0", "7e0"])
def test_hash_does_not_see_the_spelling_of_a_number(spelling: Any) -> None:
    expected = trial(budget={"amount": 7.0}, task={**LEAF, "ratio": 7.0})
    got = trial(budget={"amount": spelling}, task={**LEAF, "ratio": spelling})
    assert config_hash(got) == config_hash(expected)
    assert config_hash(got) != config_hash(trial(budget={"amount": 8}))


def test_hash_does_not_see_whether_a_default_is_written_out() -> None:
    spelt = {key: value for key, value in resolved(trial()).items() if key not in SECTIONS}
    spelt.pop("_target_")
    assert config_hash(trial(**spelt)) == config_hash(trial())
    assert typed(resolved(trial(seed=4, budget={"unit": "tokens"}))) == trial(
        seed=4, budget={"unit": "tokens"}
    )


def other(value: Any) -> Any:
    """Another valid value of the same type as a leaf of `resolved`."""
    if isinstance(value, bool):
        return not value
    for kind in (BudgetUnit, OnCollapse, Only, Stage, Searcher, Goal, Scheduler):
        choices = [each.value for each in kind]
        if value in choices:
            return choices[choices.index(value) - 1]
    if isinstance(value, str):
        return f"{value}x"
    return "a" if value is None else value * 0.75 or 1.5 if isinstance(value, float) else value + 1


def with_leaf(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    key, _, rest = path.partition(".")
    return {**data, key: with_leaf(data[key], rest, value) if rest else value}


# Of the leaves that are null or empty, those that are no text.
LISTS: dict[str, Any] = {
    "labels.differing": ["a"],
    "listeners": {"x": {"_target_": "harness.tracking.tensorboard.TensorBoard"}},
}
LEAVES = [path for path in flattened(resolved(trial())) if "_target_" not in path]


@pytest.mark.parametrize("path", LEAVES)
def test_every_leaf_that_matters_is_in_the_hash_and_no_other(path: str) -> None:
    base = resolved(trial())
    changed = typed(with_leaf(base, path, LISTS.get(path) or other(flattened(base)[path])))
    matters = path.split(".")[0] not in IDENTITY_IRRELEVANT
    assert resolved(changed) != base
    assert (config_hash(changed) != config_hash(trial())) is matters
    assert (group_hash(changed) != group_hash(trial())) is (matters and path != "seed")


def test_what_is_irrelevant_is_what_the_design_says() -> None:
    assert {"labels", "tracking", "listeners", "runs", "fresh", "ray"} <= set(IDENTITY_IRRELEVANT)
    numbers = {"seed", "budget", "evaluation", *SECTIONS} - {"tracking"}
    assert not numbers & set(IDENTITY_IRRELEVANT)


def test_another_class_with_equal_fields_is_another_trial() -> None:
    fields = {"depth": 1}
    one = trial(task={"_target_": f"{HERE}.Inner", **fields})
    two = trial(task={"_target_": f"{HERE}.Deeper", **fields})
    assert config_hash(one) != config_hash(two)


@dataclass(frozen=True)
class Deeper:
    depth: int = 2
    colour: Colour = Colour.BLUE


def test_trial_name_shows_variant_seed_and_hash() -> None:
    config = trial(seed=5, labels={"variant": "grpo"})
    assert trial_name(config) == f"grpo__s5__{config_hash(config)[:8]}"


def test_flattened_names_every_leaf() -> None:
    data = {"a": {"b": [1, {"c": None}], "d": []}, "e": 2}
    assert flattened(data) == {"a.b.0": 1, "a.b.1.c": None, "a.d": [], "e": 2}


# --- the project's own YAML -----------------------------------------------------------------------


def composed(*overrides: str) -> DictConfig:
    entry.use_sweeper_plugin()
    with initialize_config_module("conf", version_base="1.3"):
        return compose("config", overrides=list(overrides))


def required_overrides(path: str) -> list[str]:
    """`key=value` for each `???` of a file: what its user has to say."""
    group = path.rpartition("/")[0].replace("/", ".")
    data = OmegaConf.to_container(OmegaConf.load(CONF / f"{path}.yaml"))
    assert isinstance(data, dict)
    if path == "reward/sum":  # a sum of nothing is refused
        return ["+reward@reward.parts.correct=binary"]
    return [f"{group}.{key}=given" for key, value in flattened(data).items() if "???" in str(value)]


def test_the_default_trial() -> None:
    config = typed(composed())
    assert isinstance(config, TrialConfig)
    assert config.seed == 0
    assert math.isclose(config.budget.amount, 50)
    for section in SECTIONS:
        assert dataclasses.is_dataclass(getattr(config, section)), section


def test_every_group_has_files() -> None:
    assert {path.split("/")[0] for path in GROUP_FILES} == {*SECTIONS, "listeners"}


@pytest.mark.parametrize("path", GROUP_FILES)
def test_yaml_composes_and_types(path: str) -> None:
    group, _, name = path.rpartition("/")
    config = typed(composed(f"{group}={name}", *required_overrides(path)))
    data = OmegaConf.load(CONF / f"{path}.yaml")
    assert isinstance(data, DictConfig)
    part: Any = config
    for key in group.split("/"):
        part = getattr(part, key)
    if group == "listeners":  # which are several: each is under its name
        data, part = data[name], part[name]
    own = data.get(group, data)  # under its group's name in a file of the package _global_
    if "_target_" in own:  # the others only choose among existing ones
        assert f"{type(part).__module__}.{type(part).__qualname__}" == own["_target_"]
    assert config_hash(typed(resolved(config))) == config_hash(config)
    for where, inner in nodes(resolved(config)):
        for key, value in inner.items():
            seen = (inner["_target_"], key)
            if type(value) in (int, float) and seen not in TRIED:
                TRIED.add(seen)
                _refuses_what_is_no_number(inner, where, key)


def nodes(plain: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a resolved config that is a dataclass, with its key path."""
    if isinstance(plain, dict):
        if "_target_" in plain:
            yield path, plain
        for key, value in plain.items():
            yield from nodes(value, f"{path}.{key}" if path else key)


def _refuses_what_is_no_number(plain: dict[str, Any], path: str, key: str) -> None:
    """One kind of message whatever is wrong; only some numbers may be negative."""
    for value in ("abc", math.nan, *([] if key in SIGNED else [-1])):
        with pytest.raises(ConfigError) as refusal:
            typed({**plain, key: value}, path)
        words = str(refusal.value)
        assert re.search(r"must be|at least", words), words
        assert "received" in words
        assert key in words, words


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_ablation_types_and_has_the_name_of_its_file(path: Path) -> None:
    """Its variants are composed and typed in tests/sweeps/test_comparable.py."""
    data = OmegaConf.load(path)
    assert isinstance(data, DictConfig)
    ablation = typed(data.get("ablation", data), "ablation")
    assert ablation.name == path.stem
    first = path.read_text().partition("\n")[0]
    assert first.startswith(f"# harness -m +ablation={path.stem}")


def test_there_are_ablations() -> None:
    assert ABLATIONS
