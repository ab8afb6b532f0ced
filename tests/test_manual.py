"""`harness --help` and `--version`: every key with its meaning, readable at 80 columns."""

import dataclasses
import importlib
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

import conf
from harness import typed
from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.manual import WIDTH, meanings, page
from tests.conftest import Here

CONF = Path(conf.__file__).parent


def targets(node: Any) -> list[str]:
    """Import paths of all dataclasses that a YAML file names."""
    if not isinstance(node, dict):
        return []
    own = [node[typed.TARGET]] if typed.TARGET in node else []
    return own + [target for value in node.values() for target in targets(value)]


def dataclasses_of(cls: type) -> dict[type, None]:
    """A dataclass and those of its fields."""
    found = {cls: None}
    for hint in get_type_hints(cls).values():
        if (child := typed._dataclass_of(hint)) is not None:
            found |= dataclasses_of(child)
    return found


def test_every_key_of_every_choice_has_a_meaning() -> None:
    classes: dict[type, None] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        for target in targets(yaml.safe_load(path.read_text())):
            module, _, name = target.rpartition(".")
            classes |= dataclasses_of(getattr(importlib.import_module(module), name))
    groups = {f.name for f in dataclasses.fields(TrialConfig) if f.type is Any}
    lacking = [
        f"{cls.__qualname__}.{field.name}"
        for cls in classes
        for field in dataclasses.fields(cls)
        if field.init
        and cls.__name__ != "Labels"  # nobody sets them
        and not (cls is TrialConfig and field.name in groups)  # their classes say what they are
        and typed._dataclass_of(get_type_hints(cls)[field.name]) is None
        and field.name not in meanings(cls)
    ]
    assert len(classes) > 40
    assert lacking == []


def test_help_shows_the_choices_of_the_command_at_eighty_columns(here: Here) -> None:
    done = here("algorithm=ppo", "task=multiplication", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []
    text = " ".join(done.stdout.split())
    for words in (
        "algorithm=ppo Hyper-parameters of PPO",
        "or a_star_po, a_star_po_weighted,",
        "task/template=compact",
        "task.digits=[2,2]",
        "trainer.device=cpu cpu, or cuda with one GPU per rank (cpu, cuda)",
        "rollout.top_k=0 most likely tokens that are sampled from; 0 = all",
        "seed=0 the only seed key; it reaches everything that is random. 0 is a seed",
        "+ablation=NAME one of a_a,",
        "listeners=[NAME,...] who else is told",
        'eval "$(harness -sc install=bash)"',
    ):
        assert words in text
    assert "hydra." not in text
    assert "labels" not in text


def test_help_shows_what_a_command_line_sets_and_refuses_what_is_wrong() -> None:
    assert "budget.amount=7 " in page(["budget.amount=7"])
    assert "reward.parts.correct.format_score=0.0" in page(
        ["reward=sum", "+reward@reward.parts.correct=binary", "+reward.weights.correct=1"]
    )
    assert "task.grader=???" in page(["task=jsonl"]), "what is required is no error here"
    with pytest.raises(ConfigError, match="did you mean algorithm=grpo"):
        page(["algorithm=grop"])


def test_version_is_that_of_the_harness(here: Here) -> None:
    done = here("--version")
    assert (done.returncode, done.stdout) == (0, f"harness {metadata.version('rl-harness')}\n")
