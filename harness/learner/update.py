"""One optimizer step, and the columns that an algorithm asks for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.contract import estimated, lost
from harness.distributed.ranks import Ranks
from harness.distributed.sharding import whole
from harness.learner.batching import Packed, packed, passes, row_lengths
from harness.learner.columns import OLD, Awaited, OldLogprobs, joined
from harness.learner.critic import Critic
from harness.learner.finite import Gradients, check_current, check_loss, check_sampled, unsound
from harness.learner.policy import Learner, Policy
from harness.machine.progress import Unit, advance
from harness.maths.tensor_ops import (
    Counts,
    Reduction,
    reduced,
    sequence_mean,
    truncated_importance,
)
from harness.protocols import Algorithm
from harness.types import Batch, Loss, LossTerm, Minibatch, Rollout

# Which metric a loss term is recorded under.
TERM_METRICS = {
    "policy": "actor/pg_loss",
    "kl": "actor/kl_loss",
    "entropy": "actor/entropy_loss",
    "value": "critic/vf_loss",
}

PADDING = "actor/padding"


@dataclass(frozen=True, kw_only=True)
class Models:
    """What is trained, and what it is compared with."""

    policy: Policy
    reference: Policy
    critic: Critic | None = None
    importance_cap: float | None = None
    """Bound of the weights against the sampler's mismatch; None: no weights."""
    old: OldLogprobs = OldLogprobs.TRAINER

    def annotated(
        self, rollout: Rollout, columns: frozenset[str], first_b: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """The columns that an algorithm declares and that are known before the first update.

        old_logprobs_BT are the sampler's, or the trainer's own, computed once: here, or where the
        first update computes the same bits anyway, there.

        Args:
            first_b: the rows that the first update will learn from; None: not known.
        """
        sampled = self.old is OldLogprobs.SAMPLER
        later = sampled or (first_b is not None and self.importance_cap is None)
        made: dict[str, Tensor] = {}
        # The policy's come first: where both are no numbers, its weights are the cause.
        if not later or unsound(rollout):
            made[OLD] = self.policy.logprobs(rollout)
        check_sampled(rollout)
        if sampled:
            made[OLD] = rollout.logprobs_BT
        if "ref_logprobs_BT" in columns:
            made["ref_logprobs_BT"] = self.reference.logprobs(rollout)
        if "rollout_logprobs_BT" in columns:
            made["rollout_logprobs_BT"] = rollout.logprobs_BT
        if self.critic is not None:
            made["old_values_BT"] = self.critic.score(rollout)
        if self.importance_cap is not None:
            made["importance_BT"] = truncated_importance(
                made[OLD],
                rollout.logprobs_BT,
                rollout.mask_BT,
                self.importance_cap,
                "token",
            )
        if not later:
            return made
        if sampled or first_b is None:
            return Awaited(made)
        return self._awaiting(rollout, made, first_b)

    def _awaiting(self, rollout: Rollout, made: dict[str, Tensor], first_b: Tensor) -> Awaited:
        """The columns, the old log-probs known of all but the rows of the first update."""
        others_b = _others(first_b, len(rollout.prompts))
        others_BT = self.policy.logprobs(rollout, others_b) if len(others_b) else None
        return Awaited(made, partial(self.policy.logprobs, rollout, first_b), others_BT)

    @property
    def trained(self) -> tuple[Learner, ...]:
        """The models with an optimizer."""
        return (self.policy,) if self.critic is None else (self.policy, self.critic)

    def forget(self) -> None:
        """Free the gradients: nothing reads them after a step, and they are as large as weights."""
        for learner in self.trained:
            learner.zero_grad()

    def held(self, progress: float) -> bool:
        """Whether the policy stands still: while its critic warms up."""
        return self.critic is not None and progress < self.critic.warmup

    def state_dict(self) -> dict[str, Any]:
        """What is trained, in this rank's shards."""
        named = zip(("policy", "critic"), self.trained, strict=False)
        return {name: learner.state_dict() for name, learner in named}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict."""
        for name, learner in zip(("policy", "critic"), self.trained, strict=False):
            learner.load_state_dict(state[name])

    def current(self, inputs: Packed, columns: frozenset[str]) -> dict[str, Tensor]:
        """What moves with the policy, of some rows: (b,t) columns, logprobs_BT among them."""
        exact = "kl_full_BT" in columns
        working = (*self.trained, self.reference) if exact else self.trained
        self.policy.layout.moves.at_hand(*(learner.weights_state for learner in working))
        reference = self.reference.hidden(inputs) if exact else None
        made: dict[str, Tensor] = self.policy.module(inputs, columns, reference)
        if self.critic is not None and not self.critic.shared:
            made["values_BT"] = self.critic.values(inputs)
        return made


def estimates(algorithm: Algorithm, batch: Batch) -> tuple[Batch, Tensor, Mapping[str, float]]:
    """The batch with the algorithm's own columns added, its (B,T) advantages and its metrics."""
    made = estimated(algorithm, batch)
    columns = joined(batch.columns, made.columns)
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
    totals, gradients = _Totals(), Gradients()
    models.forget()
    layout = models.policy.layout
    awaited = _awaited(batch)
    lengths_B = row_lengths(rollout)
    for part in passes(rows_b, lengths_B, layout.token_budget, layout.ranks):
        totals.add_read(lengths_B[part.rows_b], part.counts)
        current = models.current(packed(rollout, part.rows_b), algorithm.columns)
        if awaited is not None:
            awaited.learn(part, current["logprobs_BT"].detach())
        if not part.counts:
            _backward_of_nothing(current)
            continue
        mini = _minibatch(batch, advantages_BT, part.rows_b, current)
        check_current(current, mini.mask_BT, batch.progress)
        gradients.watch(current)
        made = lost(algorithm, mini, TERM_METRICS)
        totals.add_terms(_descended(made, mini, counts, algorithm))
        means = {**made.diagnostics, "actor/entropy": current["entropy_BT"]}
        totals.add_means(means, mini.mask_BT, counts)
        advance(Unit.RESPONSES, len(part.rows_b) * layout.ranks.count)
    if awaited is not None:
        awaited.settle(rows_b, batch.mask_BT, layout.ranks)
    stepped = _stepped(models, gradients, algorithm, batch.progress)
    return totals.over(layout.ranks) | stepped


def _stepped(
    models: Models, gradients: Gradients, algorithm: Algorithm, progress: float
) -> dict[str, float]:
    """All optimizers' steps, once every gradient is known to be finite; their metrics."""
    held = models.held(progress)
    if held:
        models.policy.hold()
    norms = [learner.norm() for learner in models.trained]
    lengths = [float(whole(norm)) for norm in norms]
    for learner, length in zip(models.trained, lengths, strict=True):
        gradients.check(length, learner.module, algorithm, progress, learner.layout.ranks)
    metrics: dict[str, float] = {}
    for i, learner in enumerate(models.trained):
        name = ("actor", "critic")[i]
        rate = learner.step(progress, norms[i], held=held and learner is models.policy)
        metrics |= {f"{name}/grad_norm": lengths[i], f"{name}/lr": rate}
    return metrics


def _descended(
    made: Loss, mini: Minibatch, counts: Counts, algorithm: Algorithm
) -> list[tuple[LossTerm, Tensor]]:
    """The gradient of some rows, added to what is there; their share of each term."""
    shares = [
        (term, reduced(_corrected(term, mini), mini.mask_BT, term.reduction, counts))
        for term in made.terms
    ]
    total = torch.stack([term.weight * share for term, share in shares]).sum()
    check_loss(total, [term.name for term in made.terms], algorithm, mini.progress)
    total.backward()  # type: ignore[no-untyped-call]
    return shares


def _backward_of_nothing(current: Mapping[str, Tensor]) -> None:
    """A gradient of 0: the other ranks wait for this one's."""
    terms = [0.0 * column_BT.sum() for column_BT in current.values() if column_BT.requires_grad]
    torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]


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
    current: Mapping[str, Tensor],
) -> Minibatch:
    """Some rows of a batch, per-token columns cut to their longest response."""
    logprobs_bt = current["logprobs_BT"]
    width = logprobs_bt.shape[1]
    columns = {
        name: x[part_b, :width] if name.endswith("_BT") else x[part_b]
        for name, x in batch.columns.items()
    }
    if _awaited(batch) is not None:
        columns.setdefault(OLD, logprobs_bt.detach())
    return Minibatch(
        logprobs_BT=logprobs_bt,
        advantages_BT=advantages_BT[part_b, :width].to(logprobs_bt.dtype),
        mask_BT=batch.mask_BT[part_b, :width],
        budget=batch.budget,
        columns={**columns, **current},
        progress=batch.progress,
    )


def _others(rows_b: Tensor, count: int) -> Tensor:
    """The rows among so many that are not these, in order."""
    rows_B = torch.arange(count)
    return rows_B[~torch.isin(rows_B, rows_b)]


def _awaited(batch: Batch) -> Awaited | None:
    """The batch's columns, if they have still to learn of the trainer's log-probs."""
    columns = batch.columns
    return columns if isinstance(columns, Awaited) and columns.open else None


@dataclass
class _Totals:
    """Metrics of one optimizer step, summed over its forward passes."""

    values: dict[str, float] = field(default_factory=dict)
    read: dict[str, float] = field(default_factory=lambda: {"tokens": 0.0, "positions": 0.0})
    """What went through the model, padding and dummy passes included, and what of it was meant."""

    def over(self, ranks: Ranks) -> dict[str, float]:
        """Those of all ranks; each must call it."""
        found = ranks.summed(self.values | self.read)
        share = found.pop("tokens") / found.pop("positions")
        return found | {PADDING: 1 - share}

    def add_read(self, lengths_b: Tensor, counts: bool) -> None:
        """A pass over rows of so many tokens, padded to the longest."""
        self.read["tokens"] += float(lengths_b.sum()) if counts else 0.0
        self.read["positions"] += float(lengths_b.max() * len(lengths_b))

    def add_terms(self, shares: list[tuple[LossTerm, Tensor]]) -> None:
        for term, share in shares:
            self._add(TERM_METRICS[term.name], share.item())

    def add_means(self, tokens: Mapping[str, Tensor], mask_bt: Tensor, counts: Counts) -> None:
        for name, x_bt in tokens.items():
            share = reduced(x_bt.detach(), mask_bt, Reduction.TOKEN_MEAN, counts)
            self._add(name, share.item())

    def _add(self, name: str, value: float) -> None:
        self.values[name] = math.fsum((self.values.get(name, 0.0), value))
