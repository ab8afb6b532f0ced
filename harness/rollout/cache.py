"""Keys and values of the responses that are decoded: written in place, in room that grows by parts.

transformers appends to its cache by copying all of it for every token, which takes longer than
reading it in attention does. Room for a whole response at once is no better: what is used of it
then lies far apart in memory, and attention reads it at half the speed. See the numbers in
tests/benchmarks/NOTES.md.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

# Tokens of room that are added at least, and the share of the length for which it is more: so that
# all the copying together grows with the length of a response and not with its square.
ROOM, ROOM_SHARE = 8, 1 / 8

# Attention functions of transformers that add a mask to the scores.
ADDING = ("sdpa", "eager")


class Grown(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A layer's keys and values, each (R, heads, tokens, width): what is used of some room."""

    def __init__(self, layer: Any, rows_R: Tensor) -> None:
        """The rows of a layer that transformers has filled; one may be there more than once."""
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys[rows_R], layer.values[rows_R]
        self._room = (self.keys, self.values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the tokens of one pass; returns all keys and values."""
        used, new = self.keys.shape[2], key_states.shape[2]
        if used + new > self._room[0].shape[2]:
            more = new + max(ROOM, int(used * ROOM_SHARE))
            self._room = (_enlarged(self.keys, more), _enlarged(self.values, more))
        keys, values = self._room
        keys[:, :, used : used + new] = key_states
        values[:, :, used : used + new] = value_states
        self._use(used + new)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        used = self.keys.shape[2]
        keys, values = self._room
        self._room = (keys[indices], values[indices])
        self._use(used)

    def _use(self, tokens: int) -> None:
        keys, values = self._room
        self.keys, self.values = keys[:, :, :tokens], values[:, :, :tokens]


def started(cache: Any, rows_R: Tensor) -> None:
    """Make of the prompts' cache that of the responses; rows_R names the prompt of each.

    Layers of other kinds, such as those of a sliding window, keep transformers' own way.
    """
    for i, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[i] = Grown(layer, rows_R)
        else:
            layer.batch_select_indices(rows_R)


@dataclass
class Read:
    """What a decode pass may look at: all but the padding before a prompt."""

    whole: Tensor | None
    """For the longest responses: (R,L), or (R,1,1,L) as attention adds it; None: no padding."""
    position_R1: Tensor
    """Of the first response token."""

    @classmethod
    def of(cls, model: Any, cache: Any, mask_PL: Tensor, tokens: int) -> "Read":
        """Of prompts, (P,L), 0 where they are padded, and so many tokens more.

        transformers makes a mask anew for every token, and attention converts it in every layer. A
        finished one is taken as it is by models that hand it to one of the attention functions of
        the library, where all their layers look at everything.
        """
        position_P1 = mask_PL.sum(-1, keepdim=True)
        if bool(mask_PL.all()):
            return cls(None, position_P1)
        whole_PL = torch.nn.functional.pad(mask_PL, (0, tokens), value=1)
        handed_on = model._supports_attention_backend
        if not (handed_on and model.config._attn_implementation in ADDING and _see_all(cache)):
            return cls(whole_PL, position_P1)
        added_PL = torch.zeros(whole_PL.shape, dtype=model.dtype, device=mask_PL.device)
        return cls(added_PL.masked_fill(whole_PL == 0, -torch.inf)[:, None, None], position_P1)

    def mask(self, length: int) -> Tensor | None:
        """Of so many tokens, padding and prompt included."""
        return None if self.whole is None else self.whole[..., :length]

    def keep(self, rows_R: Tensor) -> None:
        """Keep some rows, or repeat them."""
        self.position_R1 = self.position_R1[rows_R]
        self.whole = None if self.whole is None else self.whole[rows_R]


def _see_all(cache: Any) -> bool:
    return all(isinstance(layer, DynamicLayer) and not layer.is_sliding for layer in cache.layers)


def _enlarged(x: Tensor, more: int) -> Tensor:
    """The same, with room for so many tokens more."""
    rows, heads, tokens, width = x.shape
    room = x.new_empty(rows, heads, tokens + more, width)
    room[:, :, :tokens] = x
    return room
