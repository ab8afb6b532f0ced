"""Values: advantages from a critic's, its loss, and the optimal value V*.

Shapes as in harness.maths.tensor_ops. Positions whose mask is 0 are skipped by the recursions and
have no influence.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from harness import checks
from harness.errors import ConfigError
from harness.maths.tensor_ops import masked_mean

# Keeps the share finite where all returns are equal; the same as TinyZero's.
VARIANCE_EPSILON = 1e-5
# Keep a weight finite where all advantages are equal, or far below zero; the same as the seed's.
STD_EPSILON, BETA_EPSILON, MEAN_FLOOR = 1e-6, 1e-8, 1e-6


@dataclass(frozen=True)
class CriticSettings:
    """The critic.

    Attributes:
        shared: a head on the policy's own backbone instead of a model of its own.
        path: folder or hub name of its first weights; null takes the base model's.
        learning_rate: null takes the policy's.
        warmup: share of the budget in which only the critic is trained; of a shared one its head.
    """

    shared: bool = False
    path: str | None = None
    learning_rate: float | None = None
    warmup: float = 0.0

    def __post_init__(self) -> None:
        checks.above("algorithm.critic.learning_rate", self.learning_rate, 0)
        if not 0 <= self.warmup < 1:
            raise ConfigError(
                f"algorithm.critic.warmup must be a share in [0, 1), received {self.warmup}"
            )
        if self.shared and self.path is not None:
            raise ConfigError(
                f"algorithm.critic.path={self.path!r} names weights of its own, but "
                f"algorithm.critic.shared=true has none; set one of the two"
            )


def gae(
    rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam_B: Tensor
) -> Tensor:
    """Σ_l (γλ)^l δ_{t+l}, δ_t = r_t + γ V_{t+1} - V_t (arXiv 1506.02438 eq. 16); (B,T).

    After the last response token the value is 0. 0 where the mask is 0.

    Args:
        lam_B: (B,), λ of each response.
    """
    mask_BT = mask_BT.bool()
    rewards_BT = rewards_BT.masked_fill(~mask_BT, 0.0)
    values_BT = values_BT.masked_fill(~mask_BT, 0.0)
    following_B = torch.zeros_like(rewards_BT[:, 0])
    advantage_B = torch.zeros_like(following_B)
    found: list[Tensor] = []
    for t in reversed(range(rewards_BT.shape[1])):
        delta_B = rewards_BT[:, t] + gamma * following_B - values_BT[:, t]
        here_B = mask_BT[:, t]
        advantage_B = torch.where(here_B, delta_B + gamma * lam_B * advantage_B, advantage_B)
        following_B = torch.where(here_B, values_BT[:, t], following_B)
        found.append(advantage_B)
    return torch.stack(found[::-1], dim=1).masked_fill(~mask_BT, 0.0)


def to_go(rewards_BT: Tensor, mask_BT: Tensor, gamma: float = 1.0) -> Tensor:
    """Σ_{s ≥ t} γ^(s-t) r_s over response tokens: the return from each token on; (B,T)."""
    zeros_BT = torch.zeros_like(rewards_BT)
    ones_B = rewards_BT.new_ones(len(rewards_BT))
    return gae(rewards_BT, zeros_BT, mask_BT, gamma, ones_B)


def length_lambda(mask_BT: Tensor, alpha: float) -> Tensor:
    """λ = max(0, 1 - 1/(α length)): long responses look further (VAPO, arXiv 2504.05118); (B,)."""
    lengths_B = mask_BT.sum(-1).clamp(min=1).to(torch.float64)
    return (1 - 1 / (alpha * lengths_B)).clamp(min=0)


@dataclass(frozen=True)
class ValueLoss:
    """Per-token loss of the critic, and where its clipped term is the larger one; (B,T)."""

    loss_BT: Tensor
    clipped_BT: Tensor


def value_loss(
    values_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor, clip: float | None
) -> ValueLoss:
    """1/2 max((V - R)², (clip(V, V_old ± clip) - R)²); None switches the clip off."""
    plain_BT = (values_BT - returns_BT) ** 2
    if clip is None:
        return ValueLoss(plain_BT / 2, torch.zeros_like(plain_BT))
    near_BT = torch.maximum(torch.minimum(values_BT, old_values_BT + clip), old_values_BT - clip)
    clipped_BT = (near_BT - returns_BT) ** 2
    loss_BT = torch.maximum(plain_BT, clipped_BT) / 2
    return ValueLoss(loss_BT, (clipped_BT > plain_BT).to(loss_BT.dtype))


def explained_variance(returns_BT: Tensor, values_BT: Tensor, mask_BT: Tensor) -> float:
    """1 - var(R - V) / var(R) over response tokens: 1 for a perfect critic, 0 for a constant."""

    def variance(x_BT: Tensor) -> float:
        return masked_mean((x_BT - masked_mean(x_BT, mask_BT)) ** 2, mask_BT).item()

    return 1 - variance(returns_BT - values_BT) / (variance(returns_BT) + VARIANCE_EPSILON)


def v_star(rewards_BN: Tensor, beta: float) -> Tensor:
    """V* = β log(1/N Σ_j exp(r_j / β)) over N responses of the base (arXiv 2505.20686 eq. 4); (B,).

    β towards 0 gives the best of them, towards infinity their mean.
    """
    samples = torch.tensor(float(rewards_BN.shape[-1]), dtype=rewards_BN.dtype)
    return beta * (torch.logsumexp(rewards_BN / beta, dim=-1) - samples.log())


class Scheme(Enum):
    """How an advantage becomes a weight."""

    NORMALIZED_ADVANTAGE = "normalized_advantage"
    EXP = "exp"
    SHIFTED_ADVANTAGE = "shifted_advantage"


def weights(
    rewards_B: Tensor,
    v_star_B: Tensor,
    scheme: Scheme,
    adv_clip: float,
    weight_min: float,
    weight_max: float,
    beta: float,
) -> Tensor:
    """Weights of A*-PO's weighted cross-entropy, A = r - V*; (B,).

    normalized_advantage: clip(z + 1, weight_min, weight_max), z = clip((A - mean)/std, ±adv_clip);
    shifted_advantage: z + adv_clip; exp: exp(A / beta) over its mean. A batch of one has no spread:
    its weight is 1.
    """
    advantage_B = rewards_B - v_star_B
    if len(advantage_B) == 1:
        return torch.ones_like(advantage_B)
    if scheme is Scheme.EXP:
        weight_B = (advantage_B / (beta + BETA_EPSILON)).exp()
        return weight_B / weight_B.mean().clamp(min=MEAN_FLOOR)
    z_B = (advantage_B - advantage_B.mean()) / (advantage_B.std() + STD_EPSILON)
    z_B = z_B.clamp(-adv_clip, adv_clip)
    if scheme is Scheme.NORMALIZED_ADVANTAGE:
        return (z_B + 1).clamp(weight_min, weight_max)
    return z_B + adv_clip
