"""Notebook 2: generalized advantage estimation, and whitening."""

import torch
from torch import Tensor

from harness.commands.parity_ops import Inputs, Outputs
from harness.commands.parity_ops.common import mask, tensor
from harness.exercises.kinds import (
    JUNK,
    Data,
    Exercise,
    Learned,
    Mistake,
    Property,
    by_hand,
    shaped,
)
from harness.exercises.reinforce import BLANKED, MASKED
from harness.maths import returns
from harness.maths import tensor_ops as ops

FORWARDS = (
    "it runs from the first token on: the advantage of t needs that of t + 1, so begin at the last "
    "token"
)
MASK = [[1, 1, 1, 0], [1, 0, 0, 0]]
REWARDS = [[0.0, 0.0, 1.0, 7.0], [0.5, 7.0, 7.0, 7.0]]
VALUES = [[0.2, 0.4, 0.5, 9.0], [0.1, 9.0, 9.0, 9.0]]
# gamma .9, lambda .5, so .45 per step; the value after the last token is 0.
# d2 = 1 - .5 = .5;  d1 = .9*.5 - .4 = .05;  d0 = .9*.4 - .2 = .16
# A2 = .5;  A1 = .05 + .45*.5 = .275;  A0 = .16 + .45*.275 = .28375;  the second: .5 - .1
ADVANTAGES = [[0.28375, 0.275, 0.5, 0.0], [0.4, 0.0, 0.0, 0.0]]


def _raw(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    rewards_BT = tensor(inputs, "rewards")
    lam_B = rewards_BT.new_full((len(rewards_BT),), params["lam"])
    given = (rewards_BT.clone(), tensor(inputs, "values"), mask(inputs), params["gamma"], lam_B)
    return {"advantages": shaped(learned(*given), rewards_BT.shape, "B, T")}


def _golden(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    """The reference returns whitened advantages, and returns from raw ones."""
    raw_BT = _raw(learned, inputs, params)["advantages"]
    white_BT = ops.masked_whiten(raw_BT, mask(inputs))
    return {"advantages": white_BT, "returns": raw_BT + tensor(inputs, "values")}


def _given(junk: float) -> tuple[Tensor, Tensor, Tensor, float, Tensor]:
    mask_BT = torch.tensor(MASK, dtype=torch.bool)
    dirty = [
        torch.tensor(rows, dtype=torch.float64).masked_fill(~mask_BT, junk)
        for rows in (REWARDS, VALUES)
    ]
    return dirty[0], dirty[1], mask_BT, 0.9, torch.tensor([0.5, 0.5], dtype=torch.float64)


def _padding_is_ignored(learned: Learned) -> bool:
    mask_BT = torch.tensor(MASK, dtype=torch.bool)
    clean, dirty = (learned(*_given(junk))[mask_BT] for junk in (0.0, JUNK))
    return torch.equal(clean, dirty)


def _padding_is_blank(learned: Learned) -> bool:
    return not learned(*_given(0.0))[~torch.tensor(MASK, dtype=torch.bool)].any()


def _own_lambda(learned: Learned) -> bool:
    """lambda 0 and 1 in one batch give what each gives alone."""
    rewards_BT, values_BT, mask_BT, gamma, _ = _given(0.0)
    both_BT = [x[:1].expand(2, -1).clone() for x in (rewards_BT, values_BT)]
    lam_B = torch.tensor([0.0, 1.0], dtype=torch.float64)
    mask_BT = mask_BT[:1].expand(2, -1).clone()
    together_BT = learned(*both_BT, mask_BT, gamma, lam_B)
    alone = [
        learned(*(x[i : i + 1] for x in (*both_BT, mask_BT)), gamma, lam_B[i : i + 1])
        for i in range(2)
    ]
    return torch.allclose(together_BT, torch.cat(alone))


def _recursion(
    rewards_BT: Tensor,
    values_BT: Tensor,
    mask_BT: Tensor,
    gammas: tuple[float, float],
    lam_B: Tensor,
) -> Tensor:
    """The recursion with one γ for the next value, and another for the next advantage."""
    r_BT, v_BT = (x.masked_fill(~mask_BT, 0.0) for x in (rewards_BT, values_BT))
    next_BT = torch.cat([v_BT[:, 1:], torch.zeros_like(v_BT[:, :1])], dim=1)
    delta_BT = r_BT + gammas[0] * next_BT - v_BT
    ones_B = torch.ones_like(lam_B)
    zeros_BT = torch.zeros_like(v_BT)
    return returns.gae(delta_BT, zeros_BT, mask_BT, gammas[1], lam_B * ones_B)


def _stale(r: Tensor, v: Tensor, m: Tensor, gamma: float, lam: Tensor) -> Tensor:
    """δ_t = r_t + γ V_t - V_t."""
    v = v.masked_fill(~m, 0.0)
    delta_BT = (r + gamma * v - v).masked_fill(~m, 0.0)
    return returns.gae(delta_BT, torch.zeros_like(v), m, gamma, lam)


def _forwards(r: Tensor, v: Tensor, m: Tensor, gamma: float, lam: Tensor) -> Tensor:
    delta_BT = returns.gae(r, v, m, gamma, torch.zeros_like(lam))
    zeros_BT = torch.zeros_like(v)
    return returns.gae(delta_BT.flip(-1), zeros_BT, m.flip(-1), gamma, lam).flip(-1)


def _loop_forwards(r: Tensor, v: Tensor, m: Tensor, gamma: float, lam: Tensor) -> Tensor:
    """The right loop over the tokens in the wrong order."""
    return returns.gae(r.flip(-1), v.flip(-1), m.flip(-1), gamma, lam).flip(-1)


def _bootstrapped(r: Tensor, v: Tensor, m: Tensor, gamma: float, lam: Tensor) -> Tensor:
    """Takes the value that stands behind the last token for the next one."""
    behind_BT = torch.zeros_like(r)
    behind_BT[:, :-1] = torch.where(m[:, :-1] & ~m[:, 1:], gamma * v[:, 1:], 0.0)
    return returns.gae(r + behind_BT, v, m, gamma, lam)


GAE = Exercise(
    name="gae",
    data=(
        Data(
            _raw,
            cases=(
                by_hand(
                    "by hand, gamma .9, lambda .5",
                    {"rewards": REWARDS, "values": VALUES, "mask": MASK},
                    {"gamma": 0.9, "lam": 0.5},
                    {"advantages": ADVANTAGES},
                ),
            ),
        ),
        Data(_golden, op="gae"),
    ),
    properties=(
        Property(MASKED, _padding_is_ignored),
        Property(BLANKED, _padding_is_blank),
        Property("lam_B is one number per response: each row has its own", _own_lambda),
    ),
    mistakes=(
        Mistake(
            "the sign of the values is wrong: δ_t = r_t + γ V_{t+1} - V_t",
            lambda r, v, m, gamma, lam: returns.gae(r, -v, m, gamma, lam),
        ),
        Mistake(
            "the sign of V_t is wrong: δ_t = r_t + γ V_{t+1} - V_t",
            lambda r, v, m, gamma, lam: returns.gae(r + 2 * v, v, m, gamma, lam),
        ),
        Mistake(
            "V_t is not subtracted: δ_t = r_t + γ V_{t+1} - V_t",
            lambda r, v, m, gamma, lam: returns.gae(r + v, v, m, gamma, lam),
        ),
        Mistake(
            "it gives the returns A_t + V_t: asked for are the advantages A_t alone",
            lambda r, v, m, gamma, lam: returns.gae(r, v, m, gamma, lam) + v * m,
        ),
        Mistake(FORWARDS, _loop_forwards),
        Mistake(
            "off by one: δ_t takes V_t for the next value; it is V_{t+1}, and 0 after the last "
            "token",
            _stale,
        ),
        Mistake(
            "λ is missing: the next advantage counts γ λ, not γ",
            lambda r, v, m, gamma, lam: returns.gae(r, v, m, gamma, torch.ones_like(lam)),
        ),
        Mistake(
            "γ is missing in front of the next advantage: it counts γ λ, not λ",
            lambda r, v, m, gamma, lam: _recursion(r, v, m, (gamma, 1.0), lam),
        ),
        Mistake(
            "γ is missing in front of the next value: δ_t = r_t + γ V_{t+1} - V_t",
            lambda r, v, m, gamma, lam: _recursion(r, v, m, (1.0, gamma), lam),
        ),
        Mistake(FORWARDS, _forwards),
        Mistake(
            "the values are left out: that is the discounted reward to go",
            lambda r, v, m, gamma, lam: returns.gae(r, torch.zeros_like(v), m, gamma, lam),
        ),
        Mistake(
            "only the one-step error δ_t: the sum over later tokens is missing",
            lambda r, v, m, gamma, lam: returns.gae(r, v, m, gamma, torch.zeros_like(lam)),
        ),
        Mistake(
            "the mask is missing behind the last token: the value there is 0, but it takes the "
            "one in the padding",
            _bootstrapped,
        ),
        Mistake(
            MASKED,
            lambda r, v, m, gamma, lam: returns.gae(r, v, torch.ones_like(m), gamma, lam) * m,
        ),
    ),
)


def _white(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    values_BT = tensor(inputs, "values")
    return {"whitened": shaped(learned(values_BT.clone(), mask(inputs)), values_BT.shape, "B, T")}


def _scaled(x_BT: Tensor, mask_BT: Tensor, power: float, lost: int) -> Tensor:
    """(x - mean) / variance^power, the variance over (tokens - lost)."""
    mask = mask_BT.bool()
    x_BT = x_BT.masked_fill(~mask, 0.0)
    centred_BT = (x_BT - ops.masked_mean(x_BT, mask)).masked_fill(~mask, 0.0)
    variance = (centred_BT**2).sum() / max(int(mask.sum()) - lost, 1)
    return centred_BT / (variance + ops.WHITEN_EPSILON) ** power


def _outside_the_root(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    variance = x_BT[mask_BT.bool()].var()
    centred_BT = (x_BT - ops.masked_mean(x_BT, mask_BT)).masked_fill(~mask_BT.bool(), 0.0)
    return centred_BT / (variance.sqrt() + ops.WHITEN_EPSILON)


def _uncentred(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    x_BT = x_BT.masked_fill(~mask_BT.bool(), 0.0)
    centred_BT = x_BT - ops.masked_mean(x_BT, mask_BT)
    scale = ops.masked_whiten(x_BT, mask_BT).abs().sum() / (centred_BT * mask_BT).abs().sum()
    return x_BT * scale


def _over_all(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    x_BT, cells = x_BT.masked_fill(~mask_BT, 0.0), mask_BT.numel()
    centred_BT = (x_BT - x_BT.sum() / cells).masked_fill(~mask_BT, 0.0)
    variance = (centred_BT**2).sum() / (cells - 1)
    return centred_BT / (variance + ops.WHITEN_EPSILON).sqrt()


def _by_row(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    rows = [ops.masked_whiten(x[None], m[None]) for x, m in zip(x_BT, mask_BT, strict=True)]
    return torch.cat(rows)


def _white_padding(learned: Learned) -> bool:
    mask_BT = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    values_BT = torch.tensor([[1.0, 2, 6, 0], [4, 8, 0, 0]], dtype=torch.float64)
    dirty_BT = values_BT.masked_fill(~mask_BT, JUNK)
    clean, dirty = (learned(x.clone(), mask_BT)[mask_BT] for x in (values_BT, dirty_BT))
    return torch.allclose(clean, dirty)


def _white_blank(learned: Learned) -> bool:
    mask_BT = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    values_BT = torch.tensor([[1.0, 2, 6, 9], [4, 8, 9, 9]], dtype=torch.float64)
    return not learned(values_BT, mask_BT)[~mask_BT].any()


MASKED_WHITEN = Exercise(
    name="masked_whiten",
    data=(Data(_white, op="masked_whiten"),),
    properties=(Property(MASKED, _white_padding), Property(BLANKED, _white_blank)),
    mistakes=(
        Mistake(
            "the standard deviation is biased: with the mean taken from the same n tokens, the "
            "squares are divided by n - 1 (Bessel), not by n",
            lambda x, m: _scaled(x, m, 0.5, 0),
        ),
        Mistake(
            "it divides by the variance: whitening divides by its square root",
            lambda x, m: _scaled(x, m, 1.0, 1),
        ),
        Mistake(
            "epsilon is added to the standard deviation: it belongs inside the root, beside the "
            "variance",
            _outside_the_root,
        ),
        Mistake("the mean is not subtracted", _uncentred),
        Mistake(
            "the mean is not subtracted",
            lambda x, m: (
                x * m * ((x * m).square().sum() / (m.sum() - 1) + ops.WHITEN_EPSILON).rsqrt()
            ),
        ),
        Mistake(
            "mean and variance divide by all positions, padding included: divide by the number of "
            "tokens, mask_BT.sum()",
            _over_all,
        ),
        Mistake(
            "the wrong axis: every response is whitened alone; the statistics are those of all "
            "tokens of the batch",
            _by_row,
        ),
        Mistake(MASKED, lambda x, m: ops.masked_whiten(x, torch.ones_like(m)) * m),
        Mistake(
            "the mask is missing in mean and variance: padding is set to 0 and then counted",
            lambda x, m: ops.masked_whiten(x.masked_fill(~m, 0.0), torch.ones_like(m)) * m,
        ),
    ),
)

EXERCISES = (GAE, MASKED_WHITEN)
