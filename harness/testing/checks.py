"""The checks: each raises AssertionError where an algorithm breaks its contract."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from harness.learner.update import TERM_METRICS, estimates
from harness.maths.tensor_ops import Counts, Reduction, on_tokens, reduced
from harness.protocols import Algorithm
from harness.schema import METRICS
from harness.testing.data import (
    BUDGET,
    PROMPTS,
    advantages_of,
    batch_of,
    loss_and_gradient,
    minibatch_of,
    on_policy,
    rows_of,
    same,
    total_of,
)
from harness.types import Batch, Minibatch
from harness.wording import documented

# Reductions of one value per response.
PER_RESPONSE = (Reduction.SEQUENCE_MEAN, Reduction.RESPONSE_MEAN)


def check_advantages(algorithm: Algorithm) -> None:
    """(B,T), finite, of the rewards' dtype, 0 under the mask, not all 0."""
    batch = batch_of(algorithm)
    advantages_BT = advantages_of(algorithm, batch)
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
    assert set(names) <= set(TERM_METRICS)
    for term in loss.terms:
        shape = minibatch.mask_BT.shape
        assert term.values.shape == (shape[:1] if term.reduction in PER_RESPONSE else shape)
        assert term.values.dtype == minibatch.logprobs_BT.dtype
        assert torch.isfinite(term.values).all()
    for values in loss.diagnostics.values():
        assert values.shape == minibatch.mask_BT.shape
        assert torch.isfinite(values).all()


def check_inputs_untouched(algorithm: Algorithm) -> None:
    """Neither `advantages` nor `loss` writes into what it is given."""
    batch, minibatch = batch_of(algorithm), minibatch_of(algorithm)
    before = {name: tensor.clone() for name, tensor in tensors_of(batch, minibatch).items()}
    algorithm.advantages(batch)
    algorithm.loss(minibatch)
    for name, tensor in tensors_of(batch, minibatch).items():
        assert torch.equal(tensor, before[name]), f"{name} was changed"


def tensors_of(*parts: Batch | Minibatch) -> dict[str, Tensor]:
    """All tensors of some data, by the kind of data and their name."""
    return {
        f"{type(data).__name__}.{name}": value
        for data in parts
        for name, value in (*vars(data).items(), *data.columns.items())
        if isinstance(value, Tensor)
    }


def check_mask(algorithm: Algorithm) -> None:
    """Nothing under mask 0 changes advantages, loss, gradient or diagnostics."""
    batch, minibatch = batch_of(algorithm), minibatch_of(algorithm)
    expected, expected_gradient = loss_and_gradient(algorithm, minibatch)
    for junk in (torch.nan, torch.inf, -torch.inf, 1e30):
        dirty_batch = replace(batch, columns=soiled(batch.columns, batch.mask_BT, junk))
        assert torch.equal(advantages_of(algorithm, dirty_batch), advantages_of(algorithm, batch))
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
    """Junk under the mask of every per-token column."""
    return {
        name: column.masked_fill(~mask_BT, junk) if name.endswith("_BT") else column
        for name, column in columns.items()
    }


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
    expected_BT = advantages_of(algorithm, batch)
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
        same(advantages_of(algorithm, moved), expected_BT[order], "advantages of permuted rows")


def check_splits(algorithm: Algorithm) -> None:
    """Micro-batches and ranks, counted globally, change neither loss nor gradient."""
    minibatch = minibatch_of(algorithm)
    expected, expected_gradient = loss_and_gradient(algorithm, minibatch)
    counts = Counts.of(minibatch.mask_BT, BUDGET)
    rows = torch.arange(len(minibatch.mask_BT))
    ranks = [rows[rank::2] for rank in range(2)]
    splits = [
        list(torch.split(rows, 1)),
        list(torch.split(rows, 5)),
        ranks,
        [p for r in ranks for p in torch.split(r, 3)],
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
    spread = Reduction.SEQUENCE_MEAN_TOKEN_MEAN
    reduction = spread if term.reduction in PER_RESPONSE else term.reduction
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
    advantages_BT = advantages_of(algorithm, batch_of(algorithm, equal_rewards=True))
    assert advantages_BT.abs().max() < 1e-8


def check_degenerate(algorithm: Algorithm) -> None:
    """Groups of one, and a batch of empty responses: everything stays finite."""
    batch = batch_of(algorithm)
    alone = replace(batch, group_B=torch.arange(len(batch.group_B)))
    empty = replace(batch, mask_BT=batch.mask_BT & False, rewards_BT=batch.rewards_BT * 0)
    for degenerate in (alone, empty):
        whole, advantages_BT, metrics = estimates(algorithm, degenerate)
        assert torch.isfinite(advantages_BT).all()
        assert not advantages_BT[~whole.mask_BT].any()
        assert all(math.isfinite(value) for value in metrics.values())
        minibatch = replace(
            minibatch_of(algorithm),
            advantages_BT=advantages_BT,
            mask_BT=whole.mask_BT,
            columns=whole.columns,
        )
        total, gradient = loss_and_gradient(algorithm, minibatch)
        assert torch.isfinite(total)
        assert torch.isfinite(gradient).all()
        assert not gradient[~whole.mask_BT].any()


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
    """Every diagnostic and metric is declared, by the core or in METRICS."""
    declared = set(METRICS) | set(getattr(algorithm, "METRICS", {}))
    assert set(algorithm.loss(minibatch_of(algorithm)).diagnostics) <= declared
    assert set(estimates(algorithm, batch_of(algorithm))[2]) <= declared


def check_documented(algorithm: Algorithm) -> None:
    """Frozen, and every hyper-parameter of its own stands in the docstring's Attributes section.

    Inherited fields are documented where they come from.
    """
    cls = type(algorithm)
    name = cls.__name__
    frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert frozen, f"{name} is not frozen; write @dataclass(frozen=True)"
    fields = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    own = fields & set(vars(cls).get("__annotations__", {}))
    said = set(documented(cls))
    assert own <= said, (
        f"the docstring of {name} lacks {', '.join(sorted(own - said))}; write `NAME: what it is` "
        f"in its section Attributes"
    )
    assert said <= fields, (
        f"the docstring of {name} has {', '.join(sorted(said - fields))}, which it has no field for"
    )
