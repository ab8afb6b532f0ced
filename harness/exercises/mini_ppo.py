"""Notebook 4: one mini-batch update, judged against what the harness's own Ppo makes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.algorithms.ppo import Ppo
from harness.commands.parity_ops import Inputs, Outputs
from harness.commands.parity_ops.common import tensor
from harness.exercises.kinds import (
    Data,
    Exercise,
    Learned,
    Mistake,
    UnfitError,
    by_hand,
)
from harness.maths import tensor_ops as ops
from harness.types import Minibatch

# Weights move by minus the gradient: what is compared is the gradient itself.
STEP = 1.0
# None is a default, and no two are alike: a number that is written into the code shows.
PPO = Ppo(
    clip_low=0.1, clip_high=0.3, value_clip=0.25, value_coefficient=0.4, entropy_coefficient=0.15
)
METRICS = ("actor/entropy", "actor/pg_clipfrac", "actor/ppo_kl")
STATES, VOCABULARY = 4, 3

# Three responses of 3, 2 and 1 tokens; 0 under the mask. The second update takes other rows, so
# that gradients which are not set to 0 show.
BATCH: Mapping[str, list[list[float]]] = {
    "states_BT": [[0, 1, 2], [0, 3, 1], [0, 2, 2]],
    "tokens_BT": [[1, 2, 0], [0, 2, 1], [2, 1, 1]],
    "mask": [[1, 1, 1], [1, 1, 0], [1, 0, 0]],
    "old_logprobs_BT": [[-1.5, -1.0, -0.7], [-0.8, -1.3, 0.0], [-1.9, 0.0, 0.0]],
    "old_values_BT": [[0.1, 0.4, 0.3], [0.5, -0.2, 0.0], [0.2, 0.0, 0.0]],
    "advantages_BT": [[1.2, 0.8, 0.5], [-0.9, -1.1, 3.0], [0.6, 3.0, 3.0]],
    "returns_BT": [[1.0, 1.0, 1.0], [0.0, 0.1, 3.0], [0.9, 3.0, 3.0]],
}
WHOLE = ("states_BT", "tokens_BT")
ROWS = ([0, 1], [2])


class _Values(nn.Module):
    """A number per state: (B,T) -> (B,T)."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(STATES, 1, dtype=torch.float64)

    def forward(self, states_BT: Tensor) -> Tensor:
        found: Tensor = self.table(states_BT).squeeze(-1)
        return found


def _models() -> tuple[nn.Embedding, _Values]:
    policy, critic = nn.Embedding(STATES, VOCABULARY, dtype=torch.float64), _Values()
    with torch.no_grad():
        weights = torch.arange(STATES * VOCABULARY, dtype=torch.float64).reshape(STATES, -1)
        policy.weight.copy_(torch.sin(weights))
        critic.table.weight.copy_(torch.cos(weights[:, :1]))
    return policy, critic


def _updated(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    """Both models after two updates, and what the last one said."""
    policy, critic = _models()
    optimizer = torch.optim.SGD([*policy.parameters(), *critic.parameters()], lr=STEP)
    batch = {name: tensor(inputs, name) for name in BATCH if name != "mask"}
    batch |= {name: batch[name].long() for name in WHOLE}
    batch["mask_BT"] = torch.tensor(inputs["mask"], dtype=torch.bool)
    said: Any = None
    for rows in ROWS:
        said = learned(policy, critic, optimizer, dict(batch), torch.tensor(rows), PPO)
    if not isinstance(said, dict) or not set(METRICS) <= said.keys():
        raise UnfitError(f"it must return a dict with {', '.join(METRICS)}")
    models = {"policy": policy.weight.detach(), "critic": critic.table.weight.detach()}
    return models | {name: float(said[name]) for name in METRICS}


@dataclass(frozen=True)
class _Update:
    """The harness's update, with what a mistake changes."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """Factors of the loss's terms."""
    change: Callable[[Minibatch], Minibatch] = lambda minibatch: minibatch
    zeroes: bool = True
    steps: bool = True
    whole: bool = False

    def __call__(
        self,
        policy: nn.Module,
        critic: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: Mapping[str, Tensor],
        rows_R: Tensor,
        ppo: Ppo,
    ) -> dict[str, float]:
        rows_R = torch.arange(len(batch["mask_BT"])) if self.whole else rows_R
        own = {name: column[rows_R] for name, column in batch.items()}
        minibatch = self.change(_minibatch(policy(own["states_BT"]), critic(own["states_BT"]), own))
        loss, mask_BT = ppo.loss(minibatch), minibatch.mask_BT
        total = torch.stack(
            [
                self.weights.get(t.name, 1.0) * t.weight * ops.masked_mean(t.values, mask_BT)
                for t in loss.terms
            ]
        ).sum()
        if self.zeroes:
            optimizer.zero_grad()
        torch.autograd.backward(total)
        if self.steps:
            optimizer.step()
        seen = {**loss.diagnostics, "actor/entropy": minibatch["entropy_BT"]}
        return {name: ops.masked_mean(seen[name].detach(), mask_BT).item() for name in METRICS}


def _minibatch(logits_RTV: Tensor, values_RT: Tensor, own: Mapping[str, Tensor]) -> Minibatch:
    log_p_RTV = torch.log_softmax(logits_RTV, dim=-1)
    columns = {name: own[name] for name in ("old_logprobs_BT", "old_values_BT", "returns_BT")}
    return Minibatch(
        logprobs_BT=log_p_RTV.gather(-1, own["tokens_BT"][..., None]).squeeze(-1),
        advantages_BT=own["advantages_BT"],
        mask_BT=own["mask_BT"],
        budget=own["mask_BT"].shape[1],
        columns={**columns, "values_BT": values_RT, "entropy_BT": ops.entropy(logits_RTV)},
    )


def _fresh(minibatch: Minibatch) -> Minibatch:
    columns = {**minibatch.columns, "old_logprobs_BT": minibatch.logprobs_BT.detach()}
    return replace(minibatch, columns=columns)


def _swapped(minibatch: Minibatch) -> Minibatch:
    columns = {**minibatch.columns, "old_logprobs_BT": minibatch.logprobs_BT}
    return replace(minibatch, logprobs_BT=minibatch["old_logprobs_BT"], columns=columns)


def _unmasked(minibatch: Minibatch) -> Minibatch:
    return replace(minibatch, mask_BT=torch.ones_like(minibatch.mask_BT))


MINIBATCH_UPDATE = Exercise(
    name="minibatch_update",
    data=(
        Data(
            _updated,
            cases=(
                by_hand(
                    "two updates, by the harness's own Ppo",
                    BATCH,
                    {},
                    _updated(_Update(), BATCH, {}),
                ),
            ),
        ),
    ),
    mistakes=(
        Mistake(
            "the sign of the entropy is wrong: subtract entropy_coefficient times the entropy, so "
            "that it is kept up",
            _Update(weights={"entropy": -1}),
        ),
        Mistake(
            "no gradient reaches the policy: torch.no_grad() or .detach() stands around its "
            "log-probs",
            _Update(weights={"policy": 0, "entropy": 0}),
        ),
        Mistake(
            "the ratio is upside down: clipped_policy_loss takes the current log-probs first, then "
            "the rollout's",
            _Update(change=_swapped),
        ),
        Mistake("the entropy is missing in the loss", _Update(weights={"entropy": 0})),
        Mistake(
            "the value loss is missing: the critic never learns", _Update(weights={"value": 0})
        ),
        Mistake(
            "value_coefficient is missing in front of the value loss",
            _Update(weights={"value": 1 / PPO.value_coefficient}),
        ),
        Mistake(
            "the sign of the policy loss is wrong: clipped_policy_loss is a loss already, to be "
            "minimized",
            _Update(weights={"policy": -1}),
        ),
        Mistake(
            "the gradients of the last update are still there: optimizer.zero_grad() is missing",
            _Update(zeroes=False),
        ),
        Mistake(
            "nothing moves: optimizer.step() is missing, or the gradients are set to 0 between "
            "backward() and step()",
            _Update(steps=False),
        ),
        Mistake(
            "rows_R is ignored: it updates on the whole batch, not on the mini-batch",
            _Update(whole=True),
        ),
        Mistake(
            "the old log-probs are those of the current policy: the ratio is 1 for ever and "
            "nothing is clipped; take the rollout's old_logprobs_BT",
            _Update(change=_fresh),
        ),
        Mistake(
            "the mask is missing: padding takes part in the means (use masked_mean)",
            _Update(change=_unmasked),
        ),
    ),
)

EXERCISES = (MINIBATCH_UPDATE,)
