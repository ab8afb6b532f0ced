"""Cut rows into optimizer batches, ranks' shares and passes. Responses are never split."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from harness.distributed.balance import balanced
from harness.distributed.ranks import Ranks
from harness.maths import streams
from harness.types import Rollout


@dataclass(frozen=True)
class Pass:
    """Rows of one forward pass; those of a dummy pass count for nothing."""

    rows_b: Tensor
    counts: bool


def mini_batches(rows: int, count: int, seed: int, step: int, epoch: int) -> list[Tensor]:
    """Row numbers of `count` optimizer batches of one pass, shuffled by their own stream.

    Sizes differ by one at most. One batch of all rows is left in order: there is nothing to
    shuffle. Fewer rows than batches give one batch per row.
    """
    if count == 1:
        return [torch.arange(rows)]
    order = streams.permutation(seed, f"mini_batches/{epoch}", step, rows)
    return list(torch.from_numpy(order).tensor_split(min(count, rows)))


def batches(rows: int, epochs: int, count: int, seed: int, step: int) -> list[Tensor]:
    """Row numbers of each optimizer step, over all passes: see `mini_batches`."""
    each = (mini_batches(rows, count, seed, step, epoch) for epoch in range(epochs))
    return list(chain.from_iterable(each))


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


def passes(rows_b: Tensor, lengths_B: Tensor, token_budget: int, ranks: Ranks) -> Iterator[Pass]:
    """This rank's forward passes over some rows: as many as every other rank makes.

    Ranks get rows of nearly equal numbers of tokens. A sharded model moves parameters between the
    ranks in every pass, so that one with less to do makes dummy passes over a row.
    """
    own_b = rows_b
    if ranks.count > 1:
        parts = balanced(lengths_B[rows_b].tolist(), ranks.count)
        own_b = rows_b[parts[ranks.rank]]
    cut = micro_batches(own_b, lengths_B, token_budget) if len(own_b) else []
    for i in range(ranks.most(len(cut))):
        yield Pass(cut[i], True) if i < len(cut) else Pass(rows_b[:1], False)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Some rows as a model reads them: prompt, then response, padded on the right.

    There a causal model cannot see, so that no attention mask is needed.
    """

    tokens_bS: Tensor
    """int64 (b,S)."""
    mask_bt: Tensor
    """bool (b,t), the response's tokens; t is the longest response."""
    position_bt: Tensor
    """Position whose output predicts response token t."""

    @property
    def where_N(self) -> tuple[Tensor, Tensor]:
        """Row and position of the outputs that predict the N response tokens."""
        return self.mask_bt.nonzero()[:, 0], self.position_bt[self.mask_bt]

    def on_tokens(self, x_N: Tensor) -> Tensor:
        """(N,) by response token -> (b,t), 0 off the mask; keeps the gradient."""
        x_bt = x_N.new_zeros(self.mask_bt.shape)
        return x_bt.masked_scatter(self.mask_bt, x_N)


def packed(rollout: Rollout, rows_b: Tensor) -> Packed:
    """The given rows."""
    rows = rows_b.tolist()
    prompts = [torch.tensor(rollout.prompt_ids[i]) for i in rows]
    lengths_b = rollout.lengths_B[rows_b]
    inputs = [
        torch.cat([ids, rollout.tokens_BT[i, :length]])
        for ids, i, length in zip(prompts, rows, lengths_b.tolist(), strict=True)
    ]
    positions_t = torch.arange(int(lengths_b.max()))
    first_b1 = torch.tensor([len(ids) - 1 for ids in prompts])[:, None]
    return Packed(
        tokens_bS=torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True),
        mask_bt=positions_t < lengths_b[:, None],
        position_bt=first_b1 + positions_t,
    )


def row_lengths(rollout: Rollout) -> Tensor:
    """int64 (B,), tokens of each row, prompt included."""
    return torch.tensor([len(ids) for ids in rollout.prompt_ids]) + rollout.lengths_B
