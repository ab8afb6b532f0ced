"""Named primitives on tensors, shared by the algorithms and the core.

Shapes: `P` prompts, `G` samples per prompt, `B = P*G` responses, `T` response tokens,
`V` vocabulary. `mask_BT` is 1 on response tokens up to and including the end token.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

# exp() of a clamped log-ratio stays finite in float32; the same bound as verl's.
MAX_LOG_RATIO = 20.0
# Bounds the k3 estimate where the policies have nothing in common; the same as verl's.
MAX_K3 = 10.0
# Keeps the square root of a variance finite when all values are equal; the same as verl's.
WHITEN_EPSILON = 1e-8


class Reduction(Enum):
    """How one number is made of the values of a loss term."""

    TOKEN_MEAN = "token_mean"
    """(B,T): the mean of all tokens; a long response counts more."""
    SEQUENCE_MEAN_TOKEN_MEAN = "sequence_mean_token_mean"
    """(B,T): the mean of responses' means; each counts the same (GRPO)."""
    SEQUENCE_MEAN_TOKEN_SUM = "sequence_mean_token_sum"
    """(B,T): the mean of responses' sums."""
    CONSTANT_BUDGET = "constant_budget"
    """(B,T): the mean of responses' sums, divided by the budget C (Dr. GRPO)."""
    SEQUENCE_MEAN = "sequence_mean"
    """(B,): the mean of responses that have a token."""
    RESPONSE_MEAN = "response_mean"
    """(B,): the mean of all responses, empty ones as well."""


class KL(Enum):
    """Estimators of KL(policy || reference) from sampled tokens (Schulman, 2020)."""

    K1 = "k1"
    ABS = "abs"
    K2 = "k2"
    K3 = "k3"


@dataclass(frozen=True)
class Counts:
    """What a loss is divided by: counted once over the global optimizer batch.

    Attributes:
        tokens: response tokens.
        sequences: responses with at least one token.
        budget: the maximum response budget C of Dr. GRPO, in tokens.
        responses: all of them, empty ones included.
    """

    tokens: int
    sequences: int
    budget: int
    responses: int = 0

    @classmethod
    def of(cls, mask_BT: Tensor, budget: int) -> "Counts":
        """Counts of the batch whose response mask is (B,T)."""
        sequences = int(mask_BT.bool().any(-1).sum())
        return cls(int(mask_BT.sum()), sequences, budget, len(mask_BT))


def reduced(values: Tensor, mask_BT: Tensor, reduction: Reduction, counts: Counts) -> Tensor:
    """This part's share of a loss term: the shares of all micro-batches add up to the term.

    Args:
        values: (B,T) per token, or (B,) per response for SEQUENCE_MEAN, whose empty rows are no
            sequences, and RESPONSE_MEAN, which counts every row.
        mask_BT: (B,T) response mask of the same rows.
        reduction: how values are combined.
        counts: denominators of the global optimizer batch. An empty batch gives 0.

    Returns:
        A scalar with gradient.
    """
    if reduction is Reduction.RESPONSE_MEAN:
        return values.sum() / max(counts.responses, 1)
    mask = mask_BT.to(values.dtype)
    sequences = max(counts.sequences, 1)
    if reduction is Reduction.SEQUENCE_MEAN:
        return values.masked_fill(~mask_BT.bool().any(-1), 0.0).sum() / sequences
    masked_BT = values.masked_fill(mask == 0, 0.0)
    if reduction is Reduction.TOKEN_MEAN:
        return masked_BT.sum() / max(counts.tokens, 1)
    sums_B = masked_BT.sum(-1)
    if reduction is Reduction.SEQUENCE_MEAN_TOKEN_MEAN:
        sums_B = sums_B / mask.sum(-1).clamp(min=1)
    if reduction is Reduction.CONSTANT_BUDGET:
        sums_B = sums_B / counts.budget
    return sums_B.sum() / sequences


def masked_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over all response tokens; 0 when there is none. Values under mask 0 never matter."""
    return reduced(values_BT, mask_BT, Reduction.TOKEN_MEAN, Counts.of(mask_BT, budget=1))


def masked_whiten(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + 1e-8) over all response tokens, 0 elsewhere; (B,T).

    The variance is Bessel-corrected. Fewer than two tokens have no variance: they give 0.
    """
    tokens = int(mask_BT.sum())
    if tokens < 2:
        return torch.zeros_like(values_BT)
    values_BT = values_BT.masked_fill(mask_BT == 0, 0.0)
    centred_BT = values_BT - masked_mean(values_BT, mask_BT)
    variance = masked_mean(centred_BT**2, mask_BT) * tokens / (tokens - 1)
    return (centred_BT * torch.rsqrt(variance + WHITEN_EPSILON)).masked_fill(mask_BT == 0, 0.0)


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits) over the last axis: (..., V) -> (...)."""
    log_p = torch.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


def full_kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """KL(policy || reference) in nats over the whole vocabulary, exact: (..., V) -> (...)."""
    log_p, log_q = torch.log_softmax(logits, dim=-1), torch.log_softmax(ref_logits, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def log_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor) -> Tensor:
    """log(new / old), clamped to ±MAX_LOG_RATIO; (B,T)."""
    return (logprobs_BT - old_logprobs_BT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, kind: KL) -> Tensor:
    """Elementwise estimate of KL(policy || reference) in nats, d = logprobs - ref_logprobs.

    k1 = d, abs = |d|, k2 = d²/2, k3 = exp(-d) + d - 1, the last with d clamped to ±20 and the
    result to ±10 (Schulman, "Approximating KL divergence", 2020).
    """
    d = logprobs - ref_logprobs
    if kind is KL.K1:
        return d
    if kind is KL.ABS:
        return d.abs()
    if kind is KL.K2:
        return d**2 / 2
    d = d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return (torch.expm1(-d) + d).clamp(-MAX_K3, MAX_K3)


@dataclass(frozen=True)
class Clipped:
    """Per-token policy loss of PPO and its diagnostics, each (B,T)."""

    loss_BT: Tensor
    clipped_BT: Tensor
    kl_BT: Tensor


def clipped_policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Clipped:
    """max(-A r, -A clip(r, 1-clip_low, 1+clip_high)), r = new/old (PPO, arXiv 1707.06347 eq. 7).

    Args:
        dual_clip: c > 1 bounds the loss of tokens with A < 0 by -A c (arXiv 1912.09729 eq. 5);
            None switches it off.

    Returns:
        The unreduced loss, where the clipped term is the larger one, and log(old/new).
    """
    log_r_BT = log_ratio(logprobs_BT, old_logprobs_BT)
    ratio_BT = log_r_BT.exp()
    plain_BT = -advantages_BT * ratio_BT
    clipped_BT = -advantages_BT * ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    loss_BT = torch.maximum(plain_BT, clipped_BT)
    if dual_clip is not None:
        bounded_BT = torch.minimum(loss_BT, -advantages_BT * dual_clip)
        loss_BT = torch.where(advantages_BT < 0, bounded_BT, loss_BT)
    return Clipped(loss_BT, (clipped_BT > plain_BT).to(loss_BT.dtype), -log_r_BT)


def _group_index(group_B: Tensor) -> tuple[Tensor, Tensor]:
    """Dense group number of each row and the size of each row's group, both (B,)."""
    _, index_B, sizes = torch.unique(group_B, return_inverse=True, return_counts=True)
    return index_B, sizes[index_B]


def group_center(x_B: Tensor, group_B: Tensor) -> Tensor:
    """x minus the mean of its group; a group of one is left as it is (mean 0, as in verl)."""
    index_B, size_B = _group_index(group_B)
    total = x_B.new_zeros(int(index_B.max()) + 1).index_add_(0, index_B, x_B)
    return torch.where(size_B == 1, x_B, x_B - total[index_B] / size_B)


def group_std(x_B: Tensor, group_B: Tensor) -> Tensor:
    """Bessel-corrected standard deviation of each row's group; 1 for a group of one; (B,)."""
    index_B, size_B = _group_index(group_B)
    squares_B = group_center(x_B, group_B) ** 2
    total = x_B.new_zeros(int(index_B.max()) + 1).index_add_(0, index_B, squares_B)
    std_B = (total[index_B] / (size_B - 1).clamp(min=1)).sqrt()
    return torch.where(size_B == 1, torch.ones_like(x_B), std_B)


def group_normalize(x_B: Tensor, group_B: Tensor, epsilon: float) -> Tensor:
    """(x - mean) / (std + epsilon) within each group (GRPO, arXiv 2402.03300 section 4.1.2); (B,).

    Equal values give 0; a group of one keeps its value over 1 + epsilon.
    """
    return group_center(x_B, group_B) / (group_std(x_B, group_B) + epsilon)


def has_signal(x_B: Tensor, group_B: Tensor) -> Tensor:
    """Rows of groups whose values are not all equal, or that have one member; bool (B,).

    DAPO's dynamic sampling keeps them (arXiv 2503.14476 eq. 11).
    """
    index_B, size_B = _group_index(group_B)
    groups = int(index_B.max()) + 1
    highest = x_B.new_zeros(groups).scatter_reduce(0, index_B, x_B, "amax", include_self=False)
    lowest = x_B.new_zeros(groups).scatter_reduce(0, index_B, x_B, "amin", include_self=False)
    return (highest > lowest)[index_B] | (size_B == 1)


def leave_one_out(x_B: Tensor, group_B: Tensor) -> Tensor:
    """RLOO: x minus the mean of the other members, n/(n-1) (x - mean) (arXiv 2402.14740)."""
    _, size_B = _group_index(group_B)
    return group_center(x_B, group_B) * size_B / (size_B - 1).clamp(min=1)


def sequence_mean(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the tokens of each response, 0 for an empty one; (B,)."""
    mask = mask_BT.bool()
    return x_BT.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


def truncated_importance(
    old_logprobs_BT: Tensor, rollout_logprobs_BT: Tensor, mask_BT: Tensor, cap: float, level: str
) -> Tensor:
    """Weights min(π_old / π_rollout, cap) against the sampler's mismatch; (B,T), 0 off the mask.

    Args:
        level: "token", or "sequence" for the ratio of whole responses, on each of their tokens.
    """
    mask = mask_BT.bool()
    ratio_BT = (old_logprobs_BT - rollout_logprobs_BT).masked_fill(~mask, 0.0)
    if level == "sequence":
        ratio_BT = ratio_BT.sum(-1, keepdim=True).expand_as(ratio_BT)
    weight_BT = ratio_BT.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=cap)
    return weight_BT.masked_fill(~mask, 0.0).detach()


def on_tokens(x_B: Tensor, mask_BT: Tensor) -> Tensor:
    """(B,) -> (B,T): the response's value on each of its tokens, 0 elsewhere."""
    return torch.where(mask_BT.bool(), x_B[:, None], 0.0)


def on_last_token(x_B: Tensor, mask_BT: Tensor) -> Tensor:
    """(B,) -> (B,T): the response's value on its last token, 0 elsewhere; empty rows stay 0."""
    positions_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    last_B = mask_BT.long().sum(-1) - 1
    return torch.where(positions_T == last_B[:, None], x_B[:, None], 0.0)
