"""The contract of every algorithm in conf/algorithm/: a new YAML is covered without an edit.

The second half plants faults into a sound algorithm: a check that cannot fail is a defect.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import Tensor

import conf
from harness.__main__ import use_sweeper_plugin
from harness.errors import ContractError
from harness.maths.tensor_ops import Reduction, clipped_policy_loss, group_center, on_tokens
from harness.maths.tensor_ops import log_ratio as clamped_log_ratio
from harness.testing import AlgorithmContract, checks
from harness.testing.data import PROMPTS
from harness.typed import typed
from harness.types import Batch, Estimates, Loss, LossTerm, Minibatch, RolloutPlan

FOLDER = Path(str(conf.__file__)).parent / "algorithm"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CHECKS = {name: getattr(checks, name) for name in vars(checks) if name.startswith("check_")}


@cache
def algorithm_of(name: str) -> Any:
    """The algorithm as a trial gets it: composed with the whole config, then typed."""
    use_sweeper_plugin()
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return typed(compose("config", overrides=[f"algorithm={name}"]).algorithm, "algorithm")


def with_coefficients(algorithm: Any) -> Any:
    """The same algorithm with every optional term that is off (coefficient 0) switched on."""
    off = {
        f.name: 0.1
        for f in dataclasses.fields(algorithm)
        if f.name.endswith("_coefficient") and getattr(algorithm, f.name) == 0
    }
    if hasattr(algorithm, "kl"):
        off["kl"] = replace(algorithm.kl, coefficient=0.1)
    return replace(algorithm, **off)


@pytest.mark.parametrize("name", NAMES)
class TestEveryAlgorithm:
    @pytest.mark.parametrize("test", [t for t in vars(AlgorithmContract) if t.startswith("test_")])
    def test_contract(self, name: str, test: str) -> None:
        for algorithm in (algorithm_of(name), with_coefficients(algorithm_of(name))):
            contract = type("Contract", (AlgorithmContract,), {"algorithm": algorithm})()
            getattr(contract, test)()

    def test_yaml_shows_every_field(self, name: str) -> None:
        node = OmegaConf.load(FOLDER / f"{name}.yaml")
        assert OmegaConf.is_dict(node)
        own = node.algorithm if "algorithm" in node else node
        if "_target_" in own:  # others only choose among existing ones
            shown = {str(key) for key in own} - {"_target_"}
            assert shown == {f.name for f in dataclasses.fields(algorithm_of(name)) if f.init}

    def test_exemptions_are_names_of_checks(self, name: str) -> None:
        exempt = getattr(algorithm_of(name), "exempt", ())
        assert {f"check_{check}" for check in exempt} <= set(CHECKS)


def test_there_are_algorithms() -> None:
    assert {"grpo", "dr_grpo", "ppo", "a_star_po", "remax"} <= set(NAMES)
    assert "ref_logprobs_BT" in with_coefficients(algorithm_of("ppo")).columns


def test_the_kit_runs_every_check() -> None:
    tests = {name.removeprefix("test_") for name in vars(AlgorithmContract) if "test_" in name}
    assert {name.removeprefix("check_") for name in CHECKS} == tests


# --- planted faults -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sound:
    """A correct plug-in: group-centred rewards and the clipped loss.

    Attributes:
        group_size: responses per prompt.
    """

    group_size: int = 4

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({"old_logprobs_BT", "ref_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch) -> Tensor:
        return on_tokens(group_center(batch.scores_B, batch.group_B), batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        old_BT, advantages_BT = minibatch["old_logprobs_BT"], minibatch.advantages_BT
        clipped = clipped_policy_loss(minibatch.logprobs_BT, old_BT, advantages_BT, 0.2, 0.2)
        return self.of(clipped.loss_BT, **{"actor/ppo_kl": clipped.kl_BT})

    def of(self, values: Tensor, **diagnostics: Tensor) -> Loss:
        term = LossTerm(name="policy", values=values, reduction=Reduction.TOKEN_MEAN)
        return Loss(terms=(term,), diagnostics=diagnostics)


def fault(check: str, **methods: Any) -> Any:
    """A case of the mutation test: Sound with one method replaced."""
    return pytest.param(check, methods, id=f"{check}-{len(FAULTS)}")


def moved(advantages: Callable[[Batch], Tensor]) -> Callable[..., Tensor]:
    return lambda self, batch: advantages(batch)


def lost(values: Callable[[Minibatch], Tensor]) -> Callable[..., Loss]:
    return lambda self, minibatch: self.of(values(minibatch))


def ratio(minibatch: Minibatch) -> Tensor:
    return clamped_log_ratio(minibatch.logprobs_BT, minibatch["old_logprobs_BT"]).exp()


def sound(batch: Batch) -> Tensor:
    return Sound().advantages(batch)


def writes_into_rewards(self: Any, batch: Batch) -> Tensor:
    batch.rewards_BT.sub_(0.1)
    return sound(batch)


def writes_into_a_column(self: Any, minibatch: Minibatch) -> Loss:
    minibatch["old_logprobs_BT"].clamp_(min=-1.1)
    return Sound().loss(minibatch)


def undeclared(self: Any, minibatch: Minibatch) -> Loss:
    return self.of(
        Sound().loss(minibatch).terms[0].values, **{"actor/kl_divergence": ratio(minibatch)}
    )


def unknown_term(self: Any, minibatch: Minibatch) -> Loss:
    term = replace(Sound().loss(minibatch).terms[0], name="actor")
    return Loss(terms=(term,))


def undeclared_metric(self: Any, batch: Batch) -> Estimates:
    return Estimates(advantages_BT=sound(batch), metrics={"critic/typo": 1.0})


FAULTS: list[Any] = []
FAULTS += [
    fault("advantages", advantages=moved(lambda b: sound(b)[:, 0])),
    fault("advantages", advantages=moved(lambda b: sound(b).float())),
    fault("advantages", advantages=moved(lambda b: sound(b) / sound(b))),
    fault("advantages", advantages=moved(lambda b: sound(b) + 1.0)),
    fault("advantages", advantages=moved(lambda b: sound(b) * 0)),
    fault("loss", loss=lost(lambda m: (-m.advantages_BT * ratio(m)).sum())),
    fault("loss", loss=lost(lambda m: (-m.advantages_BT * ratio(m)).float())),
    fault("loss", loss=lost(lambda m: -m.advantages_BT / m.advantages_BT * ratio(m))),
    fault("loss", loss=unknown_term),
    fault("inputs_untouched", advantages=writes_into_rewards),
    fault("inputs_untouched", loss=writes_into_a_column),
    fault("mask", loss=lost(lambda m: -m.advantages_BT * ratio(m).mean(-1, keepdim=True))),
    fault("mask", loss=lost(lambda m: -m.advantages_BT * (ratio(m) + m.logprobs_BT**2))),
    fault("mask", advantages=moved(lambda b: sound(b) * b["ref_logprobs_BT"].mean())),
    fault("zero_advantage", loss=lost(lambda m: (1 - m.advantages_BT) * ratio(m))),
    fault("sign", loss=lost(lambda m: m.advantages_BT * ratio(m))),
    fault("sign", loss=lost(lambda m: -m.advantages_BT.abs() * ratio(m))),
    fault("sign", loss=lost(lambda m: -m.advantages_BT.roll(1, 0) * ratio(m))),
    fault("permutation", advantages=moved(lambda b: on_tokens(in_blocks(b), b.mask_BT))),
    fault("permutation", advantages=moved(lambda b: sound(b) * (b.group_B[:, None] > 4))),
    fault("splits", loss=lost(lambda m: -(m.advantages_BT - m.advantages_BT.mean()) * ratio(m))),
    fault("splits", loss=lost(lambda m: -m.advantages_BT * ratio(m) / len(m.mask_BT))),
    fault("on_policy", loss=lost(lambda m: -m.advantages_BT * ratio(m).sqrt())),
    fault("on_policy", loss=lost(lambda m: -m.advantages_BT.roll(1, 1) * ratio(m))),
    fault("on_policy", loss=lost(lambda m: -m.advantages_BT * ratio(m).clamp(max=0.9))),
    fault("equal_rewards", advantages=moved(lambda b: on_tokens(b.scores_B, b.mask_BT))),
    fault("equal_rewards", advantages=moved(lambda b: on_tokens(globally(b), b.mask_BT))),
    fault("extreme_ratios", loss=lost(lambda m: -m.advantages_BT * unclamped(m))),
    fault("diagnostics_declared", loss=undeclared),
    fault("diagnostics_declared", advantages=undeclared_metric),
    fault("degenerate", advantages=moved(lambda b: sound(b) / members(b))),
    fault("degenerate", loss=lost(lambda m: -m.advantages_BT * ratio(m) / m.mask_BT.sum())),
]


def members(batch: Batch) -> Tensor:
    """Others in the group of each row; (B,1), 0 in a group of one."""
    same_BB = batch.group_B[:, None] == batch.group_B[None, :]
    return same_BB.sum(-1, keepdim=True) - 1


def in_blocks(batch: Batch) -> Tensor:
    """Groups taken from positions, not from ids."""
    blocks_B = torch.arange(len(batch.group_B)) // (len(batch.group_B) // PROMPTS)
    return group_center(batch.scores_B, blocks_B)


def globally(batch: Batch) -> Tensor:
    return batch.scores_B - batch.scores_B.mean()


def unclamped(minibatch: Minibatch) -> Tensor:
    return (minibatch.logprobs_BT - minibatch["old_logprobs_BT"]).exp()


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_algorithm_passes(check: str) -> None:
    CHECKS[check](Sound())


@pytest.mark.parametrize(("check", "methods"), FAULTS)
def test_a_fault_is_seen(check: str, methods: dict[str, Any]) -> None:
    broken = type("Broken", (Sound,), methods)()
    with pytest.raises((AssertionError, ContractError)):
        CHECKS[f"check_{check}"](broken)


@dataclass(frozen=True)
class Undocumented(Sound):
    """One field is missing here.

    Attributes:
        group_size: responses per prompt.
    """

    clip_low: float = 0.2


@dataclass
class Thawed:
    """Its fields can be changed.

    Attributes:
        group_size: responses per prompt.
    """

    group_size: int = 4


@dataclass(frozen=True)
class Overdocumented(Sound):
    """It has no field of that name.

    Attributes:
        group_sizes: responses per prompt.
    """


@dataclass(frozen=True)
class Heir(Undocumented):
    """What it inherits is documented there, or not.

    Attributes:
        own: a field of its own, with a text
            that goes on.
    """

    own: float = 1.0


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Undocumented(), "the docstring of Undocumented lacks clip_low; write `NAME: what it is`"),
        (Overdocumented(), "the docstring of Overdocumented has group_sizes"),
        (Thawed(), "Thawed is not frozen; write @dataclass(frozen=True)"),
    ],
)
def test_missing_documentation_is_named(plugin: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(words)):
        checks.check_documented(plugin)


def test_inherited_fields_are_documented_where_they_come_from() -> None:
    checks.check_documented(Heir())


def test_every_check_has_a_fault() -> None:
    faulty = {f"check_{param.values[0]}" for param in FAULTS} | {"check_documented"}
    assert faulty == set(CHECKS)


class Contract(AlgorithmContract):
    __test__ = False


def contract(algorithm: Any) -> AlgorithmContract:
    made = Contract()
    made.algorithm = algorithm
    return made


def test_an_exemption_has_to_be_needed() -> None:
    class Needed(Sound):
        exempt = frozenset({"sign"})

        def loss(self, minibatch: Minibatch) -> Loss:
            return self.of(minibatch.advantages_BT * ratio(minibatch))

    class Idle(Sound):
        exempt = frozenset({"sign"})

    contract(Needed()).test_sign()
    with pytest.raises(AssertionError, match="exempt from 'sign' but meets it"):
        contract(Idle()).test_sign()
