"""Notebook 1: returns, the loss of REINFORCE, and a baseline that does not bias it."""

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
    gradient,
    shaped,
)
from harness.maths import tensor_ops as ops
from harness.maths.returns import to_go

MASKED = "the mask is missing: what stands under mask 0 (padding) changes the result"
BLANKED = "it is not 0 where the mask is 0"

MASK = [[1, 1, 1, 0], [1, 1, 0, 0]]
# gamma .5: 1 at the end is .25 .5 1; the second: .4 + .5*.2 = .5, .2. 7 stands under the mask.
REWARDS = [[0.0, 0.0, 1.0, 7.0], [0.4, 0.2, 7.0, 7.0]]
RETURNS = [[0.25, 0.5, 1.0, 0.0], [0.5, 0.2, 0.0, 0.0]]
# -(A log π): 1 + 2 + .5 - 2*1.5 - 2*.7 = -.9, over 5 tokens; the gradient is -A/5.
LOGPROBS = [[-1.0, -2.0, -0.5, 9.0], [-1.5, -0.7, 9.0, 9.0]]
ADVANTAGES = [[1.0, 1.0, 1.0, 5.0], [-2.0, -2.0, 5.0, 5.0]]
GRADIENT = [[-0.2, -0.2, -0.2, 0.0], [0.4, 0.4, 0.0, 0.0]]


def _returns(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    rewards_BT, mask_BT = tensor(inputs, "rewards"), mask(inputs)
    found = learned(rewards_BT.clone(), mask_BT.clone(), params["gamma"])
    return {"returns": shaped(found, rewards_BT.shape, "B, T")}


def _remax(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    """ReMax: the return to go, less the greedy response's reward."""
    returns_BT = _returns(learned, inputs, {"gamma": 1.0})["returns"]
    baseline_BT = tensor(inputs, "baselines")[:, None] * mask(inputs)
    return {"advantages": returns_BT - baseline_BT}


def _padding_is_ignored(learned: Learned) -> bool:
    mask_BT = torch.tensor(MASK, dtype=torch.bool)
    rewards_BT = torch.tensor(REWARDS, dtype=torch.float64)
    found = [
        learned(rewards_BT.masked_fill(~mask_BT, junk), mask_BT.clone(), 0.5)
        for junk in (0.0, JUNK)
    ]
    return torch.equal(found[0][mask_BT], found[1][mask_BT])


def _padding_is_blank(learned: Learned) -> bool:
    mask_BT = torch.tensor(MASK, dtype=torch.bool)
    found = learned(torch.tensor(REWARDS, dtype=torch.float64), mask_BT.clone(), 0.5)
    return not found[~mask_BT].any()


def _so_far(rewards_BT: Tensor, mask_BT: Tensor, gamma: float) -> Tensor:
    backwards = to_go(rewards_BT.flip(-1), mask_BT.flip(-1), gamma)
    return backwards.flip(-1)


def _whole(rewards_BT: Tensor, mask_BT: Tensor, gamma: float) -> Tensor:
    return ops.on_tokens((rewards_BT * mask_BT).sum(-1), mask_BT)


def _next(rewards_BT: Tensor, mask_BT: Tensor, gamma: float) -> Tensor:
    return (to_go(rewards_BT, mask_BT, gamma) - rewards_BT) * mask_BT


def _from_the_start(rewards_BT: Tensor, mask_BT: Tensor, gamma: float) -> Tensor:
    """Every reward counts gamma^its position, seen from wherever."""
    powers_T = gamma ** torch.arange(rewards_BT.shape[1], dtype=rewards_BT.dtype)
    return to_go(rewards_BT * powers_T, mask_BT, 1.0)


SO_FAR = (
    "it adds up from the first token: that is the reward so far, not the reward to go; begin at "
    "the last token"
)

TO_GO = Exercise(
    name="to_go",
    data=(
        Data(
            _returns,
            cases=(
                by_hand(
                    "by hand, gamma .5",
                    {"rewards": REWARDS, "mask": MASK},
                    {"gamma": 0.5},
                    {"returns": RETURNS},
                ),
            ),
        ),
        Data(_remax, op="remax"),
    ),
    properties=(Property(MASKED, _padding_is_ignored), Property(BLANKED, _padding_is_blank)),
    mistakes=(
        Mistake(SO_FAR, _so_far),
        Mistake(SO_FAR, lambda r, m, gamma: _so_far(r, m, 1.0)),
        Mistake(
            "it discounts from the first token: seen from token t, a reward k tokens ahead counts "
            "gamma^k, wherever t is",
            _from_the_start,
        ),
        Mistake(
            "gamma is missing: a reward that lies k tokens ahead counts gamma^k",
            lambda r, m, gamma: to_go(r, m, 1.0),
        ),
        Mistake(
            "off by one: a token's own reward is discounted too; it counts gamma^0 = 1",
            lambda r, m, gamma: gamma * to_go(r, m, gamma),
        ),
        Mistake("off by one: a token's own reward is left out of its return", _next),
        Mistake(
            "every token gets the whole response's return, also for rewards that came before it",
            _whole,
        ),
        Mistake(
            "the wrong axis: it adds up over the responses (dim 0), not over the tokens (dim 1)",
            lambda r, m, gamma: to_go((r * m).T, torch.ones_like(m.T), gamma).T * m,
        ),
        Mistake(MASKED, lambda r, m, gamma: to_go(r, torch.ones_like(m), gamma)),
    ),
)


def _loss(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    logprobs_BT = tensor(inputs, "logprobs").requires_grad_()
    found = learned(logprobs_BT, tensor(inputs, "advantages"), mask(inputs))
    loss = shaped(found, torch.Size(), "")
    return {"loss": loss, "grad_logprobs": gradient(loss, logprobs_BT)}


def _loss_padding(learned: Learned) -> bool:
    mask_BT = torch.tensor(MASK, dtype=torch.bool)
    logprobs_BT = torch.tensor(LOGPROBS, dtype=torch.float64).masked_fill(~mask_BT, 0.0)
    dirty_BT, ones_BT = logprobs_BT.masked_fill(~mask_BT, -JUNK), torch.ones_like(logprobs_BT)
    return torch.equal(learned(logprobs_BT, ones_BT, mask_BT), learned(dirty_BT, ones_BT, mask_BT))


def _term(logprobs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return (-advantages_BT * logprobs_BT) * mask_BT


REINFORCE_LOSS = Exercise(
    name="reinforce_loss",
    data=(
        Data(
            _loss,
            cases=(
                by_hand(
                    "by hand, 3 and 2 tokens",
                    {"logprobs": LOGPROBS, "advantages": ADVANTAGES, "mask": MASK},
                    {},
                    {"loss": -0.18, "grad_logprobs": GRADIENT},
                ),
                # 2*.5 over one token; the empty response counts for nothing
                by_hand(
                    "by hand, an empty response",
                    {
                        "logprobs": [[-0.5, 1.0], [3.0, 3.0]],
                        "advantages": [[2.0, 1.0], [3.0, 3.0]],
                        "mask": [[1, 0], [0, 0]],
                    },
                    {},
                    {"loss": 1.0, "grad_logprobs": [[-2.0, 0.0], [0.0, 0.0]]},
                ),
            ),
        ),
    ),
    properties=(Property(MASKED, _loss_padding),),
    mistakes=(
        Mistake(
            "the sign is wrong: an optimizer minimizes, so the loss is minus A log π",
            lambda lp, a, m: -_term(lp, a, m).sum() / m.sum(),
        ),
        Mistake(MASKED, lambda lp, a, m: (-a * lp).mean()),
        Mistake(MASKED, lambda lp, a, m: (-a * lp).sum() / m.sum()),
        Mistake(
            "it divides by all positions, padding included: divide by the number of tokens, "
            "mask_BT.sum()",
            lambda lp, a, m: _term(lp, a, m).mean(),
        ),
        Mistake(
            "it sums over tokens and takes no mean: a larger batch would make larger steps",
            lambda lp, a, m: _term(lp, a, m).sum(),
        ),
        Mistake(
            "the wrong axis: it takes a mean per response first, so a token of a short response "
            "counts for more than one of a long one",
            lambda lp, a, m: ops.sequence_mean(_term(lp, a, m), m).mean(),
        ),
        Mistake(
            "it divides by the number of responses, not of tokens",
            lambda lp, a, m: _term(lp, a, m).sum() / len(m),
        ),
        Mistake(
            "the probability stands in place of its logarithm: the gradient of log π is what "
            "makes the estimate unbiased",
            lambda lp, a, m: _term(lp.exp(), a, m).sum() / m.sum(),
        ),
        Mistake(
            "the advantages are missing: every response is made likelier, good or bad",
            lambda lp, a, m: _term(lp, torch.ones_like(a), m).sum() / m.sum(),
        ),
    ),
)


def _advantages(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    scores_B, group_B = tensor(inputs, "scores"), torch.tensor(inputs["group"])
    return {"advantages": shaped(learned(scores_B.clone(), group_B), scores_B.shape, "B")}


def _others(x_B: Tensor, group_B: Tensor, divisor: int) -> Tensor:
    """x less the sum of its group's others over (size + divisor)."""
    same_BB = (group_B[:, None] == group_B[None, :]).to(x_B.dtype)
    sums_B = same_BB @ x_B - x_B
    return x_B - sums_B / (same_BB.sum(-1) + divisor).clamp(min=1)


def alone(group_B: Tensor) -> Tensor:
    return (group_B[:, None] == group_B[None, :]).sum(-1) == 1


LEAVE_ONE_OUT = Exercise(
    name="leave_one_out",
    data=(
        Data(
            _advantages, op="group_advantage", chosen=lambda params: params["estimator"] == "rloo"
        ),
    ),
    mistakes=(
        Mistake(
            "its own reward is in its baseline: x minus the mean of the whole group shrinks every "
            "advantage by (n-1)/n; leave the response itself out",
            ops.group_center,
        ),
        Mistake(
            "the sign is wrong: it is the reward less the others' mean, not the other way round",
            lambda x, g: torch.where(alone(g), x, -ops.leave_one_out(x, g)),
        ),
        Mistake(
            "off by one: the others are n - 1, not n",
            lambda x, g: _others(x, g, 0),
        ),
        Mistake(
            "the wrong axis: the baseline is taken of the whole batch, not of the response's group",
            lambda x, g: ops.leave_one_out(x, torch.zeros_like(g)),
        ),
        Mistake(
            "it returns the baseline: subtract it from the response's own reward",
            lambda x, g: torch.where(alone(g), x, x - ops.leave_one_out(x, g)),
        ),
        Mistake(
            "the baseline is the sum of the others, not their mean",
            lambda x, g: _others(x, g, -len(x)),
        ),
        Mistake(
            "a group of one has no others: it keeps its reward (baseline 0); it does not become 0",
            lambda x, g: torch.where(alone(g), 0.0, ops.leave_one_out(x, g)),
        ),
    ),
)

EXERCISES = (TO_GO, REINFORCE_LOSS, LEAVE_ONE_OUT)
