"""The critic: a model that says what a response will still be worth, at each of its tokens."""

from typing import Any

import torch
from torch import Tensor

from harness.distributed.sharding import Layout, placed
from harness.learner.batching import Packed
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Learner, Policy
from harness.learner.scorer import states, value_head, valued
from harness.types import Rollout


class ValueModel(torch.nn.Module):
    """The blocks of a causal language model and a value head."""

    def __init__(self, model: Any, device: torch.device) -> None:
        super().__init__()
        self.model = model.base_model
        self.device = device
        self.value_head = value_head(model)

    def forward(self, inputs: Packed) -> dict[str, Tensor]:
        """values_BT: (b,t), with gradient, 0 off the mask."""
        hidden_ND = states(self.model, inputs, self.device)
        return {"values_BT": inputs.on_tokens(valued(self.value_head, hidden_ND).cpu())}


class Critic(Learner):
    """A learner of values.

    With a policy instead of a model it is the head on that policy's hidden states: its gradients
    add to the policy's own, and the policy's optimizer moves all but the head.
    """

    def __init__(
        self, model: Any, layout: Layout, optimizer: Optimizer, warmup: float = 0.0
    ) -> None:
        """Nothing is trained yet.

        Args:
            model: a causal language model, or the policy that it is the head of.
            warmup: share of the budget in which the policy stands still.
        """
        self.warmup = warmup
        self.shared = isinstance(model, Policy)
        if isinstance(model, Policy):
            head = model.module.value_head
            assert head is not None
            own = model.weights_state  # the head is one of the policy's weights
            super().__init__(model.module, layout, optimizer, head.parameters(), own)
        else:
            module = placed(ValueModel(model, layout.torch_device), layout)
            super().__init__(module, layout, optimizer)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return {"optimizer": state["optimizer"]} if self.shared else state

    @torch.no_grad()
    def score(self, rollout: Rollout) -> Tensor:
        """(B,T): the value of the prompt and the response before each token, 0 off mask."""
        return self._scored(rollout, ("values_BT",))[0]

    def values(self, inputs: Packed) -> Tensor:
        """(b,t), with gradient; of a critic with a model of its own."""
        values_BT: Tensor = self.module(inputs)["values_BT"]
        return values_BT
