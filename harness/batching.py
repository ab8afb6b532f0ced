"""Cut rows into optimizer batches and micro-batches. Responses are never split."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness import streams
from harness.types import Rollout


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


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Some rows as a model reads them: prompt, then response, padded on the right.

    There a causal model cannot see, so that no attention mask is needed.
    """

    tokens_bS: Tensor
    """int64 (b,S)."""
    first: int
    """The earliest position whose next token is a response's; outputs before it are not needed."""
    position_bt: Tensor
    """Where in the outputs from `first` on the one for response token t stands."""

    def aligned(self, x_bs: Tensor) -> Tensor:
        """(b,s) outputs from `first` on -> (b,t) by response token."""
        return x_bs.gather(1, self.position_bt)


def packed(rollout: Rollout, rows_b: Tensor) -> Packed:
    """The given rows; t is their longest response."""
    rows = rows_b.tolist()
    prompts = [torch.tensor(rollout.prompt_ids[i]) for i in rows]
    lengths = rollout.lengths_B[rows_b].tolist()
    inputs = [
        torch.cat([ids, rollout.tokens_BT[i, :length]])
        for ids, i, length in zip(prompts, rows, lengths, strict=True)
    ]
    tokens_bS = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True)
    first = min(len(ids) for ids in prompts) - 1
    offset_b1 = torch.tensor([len(ids) - 1 - first for ids in prompts])[:, None]
    position_bt = offset_b1 + torch.arange(max(lengths))
    last = tokens_bS.shape[1] - first - 2
    return Packed(tokens_bS=tokens_bS, first=first, position_bt=position_bt.clamp(max=last))


def row_lengths(rollout: Rollout) -> Tensor:
    """int64 (B,), tokens of each row, prompt included."""
    return torch.tensor([len(ids) for ids in rollout.prompt_ids]) + rollout.lengths_B
