"""A small batch with everything that goes wrong in it, and what the core makes of a loss."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.learner.update import estimates
from harness.maths.tensor_ops import Counts, reduced
from harness.protocols import Algorithm
from harness.types import Batch, Minibatch

PROMPTS, WIDTH, BUDGET = 3, 6, 11
# Names, not numbers from 0 on.
GROUP_IDS = (5, 2, 9)
KL_IN_REWARD = 0.1


def batch_of(algorithm: Any, equal_rewards: bool = False) -> Batch:
    """Interleaved groups of the algorithm's own size; one response is empty, one is full."""
    plan = algorithm.rollout_plan(0.0)
    rows = PROMPTS * plan.group_size
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
    columns: dict[str, Tensor] = {}
    for name in sorted(algorithm.columns):
        noise_BT = torch.rand(rows, WIDTH, generator=draws, dtype=torch.float64)
        columns[name] = -1.0 - 0.2 * noise_BT if "logprobs" in name else noise_BT
    if plan.greedy:
        columns["greedy_scores_B"] = torch.rand(rows, generator=draws, dtype=torch.float64)
    if plan.reference_samples:
        shape = (rows, plan.reference_samples)
        columns["reference_scores_BN"] = torch.rand(shape, generator=draws, dtype=torch.float64)
    return Batch(
        group_B=group_B,
        mask_BT=mask_BT,
        rewards_BT=rewards_BT,
        budget=BUDGET,
        columns=columns,
        progress=0.5,
        kl_coefficient=KL_IN_REWARD,
    )


def advantages_of(algorithm: Algorithm, batch: Batch) -> Tensor:
    """(B,T), whichever way the algorithm returns them."""
    return estimates(algorithm, batch)[1]


def minibatch_of(algorithm: Algorithm, advantages_BT: Tensor | None = None) -> Minibatch:
    """The batch with its own advantages; ratios on both sides of the usual clips."""
    batch, own_BT, _ = estimates(algorithm, batch_of(algorithm))
    draws = torch.Generator().manual_seed(11)
    noise_BT = torch.rand(batch.mask_BT.shape, generator=draws, dtype=torch.float64)
    return Minibatch(
        logprobs_BT=-1.6 + noise_BT,
        advantages_BT=own_BT if advantages_BT is None else advantages_BT,
        mask_BT=batch.mask_BT,
        budget=BUDGET,
        columns=batch.columns,
        progress=batch.progress,
    )


def on_policy(minibatch: Minibatch) -> Minibatch:
    """Every log-prob column equals the current policy's."""
    columns = {
        name: minibatch.logprobs_BT if "logprobs" in name else column
        for name, column in minibatch.columns.items()
    }
    return replace(minibatch, columns=columns)


def rows_of(minibatch: Minibatch, rows: Tensor) -> Minibatch:
    """Some of the rows."""
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
    """The loss, and its gradient with respect to the log-probs; (B,T)."""
    leaf_BT = minibatch.logprobs_BT.detach().clone().requires_grad_()
    total = total_of(algorithm, replace(minibatch, logprobs_BT=leaf_BT), only=only)
    return total.detach(), torch.autograd.grad(total, leaf_BT)[0]


def same(got: Tensor, expected: Tensor, what: str) -> None:
    """Raise AssertionError unless they agree to rounding."""
    assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12), f"{what}: {got} != {expected}"
