"""One optimizer step, and the columns that an algorithm asks for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from harness.batching import Packed, micro_batches, packed, row_lengths
from harness.critic import Critic
from harness.policy import Learner, Policy, chosen
from harness.protocols import Algorithm
from harness.tensor_ops import (
    Counts,
    Reduction,
    entropy,
    full_kl,
    reduced,
    sequence_mean,
    truncated_importance,
)
from harness.types import Batch, LossTerm, Minibatch, Rollout

# Which metric a loss term is recorded under.
TERM_METRICS = {
    "policy": "actor/pg_loss",
    "kl": "actor/kl_loss",
    "entropy": "actor/entropy_loss",
    "value": "critic/vf_loss",
}


@dataclass(frozen=True, kw_only=True)
class Models:
    """What is trained, and what it is compared with."""

    policy: Policy
    reference: Policy
    critic: Critic | None = None
    importance_cap: float | None = None
    """Bound of the weights against the sampler's mismatch; None: no weights."""

    def annotated(self, rollout: Rollout, columns: frozenset[str]) -> dict[str, Tensor]:
        """The columns that an algorithm declares and that are known before the first update.

        old_logprobs_BT are the trainer's own, computed here once, before the first update.
        """
        made = {"old_logprobs_BT": self.policy.score(rollout)[0]}
        if "ref_logprobs_BT" in columns:
            made["ref_logprobs_BT"] = self.reference.score(rollout)[0]
        if "rollout_logprobs_BT" in columns:
            made["rollout_logprobs_BT"] = rollout.logprobs_BT
        if self.critic is not None:
            made["old_values_BT"] = self.critic.score(rollout)
        if self.importance_cap is not None:
            made["importance_BT"] = truncated_importance(
                made["old_logprobs_BT"],
                rollout.logprobs_BT,
                rollout.mask_BT,
                self.importance_cap,
                "token",
            )
        return made

    @property
    def trained(self) -> tuple[Learner, ...]:
        """The models with an optimizer."""
        return (self.policy,) if self.critic is None else (self.policy, self.critic)

    def state_dict(self) -> dict[str, Any]:
        """What is trained."""
        critic = None if self.critic is None else self.critic.state_dict()
        return {"policy": self.policy.state_dict(), "critic": critic}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict."""
        self.policy.load_state_dict(state["policy"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])

    def current(self, inputs: Packed, columns: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Log-probs of some rows under the policy, and the columns that move with it: (b,t)."""
        logits_bsV = self.policy.logits(inputs)
        with torch.set_grad_enabled("entropy_BT" in columns):
            made = {"entropy_BT": inputs.aligned(entropy(logits_bsV))}
        if "kl_full_BT" in columns:
            with torch.no_grad():
                ref_logits_bsV = self.reference.logits(inputs)
            made["kl_full_BT"] = inputs.aligned(full_kl(logits_bsV, ref_logits_bsV))
        if self.critic is not None:
            made["values_BT"] = self.critic.values(inputs)
        return chosen(logits_bsV, inputs), made


def estimates(algorithm: Algorithm, batch: Batch) -> tuple[Batch, Tensor, Mapping[str, float]]:
    """The batch with the algorithm's own columns added, its (B,T) advantages and its metrics."""
    made = algorithm.advantages(batch)
    if isinstance(made, Tensor):
        return batch, made, {}
    columns = {**batch.columns, **made.columns}
    return replace(batch, columns=columns), made.advantages_BT, made.metrics


def update(
    models: Models,
    algorithm: Algorithm,
    rollout: Rollout,
    batch: Batch,
    advantages_BT: Tensor,
    rows_b: Tensor,
) -> dict[str, float]:
    """One optimizer step on some rows; returns the metrics of the step.

    Every term is divided by counts of the whole optimizer batch before the first backward, so
    neither loss nor gradient depends on how the rows are cut into forward passes.
    """
    counts = Counts.of(batch.mask_BT[rows_b], batch.budget)
    totals = _Totals()
    for learner in models.trained:
        learner.zero_grad()
    for part_b in micro_batches(rows_b, row_lengths(rollout), models.policy.token_budget):
        logprobs_bt, current = models.current(packed(rollout, part_b), algorithm.columns)
        mini = _minibatch(batch, advantages_BT, part_b, logprobs_bt, current)
        made = algorithm.loss(mini)
        shares = [
            (term, reduced(_corrected(term, mini), mini.mask_BT, term.reduction, counts))
            for term in made.terms
        ]
        total = torch.stack([term.weight * share for term, share in shares]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        totals.add_terms(shares)
        means = {**made.diagnostics, "actor/entropy": current["entropy_BT"]}
        totals.add_means(means, mini.mask_BT, counts)
    norm, rate = models.policy.step(batch.progress)
    metrics = {**totals.values, "actor/grad_norm": norm, "actor/lr": rate}
    if models.critic is not None:
        norm, rate = models.critic.step(batch.progress)
        metrics |= {"critic/grad_norm": norm, "critic/lr": rate}
    return metrics


def _corrected(term: LossTerm, mini: Minibatch) -> Tensor:
    """The term's values, those of the policy term weighted against the sampler's mismatch."""
    if term.name != "policy" or "importance_BT" not in mini.columns:
        return term.values
    weight_BT = mini["importance_BT"]
    if term.values.dim() == 1:  # a loss per response: the mean weight of its tokens
        return term.values * sequence_mean(weight_BT, mini.mask_BT)
    return term.values * weight_BT


def _minibatch(
    batch: Batch,
    advantages_BT: Tensor,
    part_b: Tensor,
    logprobs_bt: Tensor,
    current: Mapping[str, Tensor],
) -> Minibatch:
    """Some rows of a batch, per-token columns cut to their longest response."""
    width = logprobs_bt.shape[1]
    columns = {
        name: x[part_b, :width] if name.endswith("_BT") else x[part_b]
        for name, x in batch.columns.items()
    }
    return Minibatch(
        logprobs_BT=logprobs_bt,
        advantages_BT=advantages_BT[part_b, :width].to(logprobs_bt.dtype),
        mask_BT=batch.mask_BT[part_b, :width],
        budget=batch.budget,
        columns={**columns, **current},
        progress=batch.progress,
    )


@dataclass
class _Totals:
    """Metrics of one optimizer step, summed over its forward passes."""

    values: dict[str, float] = field(default_factory=dict)

    def add_terms(self, shares: list[tuple[LossTerm, Tensor]]) -> None:
        for term, share in shares:
            self._add(TERM_METRICS[term.name], share.item())

    def add_means(self, tokens: Mapping[str, Tensor], mask_bt: Tensor, counts: Counts) -> None:
        for name, x_bt in tokens.items():
            share = reduced(x_bt.detach(), mask_bt, Reduction.TOKEN_MEAN, counts)
            self._add(name, share.item())

    def _add(self, name: str, value: float) -> None:
        self.values[name] = math.fsum((self.values.get(name, 0.0), value))
