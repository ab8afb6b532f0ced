"""Cut rows into optimizer batches and micro-batches. Responses are never split."""

import torch
from torch import Tensor

from harness import streams


def mini_batches(rows: int, count: int, seed: int, step: int, epoch: int) -> list[Tensor]:
    """Row numbers of `count` optimizer batches of one pass, shuffled by their own stream.

    Sizes differ by one at most. One batch of all rows is left in order: there is nothing to
    shuffle. Fewer rows than batches give one batch per row.
    """
    if count == 1:
        return [torch.arange(rows)]
    order = streams.permutation(seed, f"mini_batches/{epoch}", step, rows)
    return list(torch.from_numpy(order).tensor_split(min(count, rows)))


def micro_batches(rows_b: Tensor, lengths_B: Tensor, token_budget: int) -> list[Tensor]:
    """The given rows, sorted by length and cut so that rows x longest <= token_budget.

    Args:
        rows_b: row numbers of one optimizer batch.
        lengths_B: tokens of every row of the whole batch, prompt included.
        token_budget: padded tokens of one forward pass; a single longer row is a pass of its own.
    """
    order_b = rows_b[torch.argsort(lengths_B[rows_b], stable=True)]
    batches: list[Tensor] = []
    start = 0
    for end in range(1, len(order_b) + 1):
        over = (
            end < len(order_b) and (end + 1 - start) * int(lengths_B[order_b[end]]) > token_budget
        )
        if over or end == len(order_b):
            batches.append(order_b[start:end])
            start = end
    return batches
