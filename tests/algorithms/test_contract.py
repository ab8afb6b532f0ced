"""The contract of every algorithm in conf/algorithm/: a new YAML is covered without an edit.

A check is a plain function that raises AssertionError. The second half plants one fault per check:
a check that cannot fail is a defect.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor

import conf
from harness.protocols import Algorithm
from harness.schema import METRICS
from harness.tensor_ops import (
    Counts,
    Reduction,
    clipped_policy_loss,
    group_center,
    on_tokens,
    reduced,
)
from harness.tensor_ops import log_ratio as clamped_log_ratio
from harness.typed import typed
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan

FOLDER = Path(str(conf.__file__)).parent / "algorithm"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TERMS = {"policy", "value", "entropy", "kl"}
PROMPTS, WIDTH, BUDGET = 3, 6, 11
GROUP_IDS = (5, 2, 9)


@cache
def algorithm_of(name: str) -> Any:
    """The algorithm as a trial gets it: composed with the whole config, then typed."""
    import harness.__main__ as entry

    entry.use_sweeper_plugin()
    with initialize_config_module("conf", version_base="1.3"):
        return typed(compose("config", overrides=[f"algorithm={name}"]).algorithm, "algorithm")


def with_coefficients(algorithm: Any) -> Any:
    """The same algorithm with every optional term that is off (coefficient 0) switched on."""
    off = [
        f.name
        for f in dataclasses.fields(algorithm)
        if f.name.endswith("_coefficient") and getattr(algorithm, f.name) == 0
    ]
    return replace(algorithm, **dict.fromkeys(off, 0.1))


def batch_of(algorithm: Algorithm, equal_rewards: bool = False) -> Batch:
    """Interleaved groups of the algorithm's own size; one response is empty, one is full."""
    rows = PROMPTS * algorithm.rollout_plan(0.0).group_size
    draws = torch.Generator().manual_seed(7)
    lengths_B = torch.randint(1, WIDTH, (rows,), generator=draws)
    lengths_B[1], lengths_B[2] = 0, WIDTH
    mask_BT = torch.arange(WIDTH)[None, :] < lengths_B[:, None]
    group_B = torch.tensor(GROUP_IDS)[torch.arange(rows) % PROMPTS]
    scores_B = torch.randint(0, 3, (rows,), generator=draws).double() / 2
    if equal_rewards:
        scores_B = group_B.double() / 10
    rewards_BT = torch.zeros(rows, WIDTH, dtype=torch.float64)
    rewards_BT[torch.arange(rows), (lengths_B - 1).clamp(min=0)] = scores_B
    columns = {}
    for name in sorted(algorithm.columns):
        noise_BT = torch.rand(rows, WIDTH, generator=draws, dtype=torch.float64)
        columns[name] = -1.0 - 0.2 * noise_BT if "logprobs" in name else noise_BT
    return Batch(
        group_B=group_B, mask_BT=mask_BT, rewards_BT=rewards_BT, budget=BUDGET, columns=columns
    )


def minibatch_of(algorithm: Algorithm, advantages_BT: Tensor | None = None) -> Minibatch:
    """The batch with its own advantages; ratios on both sides of the usual clips."""
    batch = batch_of(algorithm)
    draws = torch.Generator().manual_seed(11)
    noise_BT = torch.rand(batch.mask_BT.shape, generator=draws, dtype=torch.float64)
    if advantages_BT is None:
        advantages_BT = algorithm.advantages(batch)
    return Minibatch(
        logprobs_BT=-1.6 + noise_BT,
        advantages_BT=advantages_BT,
        mask_BT=batch.mask_BT,
        budget=BUDGET,
        columns=batch.columns,
    )


def on_policy(minibatch: Minibatch) -> Minibatch:
    """Every log-prob column equals the current policy's."""
    columns = {
        name: minibatch.logprobs_BT if "logprobs" in name else column
        for name, column in minibatch.columns.items()
    }
    return replace(minibatch, columns=columns)


def rows_of(minibatch: Minibatch, rows: Tensor) -> Minibatch:
    columns = {name: column[rows] for name, column in minibatch.columns.items()}
    return replace(
        minibatch,
        logprobs_BT=minibatch.logprobs_BT[rows],
        advantages_BT=minibatch.advantages_BT[rows],
        mask_BT=minibatch.mask_BT[rows],
        columns=columns,
    )


def total_of(
    algorithm: Algorithm, minibatch: Minibatch, counts: Counts | None = None, only: str = ""
) -> Tensor:
    """What the core descends on: all terms, or those of one name."""
    counts = counts or Counts.of(minibatch.mask_BT, BUDGET)
    terms = [t for t in algorithm.loss(minibatch).terms if only in ("", t.name)]
    shares = [t.weight * reduced(t.values, minibatch.mask_BT, t.reduction, counts) for t in terms]
    return torch.stack(shares).sum()


def loss_and_gradient(
    algorithm: Algorithm, minibatch: Minibatch, only: str = ""
) -> tuple[Tensor, Tensor]:
    leaf_BT = minibatch.logprobs_BT.detach().clone().requires_grad_()
    total = total_of(algorithm, replace(minibatch, logprobs_BT=leaf_BT), only=only)
    return total.detach(), torch.autograd.grad(total, leaf_BT)[0]


def same(got: Tensor, expected: Tensor, what: str) -> None:
    assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12), f"{what}: {got} != {expected}"


# --- the checks -----------------------------------------------------------------------------------


def check_advantages(algorithm: Algorithm) -> None:
    """(B,T), finite, of the rewards' dtype, 0 under the mask, not all 0."""
    batch = batch_of(algorithm)
    advantages_BT = algorithm.advantages(batch)
    assert advantages_BT.shape == batch.mask_BT.shape
    assert advantages_BT.dtype == batch.rewards_BT.dtype
    assert torch.isfinite(advantages_BT).all()
    assert not advantages_BT[~batch.mask_BT].any()
    assert advantages_BT[batch.mask_BT].any()


def check_loss(algorithm: Algorithm) -> None:
    """Terms of the shape their reduction takes, finite, of the dtype of the log-probs."""
    minibatch = minibatch_of(algorithm)
    loss = algorithm.loss(minibatch)
    names = [term.name for term in loss.terms]
    assert "policy" in names
    assert len(set(names)) == len(names)
    assert set(names) <= TERMS
    for term in loss.terms:
        shape = minibatch.mask_BT.shape
        assert term.values.shape == (shape[:1] if term.reduction is SEQUENCE else shape)
        assert term.values.dtype == minibatch.logprobs_BT.dtype
        assert torch.isfinite(term.values).all()
    for values in loss.diagnostics.values():
        assert values.shape == minibatch.mask_BT.shape
        assert torch.isfinite(values).all()


SEQUENCE = Reduction.SEQUENCE_MEAN


def check_inputs_untouched(algorithm: Algorithm) -> None:
    batch, minibatch = batch_of(algorithm), minibatch_of(algorithm)
    for data, call in ((batch, algorithm.advantages), (minibatch, algorithm.loss)):
        before = {name: tensor.clone() for name, tensor in tensors_of(data).items()}
        call(data)
        for name, tensor in tensors_of(data).items():
            assert torch.equal(tensor, before[name]), f"{name} was changed"


def tensors_of(data: Batch | Minibatch) -> dict[str, Tensor]:
    own = {k: v for k, v in vars(data).items() if isinstance(v, Tensor)}
    return {**own, **data.columns}


def check_mask(algorithm: Algorithm) -> None:
    """Nothing under mask 0 changes advantages, loss, gradient or diagnostics."""
    batch, minibatch = batch_of(algorithm), minibatch_of(algorithm)
    expected, expected_gradient = loss_and_gradient(algorithm, minibatch)
    for junk in (torch.nan, torch.inf, -torch.inf, 1e30):
        dirty_batch = replace(batch, columns=soiled(batch.columns, batch.mask_BT, junk))
        assert torch.equal(algorithm.advantages(dirty_batch), algorithm.advantages(batch))
        dirty = replace(
            minibatch,
            logprobs_BT=minibatch.logprobs_BT.masked_fill(~minibatch.mask_BT, junk),
            advantages_BT=minibatch.advantages_BT.masked_fill(~minibatch.mask_BT, -77.0),
            columns=soiled(minibatch.columns, minibatch.mask_BT, junk),
        )
        got, gradient = loss_and_gradient(algorithm, dirty)
        same(got, expected, "loss")
        same(gradient, expected_gradient, "gradient")
        assert not gradient[~minibatch.mask_BT].any()


def soiled(columns: Mapping[str, Tensor], mask_BT: Tensor, junk: float) -> dict[str, Tensor]:
    return {name: column.masked_fill(~mask_BT, junk) for name, column in columns.items()}


def check_zero_advantage(algorithm: Algorithm) -> None:
    """Without an advantage the policy term pulls nowhere, on-policy or not."""
    zero_BT = torch.zeros_like(batch_of(algorithm).rewards_BT)
    minibatch = minibatch_of(algorithm, advantages_BT=zero_BT)
    for data in (minibatch, on_policy(minibatch)):
        assert not loss_and_gradient(algorithm, data, only="policy")[1].any()


def check_sign(algorithm: Algorithm) -> None:
    """Descent raises the log-probs of a response with A > 0, lowers with A < 0, no others."""
    minibatch = on_policy(minibatch_of(algorithm))
    for sign in (1.0, -1.0):
        for row in (0, 2):
            rows_B = torch.zeros(len(minibatch.mask_BT), dtype=torch.float64)
            rows_B[row] = sign
            only_row = replace(minibatch, advantages_BT=on_tokens(rows_B, minibatch.mask_BT))
            gradient_BT = loss_and_gradient(algorithm, only_row, only="policy")[1]
            own_T = gradient_BT[row][minibatch.mask_BT[row]]
            assert (own_T * sign < 0).all()
            gradient_BT[row] = 0
            assert not gradient_BT.any()


def check_permutation(algorithm: Algorithm) -> None:
    """Advantages follow their rows, within and across groups; group ids are only names."""
    batch = batch_of(algorithm)
    rows = len(batch.group_B)
    expected_BT = algorithm.advantages(batch)
    within = torch.arange(rows).reshape(-1, PROMPTS).flip(0).reshape(-1)
    across = torch.randperm(rows, generator=torch.Generator().manual_seed(3))
    for order in (within, across):
        columns = {name: column[order] for name, column in batch.columns.items()}
        moved = replace(
            batch,
            group_B=batch.group_B[order] + 100,
            mask_BT=batch.mask_BT[order],
            rewards_BT=batch.rewards_BT[order],
            columns=columns,
        )
        same(algorithm.advantages(moved), expected_BT[order], "advantages of permuted rows")


def check_splits(algorithm: Algorithm) -> None:
    """Micro-batches and ranks, counted globally, change neither loss nor gradient."""
    minibatch = minibatch_of(algorithm)
    expected, expected_gradient = loss_and_gradient(algorithm, minibatch)
    counts = Counts.of(minibatch.mask_BT, BUDGET)
    rows = torch.arange(len(minibatch.mask_BT))
    ranks = [rows[rank::2] for rank in range(2)]
    splits = [
        list(rows.split(1)),
        list(rows.split(5)),
        ranks,
        [p for r in ranks for p in r.split(3)],
    ]
    for parts in splits:
        leaf_BT = minibatch.logprobs_BT.clone().requires_grad_()
        whole = replace(minibatch, logprobs_BT=leaf_BT)
        shares = [total_of(algorithm, rows_of(whole, part), counts) for part in parts]
        total = torch.stack(shares).sum()
        same(total.detach(), expected, f"loss in {len(parts)} parts")
        (gradient,) = torch.autograd.grad(total, leaf_BT)
        same(gradient, expected_gradient, f"gradient in {len(parts)} parts")


def check_on_policy(algorithm: Algorithm) -> None:
    """old == new: the policy gradient is REINFORCE with this advantage and this reduction."""
    minibatch = on_policy(minibatch_of(algorithm))
    got = loss_and_gradient(algorithm, minibatch, only="policy")[1]
    term = next(t for t in algorithm.loss(minibatch).terms if t.name == "policy")
    # A value per response spreads evenly over its tokens.
    reduction = Reduction.SEQUENCE_MEAN_TOKEN_MEAN if term.reduction is SEQUENCE else term.reduction
    leaf_BT = minibatch.logprobs_BT.clone().requires_grad_()
    counts = Counts.of(minibatch.mask_BT, BUDGET)
    surrogate = reduced(-minibatch.advantages_BT * leaf_BT, minibatch.mask_BT, reduction, counts)
    (expected,) = torch.autograd.grad(term.weight * surrogate, leaf_BT)
    assert expected.any()
    same(got, expected, "on-policy gradient")


def check_equal_rewards(algorithm: Algorithm) -> None:
    """A group whose rewards are all equal says nothing, for every algorithm that has groups."""
    if algorithm.rollout_plan(0.0).group_size == 1 or "values_BT" in algorithm.columns:
        return
    advantages_BT = algorithm.advantages(batch_of(algorithm, equal_rewards=True))
    assert advantages_BT.abs().max() < 1e-8


def check_extreme_ratios(algorithm: Algorithm) -> None:
    """log-ratios of ±1e4 in float32: loss, gradient and diagnostics stay finite."""
    minibatch = minibatch_of(algorithm)
    for far in (1e4, -1e4):
        single = {k: (v + far * ("logprobs" in k)).float() for k, v in minibatch.columns.items()}
        extreme = replace(
            minibatch,
            logprobs_BT=minibatch.logprobs_BT.float(),
            advantages_BT=minibatch.advantages_BT.float(),
            columns=single,
        )
        total, gradient = loss_and_gradient(algorithm, extreme)
        assert torch.isfinite(total)
        assert torch.isfinite(gradient).all()
        for values in algorithm.loss(extreme).diagnostics.values():
            assert torch.isfinite(values).all()


def check_diagnostics_declared(algorithm: Algorithm) -> None:
    own = getattr(sys.modules[type(algorithm).__module__], "METRICS", {})
    assert set(algorithm.loss(minibatch_of(algorithm)).diagnostics) <= set(METRICS) | set(own)


def check_documented(algorithm: Algorithm) -> None:
    """Frozen, and every hyper-parameter stands in the docstring's Attributes section."""
    cls = type(algorithm)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    section = re.split(r"\n\S", section)[0]
    documented = set(re.findall(r"^    (\w+): \S", section, flags=re.MULTILINE))
    assert documented == {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]


def check_yaml(keys: set[str], cls: type) -> None:
    """A YAML shows exactly the fields of its class."""
    assert keys == {f.name for f in dataclasses.fields(cls) if f.init}


CHECKS: tuple[Callable[[Algorithm], None], ...] = (
    check_advantages,
    check_loss,
    check_inputs_untouched,
    check_mask,
    check_zero_advantage,
    check_sign,
    check_permutation,
    check_splits,
    check_on_policy,
    check_equal_rewards,
    check_extreme_ratios,
    check_diagnostics_declared,
    check_documented,
)


def test_there_are_algorithms() -> None:
    assert {"grpo", "dr_grpo"} <= set(NAMES)
    assert "ref_logprobs_BT" in with_coefficients(algorithm_of("grpo")).columns


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_algorithm(self, name: str, check: Callable[[Algorithm], None]) -> None:
        check(algorithm_of(name))
        check(with_coefficients(algorithm_of(name)))

    def test_yaml(self, name: str) -> None:
        node = OmegaConf.load(FOLDER / f"{name}.yaml")
        assert OmegaConf.is_dict(node)
        check_yaml({str(k) for k in node} - {"_target_", "defaults"}, type(algorithm_of(name)))


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


def fault(check: Callable[[Algorithm], None], **methods: Any) -> Any:
    """A case of the mutation test: Sound with one method replaced."""
    return pytest.param(check, methods, id=f"{check.__name__}-{len(FAULTS)}")


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


FAULTS: list[Any] = []
FAULTS += [
    fault(check_advantages, advantages=moved(lambda b: sound(b)[:, 0])),
    fault(check_advantages, advantages=moved(lambda b: sound(b).float())),
    fault(check_advantages, advantages=moved(lambda b: sound(b) / sound(b))),
    fault(check_advantages, advantages=moved(lambda b: sound(b) + 1.0)),
    fault(check_advantages, advantages=moved(lambda b: sound(b) * 0)),
    fault(check_loss, loss=lost(lambda m: (-m.advantages_BT * ratio(m)).sum())),
    fault(check_loss, loss=lost(lambda m: (-m.advantages_BT * ratio(m)).float())),
    fault(check_loss, loss=lost(lambda m: -m.advantages_BT / m.advantages_BT * ratio(m))),
    fault(check_loss, loss=unknown_term),
    fault(check_inputs_untouched, advantages=writes_into_rewards),
    fault(check_inputs_untouched, loss=writes_into_a_column),
    fault(check_mask, loss=lost(lambda m: -m.advantages_BT * ratio(m).mean(-1, keepdim=True))),
    fault(check_mask, loss=lost(lambda m: -m.advantages_BT * (ratio(m) + m.logprobs_BT**2))),
    fault(check_mask, advantages=moved(lambda b: sound(b) * b["ref_logprobs_BT"].mean())),
    fault(check_zero_advantage, loss=lost(lambda m: (1 - m.advantages_BT) * ratio(m))),
    fault(check_sign, loss=lost(lambda m: m.advantages_BT * ratio(m))),
    fault(check_sign, loss=lost(lambda m: -m.advantages_BT.abs() * ratio(m))),
    fault(check_sign, loss=lost(lambda m: -m.advantages_BT.roll(1, 0) * ratio(m))),
    fault(check_permutation, advantages=moved(lambda b: on_tokens(in_blocks(b), b.mask_BT))),
    fault(check_permutation, advantages=moved(lambda b: sound(b) * (b.group_B[:, None] > 4))),
    fault(
        check_splits, loss=lost(lambda m: -(m.advantages_BT - m.advantages_BT.mean()) * ratio(m))
    ),
    fault(check_splits, loss=lost(lambda m: -m.advantages_BT * ratio(m) / len(m.mask_BT))),
    fault(check_on_policy, loss=lost(lambda m: -m.advantages_BT * ratio(m).sqrt())),
    fault(check_on_policy, loss=lost(lambda m: -m.advantages_BT.roll(1, 1) * ratio(m))),
    fault(check_on_policy, loss=lost(lambda m: -m.advantages_BT * ratio(m).clamp(max=0.9))),
    fault(check_equal_rewards, advantages=moved(lambda b: on_tokens(b.scores_B, b.mask_BT))),
    fault(check_equal_rewards, advantages=moved(lambda b: on_tokens(globally(b), b.mask_BT))),
    fault(check_extreme_ratios, loss=lost(lambda m: -m.advantages_BT * unclamped(m))),
    fault(check_diagnostics_declared, loss=undeclared),
]


def in_blocks(batch: Batch) -> Tensor:
    """Groups taken from positions, not from ids."""
    blocks_B = torch.arange(len(batch.group_B)) // (len(batch.group_B) // PROMPTS)
    return group_center(batch.scores_B, blocks_B)


def globally(batch: Batch) -> Tensor:
    return batch.scores_B - batch.scores_B.mean()


def unclamped(minibatch: Minibatch) -> Tensor:
    return (minibatch.logprobs_BT - minibatch["old_logprobs_BT"]).exp()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_algorithm_passes(check: Callable[[Algorithm], None]) -> None:
    check(Sound())


@pytest.mark.parametrize(("check", "methods"), FAULTS)
def test_a_fault_is_seen(check: Callable[[Algorithm], None], methods: dict[str, Any]) -> None:
    broken = type("Broken", (Sound,), methods)()
    with pytest.raises(AssertionError):
        check(broken)


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


@pytest.mark.parametrize("plugin", [Undocumented(), Thawed()])
def test_missing_documentation_is_seen(plugin: Any) -> None:
    with pytest.raises(AssertionError):
        check_documented(plugin)


@pytest.mark.parametrize("keys", [set(), {"group_size", "clip"}])
def test_a_yaml_with_other_keys_is_seen(keys: set[str]) -> None:
    check_yaml({"group_size"}, Sound)
    with pytest.raises(AssertionError):
        check_yaml(keys, Sound)


def test_every_check_has_a_fault() -> None:
    faulty = {param.values[0] for param in FAULTS} | {check_documented}
    assert faulty == set(CHECKS)
