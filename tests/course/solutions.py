"""One solution of every exercise: what the tests put into the notebooks' blanks."""

import itertools
import math

import numpy as np
import torch

from harness.maths.returns import ValueLoss
from harness.maths.tensor_ops import (
    MAX_LOG_RATIO,
    WHITEN_EPSILON,
    Clipped,
    Reduction,
    masked_mean,
)


def to_go(rewards_BT, mask_BT, gamma):
    returns_BT = torch.zeros_like(rewards_BT)
    running_B = torch.zeros_like(rewards_BT[:, 0])
    for t in reversed(range(rewards_BT.shape[1])):
        kept_B = torch.where(mask_BT[:, t], rewards_BT[:, t], 0.0)
        running_B = kept_B + gamma * running_B
        returns_BT[:, t] = torch.where(mask_BT[:, t], running_B, 0.0)
    return returns_BT


def reinforce_loss(logprobs_BT, advantages_BT, mask_BT):
    terms_BT = torch.where(mask_BT, -advantages_BT * logprobs_BT, 0.0)
    return terms_BT.sum() / mask_BT.sum()


def leave_one_out(x_B, group_B):
    found_B = x_B.clone()
    for group in group_B.unique():
        rows = group_B == group
        n = int(rows.sum())
        if n > 1:
            others_B = (x_B[rows].sum() - x_B[rows]) / (n - 1)
            found_B[rows] = x_B[rows] - others_B
    return found_B


def gae(rewards_BT, values_BT, mask_BT, gamma, lam_B):
    advantages_BT = torch.zeros_like(values_BT)
    next_value_B = torch.zeros_like(values_BT[:, 0])
    advantage_B = torch.zeros_like(next_value_B)
    for t in reversed(range(values_BT.shape[1])):
        here_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        new_B = delta_B + gamma * lam_B * advantage_B
        advantage_B = torch.where(here_B, new_B, advantage_B)
        next_value_B = torch.where(here_B, values_BT[:, t], next_value_B)
        advantages_BT[:, t] = torch.where(here_B, advantage_B, 0.0)
    return advantages_BT


def masked_whiten(values_BT, mask_BT):
    n = mask_BT.sum()
    kept_BT = torch.where(mask_BT, values_BT, 0.0)
    mean = kept_BT.sum() / n
    centred_BT = torch.where(mask_BT, kept_BT - mean, 0.0)
    variance = (centred_BT**2).sum() / (n - 1)
    return centred_BT / torch.sqrt(variance + WHITEN_EPSILON)


def clipped_policy_loss(logprobs_BT, old_logprobs_BT, advantages_BT, clip_low, clip_high):
    log_r_BT = (logprobs_BT - old_logprobs_BT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio_BT = torch.exp(log_r_BT)
    plain_BT = -advantages_BT * ratio_BT
    near_BT = -advantages_BT * ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    loss_BT = torch.maximum(plain_BT, near_BT)
    clipped_BT = (near_BT > plain_BT).to(loss_BT.dtype)
    return Clipped(loss_BT, clipped_BT, -log_r_BT)


def value_loss(values_BT, old_values_BT, returns_BT, clip):
    plain_BT = (values_BT - returns_BT) ** 2
    if clip is None:
        return ValueLoss(plain_BT / 2, torch.zeros_like(plain_BT))
    moved_BT = (values_BT - old_values_BT).clamp(-clip, clip)
    near_BT = (old_values_BT + moved_BT - returns_BT) ** 2
    loss_BT = torch.maximum(plain_BT, near_BT) / 2
    return ValueLoss(loss_BT, (near_BT > plain_BT).to(loss_BT.dtype))


def entropy(logits):
    log_p = torch.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


def minibatch_update(policy, critic, optimizer, batch, rows_R, ppo):
    own = {name: column[rows_R] for name, column in batch.items()}
    logits_RTV = policy(own["states_BT"])
    values_RT = critic(own["states_BT"])
    log_p_RTV = torch.log_softmax(logits_RTV, dim=-1)
    logprobs_RT = log_p_RTV.gather(-1, own["tokens_BT"][..., None]).squeeze(-1)
    entropy_RT = entropy(logits_RTV)
    clipped = clipped_policy_loss(
        logprobs_RT,
        own["old_logprobs_BT"],
        own["advantages_BT"],
        ppo.clip_low,
        ppo.clip_high,
    )
    value = value_loss(values_RT, own["old_values_BT"], own["returns_BT"], ppo.value_clip)
    loss = (
        masked_mean(clipped.loss_BT, own["mask_BT"])
        + ppo.value_coefficient * masked_mean(value.loss_BT, own["mask_BT"])
        - ppo.entropy_coefficient * masked_mean(entropy_RT, own["mask_BT"])
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {
        "actor/pg_clipfrac": masked_mean(clipped.clipped_BT, own["mask_BT"]).item(),
        "actor/ppo_kl": masked_mean(clipped.kl_BT, own["mask_BT"]).item(),
        "actor/entropy": masked_mean(entropy_RT, own["mask_BT"]).item(),
    }


def group_normalize(x_B, group_B, epsilon):
    found_B = torch.zeros_like(x_B)
    for group in group_B.unique():
        rows = group_B == group
        n = int(rows.sum())
        mean, std = 0.0, 1.0
        if n > 1:
            mean = x_B[rows].mean()
            std = torch.sqrt(((x_B[rows] - mean) ** 2).sum() / (n - 1))
        found_B[rows] = (x_B[rows] - mean) / (std + epsilon)
    return found_B


def reduced(values_BT, mask_BT, reduction, counts):
    kept_BT = torch.where(mask_BT, values_BT, 0.0)
    if reduction is Reduction.TOKEN_MEAN:
        return kept_BT.sum() / max(counts.tokens, 1)
    per_response_B = kept_BT.sum(-1)
    if reduction is Reduction.SEQUENCE_MEAN_TOKEN_MEAN:
        per_response_B = per_response_B / mask_BT.sum(-1).clamp(min=1)
    if reduction is Reduction.CONSTANT_BUDGET:
        per_response_B = per_response_B / counts.budget
    return per_response_B.sum() / max(counts.sequences, 1)


def sign_flip_p(variant, baseline):
    differences = variant - baseline
    seen = abs(differences.sum())
    ways = list(itertools.product([1, -1], repeat=len(differences)))
    sums = [abs((np.array(way) * differences).sum()) for way in ways]
    extreme = sum(s >= seen - 1e-12 for s in sums)
    return extreme / len(ways)


def v_star(rewards_BN, beta):
    n = rewards_BN.shape[-1]
    return beta * (torch.logsumexp(rewards_BN / beta, dim=-1) - math.log(n))


def a_star_po_loss(logprobs_BT, ref_logprobs_BT, mask_BT, rewards_B, v_star_B, beta2):
    log_ratio_BT = torch.where(mask_BT, logprobs_BT - ref_logprobs_BT, 0.0)
    s_B = log_ratio_BT.sum(-1)
    residual_B = beta2 * s_B - (rewards_B - v_star_B)
    return (residual_B**2).mean()


def wanted(window, mean, rate):
    gap = window.current - mean
    if rate >= window.target + window.margin and gap > window.tolerance:
        return window.current - window.shrink
    if rate <= window.target - window.margin:
        return window.current + window.growth
    quiet = window.steps - window.last_change >= window.hold_steps
    if rate >= window.target and abs(gap) <= window.tolerance and quiet:
        return window.current + window.growth
    return window.current


def holm(p):
    m = len(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.zeros(m)
    highest = 0.0
    for k, index in enumerate(order):
        highest = max(highest, min(p[index] * (m - k), 1.0))
        adjusted[index] = highest
    return adjusted


def predictions():
    return [
        ("wrong_length", "less", 2.0, "without 1/length a long wrong response is no cheaper"),
        ("accuracy", "equal", 0.05, "both push the right one up alike"),
    ]
