"""The policy: a causal language model that scores responses and takes optimizer steps."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness import checks
from harness.batching import micro_batches
from harness.errors import ConfigError
from harness.tensor_ops import Counts, Reduction, entropy, reduced
from harness.types import Batch, Loss, LossTerm, Minibatch, Rollout

# Which metric a loss term is recorded under.
TERM_METRICS = {
    "policy": "actor/pg_loss",
    "kl": "actor/kl_loss",
    "entropy": "actor/entropy_loss",
}


@dataclass(frozen=True)
class Optimizer:
    """AdamW and the learning rate's schedule: a linear warm-up, then constant.

    Attributes:
        learning_rate: after the warm-up.
        warmup: share of the budget over which the rate rises.
        clip: largest norm of the gradient.
    """

    learning_rate: float = 3e-4
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warmup: float = 0.1
    clip: float = 1.0

    def __post_init__(self) -> None:
        checks.above("trainer.optimizer.learning_rate", self.learning_rate, 0)
        checks.above("trainer.optimizer.clip", self.clip, 0)
        if not 0 <= self.warmup <= 1:
            raise ConfigError(
                f"trainer.optimizer.warmup is a share and must be in [0, 1], received {self.warmup}"
            )

    def rate(self, progress: float) -> float:
        """Learning rate when the share `progress` of the budget is used; it starts at a tenth."""
        if self.warmup == 0:
            return self.learning_rate
        return self.learning_rate * min(1.0, 0.1 + 0.9 * progress / self.warmup)


class Policy:
    """A model with its optimizer; without one it only scores (the reference)."""

    def __init__(
        self, model: Any, temperature: float, token_budget: int, optimizer: Optimizer | None = None
    ) -> None:
        self.model = model
        self.temperature = temperature
        self.token_budget = token_budget
        self.settings = optimizer
        self.optimizer: torch.optim.AdamW | None = None
        if optimizer is None:
            model.requires_grad_(False)
        else:
            self.optimizer = torch.optim.AdamW(
                model.parameters(),
                lr=optimizer.learning_rate,
                betas=(optimizer.beta1, optimizer.beta2),
                eps=optimizer.epsilon,
                weight_decay=optimizer.weight_decay,
            )

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names and full tensors, for the rollout engine."""
        for name, parameter in self.model.named_parameters():
            yield name, parameter.detach()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer."""
        assert self.optimizer is not None
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict."""
        assert self.optimizer is not None
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def score(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Log-probs of the sampled tokens and entropies, both float32 (B,T), 0 off the mask."""
        logprobs_BT = torch.zeros(rollout.mask_BT.shape)
        entropy_BT = torch.zeros(rollout.mask_BT.shape)
        rows_B = torch.arange(len(rollout.prompts))
        for rows_b in micro_batches(rows_B, _row_lengths(rollout), self.token_budget):
            logprobs_bt, entropy_bt = self._forward(rollout, rows_b)
            mask_bt = rollout.mask_BT[rows_b, : logprobs_bt.shape[1]]
            logprobs_BT[rows_b, : logprobs_bt.shape[1]] = logprobs_bt.masked_fill(~mask_bt, 0.0)
            entropy_BT[rows_b, : entropy_bt.shape[1]] = entropy_bt.masked_fill(~mask_bt, 0.0)
        return logprobs_BT, entropy_BT

    def update(
        self,
        rollout: Rollout,
        batch: Batch,
        advantages_BT: Tensor,
        rows_b: Tensor,
        loss: Callable[[Minibatch], Loss],
        progress: float,
    ) -> dict[str, float]:
        """One optimizer step on some rows; returns the metrics of the step.

        Every term is divided by counts of the whole optimizer batch before the first backward, so
        neither loss nor gradient depends on how the rows are cut into forward passes.
        """
        assert self.optimizer is not None
        assert self.settings is not None
        counts = Counts.of(batch.mask_BT[rows_b], batch.budget)
        totals = _Totals()
        self.optimizer.zero_grad(set_to_none=True)
        for part_b in micro_batches(rows_b, _row_lengths(rollout), self.token_budget):
            logprobs_bt, entropy_bt = self._forward(rollout, part_b)
            mini = _minibatch(batch, advantages_BT, part_b, logprobs_bt, entropy_bt)
            made = loss(mini)
            shares = [(term, _share(term, mini.mask_BT, counts)) for term in made.terms]
            total = torch.stack([term.weight * share for term, share in shares]).sum()
            total.backward()  # type: ignore[no-untyped-call]
            totals.add_terms(shares)
            means = {**made.diagnostics, "actor/entropy": entropy_bt}
            totals.add_means(means, mini.mask_BT, counts)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(progress)
        self.optimizer.step()
        return {
            **totals.values,
            "actor/grad_norm": float(norm),
            "actor/lr": self.settings.rate(progress),
        }

    def _forward(self, rollout: Rollout, rows_b: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies of some rows' response tokens, (b,t) with t their longest.

        Rows stand on the left, prompt then response, and are padded on the right, where a causal
        model cannot see: no attention mask is needed.
        """
        rows = rows_b.tolist()
        prompts = [torch.tensor(rollout.prompt_ids[i]) for i in rows]
        lengths = rollout.lengths_B[rows_b].tolist()
        inputs = [
            torch.cat([ids, rollout.tokens_BT[i, :length]])
            for ids, i, length in zip(prompts, rows, lengths, strict=True)
        ]
        inputs_bS = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True)
        first = min(len(ids) for ids in prompts) - 1
        logits_bsV = self.model(
            input_ids=inputs_bS, use_cache=False, logits_to_keep=inputs_bS.shape[1] - first
        ).logits[:, :-1]
        logits_bsV = logits_bsV.float() / self.temperature
        targets_bs = inputs_bS[:, first + 1 :, None]
        logprobs_bs = logits_bsV.log_softmax(-1).gather(-1, targets_bs)[..., 0]
        with torch.no_grad():
            entropy_bs = entropy(logits_bsV)
        offset_b1 = torch.tensor([len(ids) - 1 - first for ids in prompts])[:, None]
        position_bt = offset_b1 + torch.arange(max(lengths))
        position_bt = position_bt.clamp(max=logprobs_bs.shape[1] - 1)
        return logprobs_bs.gather(1, position_bt), entropy_bs.gather(1, position_bt)


def annotated(
    rollout: Rollout, columns: frozenset[str], policy: Policy, reference: Policy
) -> dict[str, Tensor]:
    """The (B,T) columns that an algorithm declares, without gradient.

    old_logprobs_BT are the trainer's own, computed here once, before the first update.
    """
    made = {"old_logprobs_BT": policy.score(rollout)[0]}
    if "ref_logprobs_BT" in columns:
        made["ref_logprobs_BT"] = reference.score(rollout)[0]
    if "rollout_logprobs_BT" in columns:
        made["rollout_logprobs_BT"] = rollout.logprobs_BT
    return made


def _minibatch(
    batch: Batch, advantages_BT: Tensor, part_b: Tensor, logprobs_bt: Tensor, entropy_bt: Tensor
) -> Minibatch:
    """Some rows of a batch, cut to their longest response."""
    width = logprobs_bt.shape[1]
    columns = {name: x_BT[part_b, :width] for name, x_BT in batch.columns.items()}
    return Minibatch(
        logprobs_BT=logprobs_bt,
        advantages_BT=advantages_BT[part_b, :width].to(logprobs_bt.dtype),
        mask_BT=batch.mask_BT[part_b, :width],
        budget=batch.budget,
        columns={**columns, "entropy_BT": entropy_bt},
    )


def _row_lengths(rollout: Rollout) -> Tensor:
    return torch.tensor([len(ids) for ids in rollout.prompt_ids]) + rollout.lengths_B


def _share(term: LossTerm, mask_bt: Tensor, counts: Counts) -> Tensor:
    return reduced(term.values, mask_bt, term.reduction, counts)


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
