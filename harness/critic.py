"""The critic: a model that says what a response will still be worth, at each of its tokens."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.batching import Packed, micro_batches, packed, row_lengths
from harness.policy import Learner, Optimizer
from harness.types import Rollout


class Critic(Learner):
    """A backbone and a linear head.

    The head begins at zero: before it has learnt anything it is no baseline at all, and PPO begins
    as REINFORCE. With `shared`, the backbone is the policy's: its gradients add to the policy's
    own, and the policy's optimizer moves it.
    """

    def __init__(
        self, backbone: Any, shared: bool, token_budget: int, optimizer: Optimizer
    ) -> None:
        self.head = torch.nn.Linear(backbone.config.hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self.backbone = backbone
        self.shared = shared
        self.token_budget = token_budget
        own = [] if shared else list(backbone.parameters())
        super().__init__([*own, *self.head.parameters()], optimizer)

    @torch.no_grad()
    def score(self, rollout: Rollout) -> Tensor:
        """float32 (B,T): the value of the prompt and the response before each token, 0 off mask."""
        values_BT = torch.zeros(rollout.mask_BT.shape)
        rows_B = torch.arange(len(rollout.prompts))
        for rows_b in micro_batches(rows_B, row_lengths(rollout), self.token_budget):
            values_bt = self.values(packed(rollout, rows_b))
            mask_bt = rollout.mask_BT[rows_b, : values_bt.shape[1]]
            values_BT[rows_b, : values_bt.shape[1]] = values_bt.masked_fill(~mask_bt, 0.0)
        return values_BT

    def values(self, inputs: Packed) -> Tensor:
        """(b,t), with gradient."""
        hidden_bSD = self.backbone(input_ids=inputs.tokens_bS, use_cache=False).last_hidden_state
        hidden_bsD = hidden_bSD[:, inputs.first : -1].float()
        values_bs: Tensor = self.head(hidden_bsD)[..., 0]
        return inputs.aligned(values_bs)

    def state_dict(self) -> dict[str, Any]:
        """Head, optimizer, and the backbone if it is its own."""
        assert self.optimizer is not None
        backbone = {} if self.shared else self.backbone.state_dict()
        return {
            "backbone": backbone,
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict."""
        assert self.optimizer is not None
        if not self.shared:
            self.backbone.load_state_dict(state["backbone"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
