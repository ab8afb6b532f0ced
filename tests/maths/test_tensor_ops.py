"""Primitives on tensors: hand-computed values, slow oracles and invariances."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.maths import tensor_ops as ops
from harness.maths.tensor_ops import KL, Counts, Reduction

BUDGET = 7
NUMBERS = st.floats(-50, 50, allow_nan=False, width=32)
EXTREMES = st.sampled_from([0.0, 1.0, -1.0, 1e4, -1e4, 1e-9, 20.0, -20.0])
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
JUNK = (math.nan, math.inf, -math.inf, 1e30)

# Two rows of four positions; three tokens and two.
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
VALUES = torch.tensor([[1.0, 2.0, 6.0, 99.0], [4.0, 8.0, 99.0, 99.0]], dtype=torch.float64)


def mask_of(lengths: list[int], width: int) -> Tensor:
    """Right-padded mask with that many tokens in each row."""
    return torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]


@st.composite
def masked_batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Values (B,T) and a right-padded mask, empty rows included."""
    rows, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(0, width), min_size=rows, max_size=rows))
    cells = draw(st.lists(NUMBERS, min_size=rows * width, max_size=rows * width))
    values = torch.tensor(cells, dtype=torch.float64).reshape(rows, width)
    return values, mask_of(lengths, width)


PER_RESPONSE = (Reduction.SEQUENCE_MEAN, Reduction.RESPONSE_MEAN)


def values_for(reduction: Reduction, values_BT: Tensor) -> Tensor:
    """(B,) for the reductions that take one value per response, else (B,T)."""
    return values_BT[:, 0] if reduction in PER_RESPONSE else values_BT


def slow_reduced(values: Tensor, mask: Tensor, reduction: Reduction, budget: int) -> float:
    """The definition, token by token."""
    if reduction is Reduction.RESPONSE_MEAN:
        return sum(float(row[0]) for row in values) / len(values)
    rows = [[float(v) for v in row[kept]] for row, kept in zip(values, mask, strict=True)]
    rows = [row for row in rows if row]
    if not rows:
        return 0.0
    tokens = [value for row in rows for value in row]
    if reduction is Reduction.TOKEN_MEAN:
        return sum(tokens) / len(tokens)
    if reduction is Reduction.SEQUENCE_MEAN_TOKEN_MEAN:
        return sum(sum(row) / len(row) for row in rows) / len(rows)
    if reduction is Reduction.SEQUENCE_MEAN_TOKEN_SUM:
        return sum(tokens) / len(rows)
    if reduction is Reduction.CONSTANT_BUDGET:
        return sum(tokens) / budget / len(rows)
    return sum(row[0] for row in rows) / len(rows)  # value of a response = that of its first token


def test_counts_do_not_count_empty_rows() -> None:
    mask = mask_of([3, 0, 2], 4)
    # 3 + 0 + 2 tokens in two non-empty rows.
    assert Counts.of(mask, budget=9) == Counts(tokens=5, sequences=2, budget=9, responses=3)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        (Reduction.TOKEN_MEAN, 21 / 5),  # (1+2+6+4+8) / 5
        (Reduction.SEQUENCE_MEAN_TOKEN_MEAN, 4.5),  # ((1+2+6)/3 + (4+8)/2) / 2 = (3+6)/2
        (Reduction.SEQUENCE_MEAN_TOKEN_SUM, 10.5),  # (9 + 12) / 2
        (Reduction.CONSTANT_BUDGET, 1.5),  # (9/7 + 12/7) / 2 = 3/2
        (Reduction.SEQUENCE_MEAN, 2.5),  # (1 + 4) / 2, one value per response
    ],
)
def test_reduced_by_hand(reduction: Reduction, expected: float) -> None:
    counts = Counts.of(MASK, BUDGET)
    got = ops.reduced(values_for(reduction, VALUES), MASK, reduction, counts)
    assert got.item() == pytest.approx(expected, rel=1e-12)


@SETTINGS
@given(masked_batches(), st.sampled_from(Reduction))
def test_reduced_agrees_with_a_loop(batch: tuple[Tensor, Tensor], reduction: Reduction) -> None:
    values, mask = batch
    got = ops.reduced(values_for(reduction, values), mask, reduction, Counts.of(mask, BUDGET))
    assert got.item() == pytest.approx(slow_reduced(values, mask, reduction, BUDGET), abs=1e-9)


@SETTINGS
@given(masked_batches(), st.sampled_from(Reduction), st.data())
def test_shares_of_any_split_add_up(
    batch: tuple[Tensor, Tensor], reduction: Reduction, data: st.DataObject
) -> None:
    values, mask = batch
    rows = len(values)
    part = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    counts = Counts.of(mask, BUDGET)
    whole_in = values_for(reduction, values).clone().requires_grad_()
    parts_in = values_for(reduction, values).clone().requires_grad_()
    whole = ops.reduced(whole_in, mask, reduction, counts)
    shares = [
        ops.reduced(parts_in[part == k], mask[part == k], reduction, counts) for k in range(4)
    ]
    total = torch.stack(shares).sum()
    whole.backward()
    total.backward()
    torch.testing.assert_close(total, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts_in.grad, whole_in.grad, rtol=1e-12, atol=0)


def test_a_mean_over_responses_counts_empty_ones() -> None:
    # rows of 3, 0 and 2 tokens, worth 2, 4 and 6: (2 + 4 + 6) / 3, and 8 / 2 without the empty one
    mask, values = mask_of([3, 0, 2], 4), torch.tensor([2.0, 4.0, 6.0])
    counts = Counts.of(mask, budget=9)
    assert ops.reduced(values, mask, Reduction.RESPONSE_MEAN, counts).item() == 4.0
    assert ops.reduced(values, mask, Reduction.SEQUENCE_MEAN, counts).item() == 4.0
    other = torch.tensor([2.0, 10.0, 6.0])
    assert ops.reduced(other, mask, Reduction.RESPONSE_MEAN, counts).item() == 6.0
    assert ops.reduced(other, mask, Reduction.SEQUENCE_MEAN, counts).item() == 4.0


@pytest.mark.parametrize("reduction", [r for r in Reduction if r is not Reduction.RESPONSE_MEAN])
def test_batch_without_tokens_reduces_to_zero(reduction: Reduction) -> None:
    values, mask = VALUES.clone().requires_grad_(), torch.zeros_like(MASK)
    total = ops.reduced(values_for(reduction, values), mask, reduction, Counts.of(mask, BUDGET))
    (gradient,) = torch.autograd.grad(total, values)
    assert total.item() == 0
    assert not gradient.any()


Masked = Callable[[Tensor, Tensor], Tensor]
MASKED: dict[str, Masked] = {
    **{
        reduction.value: lambda x, m, r=reduction: ops.reduced(x, m, r, Counts.of(m, BUDGET))
        for reduction in Reduction
        if reduction not in PER_RESPONSE
    },
    "masked_mean": ops.masked_mean,
    # Squared and weighted: the plain sum of whitened values is 0 whatever they are.
    "masked_whiten": lambda x, m: (ops.masked_whiten(x, m) * torch.arange(4)).square().sum(),
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("name", MASKED)
def test_values_under_the_mask_never_matter(name: str, junk: float) -> None:
    clean = VALUES.clone().requires_grad_()
    dirty = VALUES.masked_fill(~MASK, junk).requires_grad_()
    expected, got = MASKED[name](clean, MASK), MASKED[name](dirty, MASK)
    (expected_gradient,) = torch.autograd.grad(expected, clean)
    (gradient,) = torch.autograd.grad(got, dirty)
    assert torch.equal(got, expected)
    assert torch.equal(gradient, expected_gradient)
    assert not gradient[~MASK].any()
    assert gradient[MASK].any()


@pytest.mark.parametrize("junk", JUNK)
def test_an_empty_response_never_matters(junk: float) -> None:
    mask = mask_of([2, 0, 1], 3)
    values = torch.tensor([3.0, junk, 5.0], requires_grad=True)
    total = ops.reduced(values, mask, Reduction.SEQUENCE_MEAN, Counts.of(mask, BUDGET))
    (gradient,) = torch.autograd.grad(total, values)
    assert total.item() == 4  # (3 + 5) / 2
    assert gradient.tolist() == [0.5, 0, 0.5]
    row = torch.tensor([3.0, junk, 5.0])
    assert ops.on_tokens(row, mask).tolist() == [[3, 3, 0], [0, 0, 0], [5, 0, 0]]
    assert ops.on_last_token(row, mask).tolist() == [[0, 3, 0], [0, 0, 0], [5, 0, 0]]


@pytest.mark.parametrize("junk", JUNK[:3])
def test_log_probs_under_the_mask_give_no_gradient(junk: float) -> None:
    """The chain log-ratio -> loss -> reduction, with whatever stands in padded positions."""
    clean = torch.tensor([[-1.0, -2.0, -0.5, -3.0], [-1.5, -0.7, -1.0, -1.0]])
    dirty = clean.masked_fill(~MASK, junk).requires_grad_()
    advantages = ops.on_tokens(torch.tensor([1.0, -1.0]), MASK)
    clipped = ops.clipped_policy_loss(dirty, clean - 0.1, advantages, 0.2, 0.2)
    kl = ops.kl_estimate(dirty, clean - 0.1, KL.K3)
    (gradient,) = torch.autograd.grad(ops.masked_mean(clipped.loss_BT + kl, MASK), dirty)
    assert torch.isfinite(gradient).all()
    assert not gradient[~MASK].any()
    assert gradient[MASK].all()


def test_masked_mean_by_hand() -> None:
    # (1+2+6+4+8) / 5
    assert ops.masked_mean(VALUES, MASK).item() == pytest.approx(4.2, rel=1e-12)
    assert ops.masked_mean(VALUES, torch.zeros_like(MASK)).item() == 0


def test_masked_whiten_by_hand() -> None:
    values = torch.tensor([[1.0, 3.0, 7.0]], dtype=torch.float64)
    mask = mask_of([2], 3)
    # mean 2, Bessel variance ((1-2)² + (3-2)²) / 1 = 2, so ±1/sqrt(2 + 1e-8); 0 under the mask.
    side = 1 / math.sqrt(2 + 1e-8)
    assert ops.masked_whiten(values, mask)[0].tolist() == pytest.approx([-side, side, 0])


@pytest.mark.parametrize("length", [0, 1])
def test_masked_whiten_of_fewer_than_two_tokens_is_zero(length: int) -> None:
    assert not ops.masked_whiten(VALUES[:1], mask_of([length], 4)).any()


@SETTINGS
@given(masked_batches())
def test_masked_whiten_has_mean_0_and_variance_1(batch: tuple[Tensor, Tensor]) -> None:
    values, mask = batch
    white = ops.masked_whiten(values, mask)
    assert not white[~mask].any()
    if mask.sum() < 2 or values[mask].var() < 1e-2:
        return
    assert white[mask].mean().item() == pytest.approx(0, abs=1e-8)
    assert white[mask].var().item() == pytest.approx(1, rel=2e-6)


def test_entropy_by_hand() -> None:
    # Uniform over 4: log 4. Logits log(1, 3): p = 1/4, 3/4.
    logits = torch.tensor([[5.0, 5.0, 5.0, 5.0]], dtype=torch.float64)
    assert ops.entropy(logits).item() == pytest.approx(math.log(4), rel=1e-12)
    two = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert ops.entropy(two).item() == pytest.approx(expected, rel=1e-12)


@SETTINGS
@given(st.lists(NUMBERS, min_size=1, max_size=8), NUMBERS)
def test_entropy_agrees_with_a_loop(logits: list[float], shift: float) -> None:
    weights = [math.exp(x - max(logits)) for x in logits]
    shares = [w / sum(weights) for w in weights]
    expected = -sum(p * math.log(p) for p in shares if p > 0)
    got = ops.entropy(torch.tensor([x + shift for x in logits], dtype=torch.float64))
    assert got.item() == pytest.approx(expected, abs=1e-9)
    assert -1e-12 <= got.item() <= math.log(len(logits)) + 1e-12


@pytest.mark.parametrize(
    ("kind", "difference", "expected"),
    [
        (KL.K1, -0.3, -0.3),
        (KL.ABS, -0.3, 0.3),
        (KL.K2, 0.3, 0.045),  # 0.3² / 2
        (KL.K3, 0.3, 0.0408182206817),  # exp(-0.3) - 1 + 0.3 = 0.7408182 - 0.7
        (KL.K3, -0.3, 0.0498588075760),  # exp(0.3) - 1 - 0.3 = 1.3498588 - 1.3
        (KL.K3, -5.0, 10.0),  # exp(5) - 6 = 142.4, cut at 10
        (KL.K3, 50.0, 10.0),  # exp(-20) + 20 - 1 = 19, cut at 10
    ],
)
def test_kl_by_hand(kind: KL, difference: float, expected: float) -> None:
    logprobs = torch.tensor([-1.0 + difference], dtype=torch.float64)
    got = ops.kl_estimate(logprobs, torch.tensor([-1.0], dtype=torch.float64), kind)
    assert got.item() == pytest.approx(expected, rel=1e-9)


@SETTINGS
@given(NUMBERS | EXTREMES, NUMBERS | EXTREMES)
def test_k3_is_non_negative_and_finite(new: float, reference: float) -> None:
    logprobs = torch.tensor([new], requires_grad=True)  # float32, as in training
    k3 = ops.kl_estimate(logprobs, torch.tensor([reference]), KL.K3)
    (gradient,) = torch.autograd.grad(k3.sum(), logprobs)
    assert 0 <= k3.item() <= ops.MAX_K3
    assert math.isfinite(gradient.item())


def slow_clipped(new: float, old: float, a: float, c: list[float | None]) -> tuple[float, float]:
    """Loss of one token and whether the clipped term is the larger one."""
    low, high, dual = c
    assert low is not None
    assert high is not None
    ratio = math.exp(min(max(new - old, -20.0), 20.0))
    plain, clipped = -a * ratio, -a * min(max(ratio, 1 - low), 1 + high)
    loss = max(plain, clipped)
    if dual is not None and a < 0:
        loss = min(loss, -a * dual)
    return loss, float(clipped > plain)


@SETTINGS
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS | EXTREMES), min_size=1, max_size=6),
    st.tuples(st.floats(0, 0.9), st.floats(0, 2), st.none() | st.floats(1.01, 10)),
)
def test_clipped_policy_loss_agrees_with_a_loop(
    tokens: list[tuple[float, float, float]], clips: tuple[float, float, float | None]
) -> None:
    new, old, advantages = torch.tensor(tokens, dtype=torch.float64).T[:, None]
    got = ops.clipped_policy_loss(new, old, advantages, *clips)
    slow = [slow_clipped(*token, list(clips)) for token in tokens]
    assert got.loss_BT[0].tolist() == pytest.approx([loss for loss, _ in slow], rel=1e-9)
    assert got.clipped_BT[0].tolist() == [clip for _, clip in slow]


def test_clipped_policy_loss_by_hand() -> None:
    # reference/algorithms.md section 8: ratios e^0.4, e^-0.4, 1 | e^1.3, e^-2; A = +1 | -1.
    old = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, -0.7, 0.0]], dtype=torch.float64)
    new = torch.tensor([[-0.6, -2.4, -0.5], [-0.2, -2.7, 0.0]], dtype=torch.float64)
    mask = mask_of([3, 2], 3)
    advantages = ops.on_tokens(torch.tensor([1.0, -1.0], dtype=torch.float64), mask)
    clipped = ops.clipped_policy_loss(new, old, advantages, 0.2, 0.2)
    # max(-1.4918, -1.2), max(-0.67032, -0.8), -1 | max(3.669297, 1.2), max(0.135, 0.8)
    assert clipped.loss_BT[mask].tolist() == pytest.approx([-1.2, -0.67032, -1, 3.669297, 0.8])
    # The clip is the larger term for tokens 1 and 5: 2 of 5.
    assert ops.masked_mean(clipped.clipped_BT, mask).item() == pytest.approx(0.4)
    # old - new: (-0.4 + 0.4 + 0 - 1.3 + 2) / 5
    assert ops.masked_mean(clipped.kl_BT, mask).item() == pytest.approx(0.14)
    # (-1.2 - 0.67032 - 1 + 3.669297 + 0.8) / 5 = 1.598977 / 5
    assert ops.masked_mean(clipped.loss_BT, mask).item() == pytest.approx(0.3197954, rel=1e-6)


def test_dual_clip_bounds_only_tokens_with_negative_advantage() -> None:
    new, old = torch.tensor([[2.0, 2.0, 0.1]]), torch.zeros(1, 3)
    advantages = torch.tensor([[-1.0, 1.0, -1.0]])
    got = ops.clipped_policy_loss(new, old, advantages, 0.2, 0.2, dual_clip=3.0).loss_BT
    # e² = 7.39 is cut at 3; A > 0 stays at the clip -1.2; e^0.1 = 1.105 is below 3.
    assert got[0].tolist() == pytest.approx([3.0, -1.2, math.exp(0.1)])


def test_clip_stops_the_gradient_in_the_direction_of_the_advantage_only() -> None:
    old, advantages = torch.zeros(1, 4), torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    new = torch.tensor([[0.5, -0.5, 0.5, -0.5]], requires_grad=True)
    loss = ops.clipped_policy_loss(new, old, advantages, 0.2, 0.2).loss_BT.sum()
    (gradient,) = torch.autograd.grad(loss, new)
    # Clipped where the token already moved with its advantage; else -A ratio.
    expected = [0.0, -math.exp(-0.5), math.exp(0.5), 0.0]
    assert gradient[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("difference", [1e4, -1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_extreme_log_ratios_stay_finite(difference: float, advantage: float) -> None:
    new = torch.tensor([[difference]], requires_grad=True)
    got = ops.clipped_policy_loss(new, torch.zeros(1, 1), torch.tensor([[advantage]]), 0.2, 0.2)
    (gradient,) = torch.autograd.grad(got.loss_BT.sum(), new)
    assert torch.isfinite(got.loss_BT).all()
    assert torch.isfinite(gradient).all()
    assert got.kl_BT.item() == -math.copysign(ops.MAX_LOG_RATIO, difference)


def slow_groups(x: list[float], groups: list[int]) -> list[tuple[float, float, float]]:
    """(x - mean, Bessel standard deviation, x - mean of the others) of each row's group."""
    found = []
    for value, group in zip(x, groups, strict=True):
        members = [v for v, g in zip(x, groups, strict=True) if g == group]
        n = len(members)
        mean = sum(members) / n
        if n == 1:
            found.append((value, 1.0, value))
            continue
        std = math.sqrt(sum((m - mean) ** 2 for m in members) / (n - 1))
        found.append((value - mean, std, value - (sum(members) - value) / (n - 1)))
    return found


GROUPED = st.lists(st.tuples(NUMBERS, st.sampled_from([-3, 0, 4, 10**12])), min_size=1, max_size=9)


@SETTINGS
@given(GROUPED)
def test_group_statistics_agree_with_a_loop(rows: list[tuple[float, int]]) -> None:
    """Ids are any integers, members interleaved, sizes unequal, groups of one among them."""
    x, groups = [list(column) for column in zip(*rows, strict=True)]
    x_B, group_B = torch.tensor(x, dtype=torch.float64), torch.tensor(groups)
    centred, stds, others = zip(*slow_groups(x, [int(g) for g in groups]), strict=True)
    assert ops.group_center(x_B, group_B).tolist() == pytest.approx(centred, abs=1e-9)
    assert ops.group_std(x_B, group_B).tolist() == pytest.approx(stds, abs=1e-9)
    assert ops.leave_one_out(x_B, group_B).tolist() == pytest.approx(others, abs=1e-9)


@SETTINGS
@given(GROUPED, st.randoms(use_true_random=False))
def test_group_center_is_permutation_equivariant(rows: list[tuple[float, int]], rng: Any) -> None:
    order = list(range(len(rows)))
    rng.shuffle(order)
    x_B = torch.tensor([x for x, _ in rows], dtype=torch.float64)
    group_B = torch.tensor([g for _, g in rows])
    moved = ops.group_center(x_B[order], group_B[order])
    torch.testing.assert_close(moved, ops.group_center(x_B, group_B)[order], rtol=0, atol=1e-12)


def test_group_statistics_by_hand() -> None:
    # Group 5: 1, 0, 0 (mean 1/3); group 2: 4, 2 (mean 3); group 9: 7 alone.
    x = torch.tensor([1.0, 4.0, 0.0, 7.0, 2.0, 0.0], dtype=torch.float64)
    group = torch.tensor([5, 2, 5, 9, 2, 5])
    centred = [2 / 3, 1, -1 / 3, 7, -1, -1 / 3]
    assert ops.group_center(x, group).tolist() == pytest.approx(centred)
    # sqrt((4/9 + 1/9 + 1/9) / 2) = sqrt(1/3); sqrt((1 + 1) / 1) = sqrt 2; 1 for a group of one.
    third, two = math.sqrt(1 / 3), math.sqrt(2)
    assert ops.group_std(x, group).tolist() == pytest.approx([third, two, third, 1, two, third])
    # 1 - 0, 4 - 2, 0 - 1/2, 7 alone, 2 - 4, 0 - 1/2
    assert ops.leave_one_out(x, group).tolist() == pytest.approx([1, 2, -0.5, 7, -2, -0.5])


def test_a_response_value_on_its_tokens() -> None:
    mask, x = mask_of([3, 0, 1], 3), torch.tensor([2.0, 5.0, -1.0])
    assert ops.on_tokens(x, mask).tolist() == [[2, 2, 2], [0, 0, 0], [-1, 0, 0]]
    assert ops.on_last_token(x, mask).tolist() == [[0, 0, 2], [0, 0, 0], [-1, 0, 0]]
    assert ops.on_last_token(x, mask.long()).tolist() == [[0, 0, 2], [0, 0, 0], [-1, 0, 0]]


# --- groups with a signal, means of sequences, importance weights ---------------------------------


def test_groups_with_a_signal() -> None:
    scores = torch.tensor([1.0, 0.0, 0.5, 0.5, 0.0, 0.1, 0.1, 0.1], dtype=torch.float64)
    groups = torch.tensor([4, 4, 9, 9, 1, 7, 7, 7])
    # group 1 has one member; 0.1 three times is equal, whatever its mean rounds to
    expected = [True, True, False, False, True, False, False, False]
    assert ops.has_signal(scores, groups).tolist() == expected


def test_sequence_mean() -> None:
    # rows 1 2 6 | 4 8 | nothing
    values = torch.tensor([[1.0, 2, 6, 99], [4, 8, 99, 99], [99, 99, 99, 99]])
    assert ops.sequence_mean(values, mask_of([3, 2, 0], 4)).tolist() == [3.0, 6.0, 0.0]


def test_truncated_importance_weights() -> None:
    old = torch.tensor([[-1.0, -1.0, 5.0], [-1.0, 5.0, 5.0]], dtype=torch.float64)
    sampler = torch.tensor([[-1.5, -0.5, 9.0], [-3.0, 9.0, 9.0]], dtype=torch.float64)
    mask = mask_of([2, 1], 3)
    by_token = ops.truncated_importance(old, sampler, mask, 2.0, "token")
    # e^.5 = 1.648721, e^-.5 = .606531; e^2 is above the cap
    assert by_token[0].tolist() == pytest.approx([1.648721, 0.606531, 0.0], abs=1e-6)
    assert by_token[1].tolist() == [2.0, 0.0, 0.0]
    by_response = ops.truncated_importance(old, sampler, mask, 9.0, "sequence")
    assert by_response[0].tolist() == pytest.approx([1.0, 1.0, 0.0])  # .5 - .5 = 0
    assert by_response[1, 0].item() == pytest.approx(7.389056)
