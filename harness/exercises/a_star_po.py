"""Notebook 7: the optimal value, regression on it, and what moves the adaptive window."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.commands.parity_ops import Inputs, Outputs
from harness.commands.parity_ops.algorithms import NAMES
from harness.commands.parity_ops.common import mask, tensor
from harness.exercises.kinds import (
    Data,
    Exercise,
    Learned,
    Mistake,
    Property,
    UnfitError,
    gradient,
    shaped,
)
from harness.exercises.reinforce import MASKED
from harness.maths import returns
from harness.types import Outcome
from harness.windows.adaptive import Adaptive, Mode


def _values(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    rewards_BN = tensor(inputs, "rewards")
    found = learned(rewards_BN.clone(), params["beta"])
    return {"values": shaped(found, rewards_BN.shape[:1], "B")}


def _small_beta(learned: Learned) -> bool:
    """β of a thousandth: exp(1/β) is no number any more."""
    found = learned(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), 1e-3)
    return bool(torch.isfinite(found).all())


V_STAR = Exercise(
    name="v_star",
    data=(Data(_values, op="v_star"),),
    properties=(
        Property(
            "it is not finite for a small β: exp(1/β) overflows; torch.logsumexp does not",
            _small_beta,
        ),
    ),
    mistakes=(
        Mistake(
            "1/N is missing: it is the log of the mean of exp(r/β), not of the sum",
            lambda r, beta: beta * torch.logsumexp(r / beta, dim=-1),
        ),
        Mistake(
            "β in front of the log is missing",
            lambda r, beta: returns.v_star(r, beta) / beta,
        ),
        Mistake(
            "r is multiplied by β: it is divided by β inside, and the log multiplied by β outside",
            lambda r, beta: returns.v_star(r, 1 / beta),
        ),
        Mistake(
            "that is the plain mean: V* is a soft maximum of the rewards",
            lambda r, beta: r.mean(-1),
        ),
        Mistake("that is the maximum: V* is one only as β goes to 0", lambda r, beta: r.amax(-1)),
        Mistake(
            "the sign in the exponent is wrong: exp(-r/β) makes it a soft minimum",
            lambda r, beta: -returns.v_star(-r, beta),
        ),
        Mistake(
            "the sign in the exponent is wrong: it is exp(r/β), not exp(-r/β)",
            lambda r, beta: returns.v_star(-r, beta),
        ),
        Mistake(
            "r is multiplied by β: it is divided by β inside the exponent",
            lambda r, beta: beta**2 * returns.v_star(r, 1 / beta),
        ),
        Mistake(
            "the sign is wrong: it is minus β log mean exp(r/β)",
            lambda r, beta: -returns.v_star(r, beta),
        ),
        Mistake(
            "the wrong axis: it sums over the prompts; V* is one number per prompt, over its N "
            "responses",
            lambda r, beta: returns.v_star(r.T, beta).mean() + torch.zeros(len(r), dtype=r.dtype),
        ),
        Mistake(
            "off by one: it divides by N - 1; a mean over N responses divides by N",
            lambda r, beta: (
                beta
                * (
                    torch.logsumexp(r / beta, dim=-1)
                    - torch.tensor(float(max(r.shape[-1] - 1, 1)), dtype=r.dtype).log()
                )
            ),
        ),
    ),
)


def _regression(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    logprobs_BT = tensor(inputs, "logprobs").requires_grad_()
    rest = (tensor(inputs, "rewards"), tensor(inputs, "v_star"), params["beta2"])
    found = learned(logprobs_BT, tensor(inputs, "ref_logprobs"), mask(inputs), *rest)
    loss = shaped(found, torch.Size(), "")
    return {"loss": loss, "grad_logprobs": gradient(loss, logprobs_BT)}


Residual = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def _of(residual: Residual) -> Learned:
    """Loss of residual(s, r, V*, β2), s the sum of log-ratios over a response's tokens."""

    def made(
        new: Tensor, ref: Tensor, mask_BT: Tensor, r_B: Tensor, v_B: Tensor, beta2: float
    ) -> Tensor:
        s_B = (new - ref).masked_fill(~mask_BT, 0.0).sum(-1)
        return (residual(s_B, r_B, v_B, beta2) ** 2).mean()

    return made


def _per_token(
    new: Tensor, ref: Tensor, mask_BT: Tensor, r_B: Tensor, v_B: Tensor, beta2: float
) -> Tensor:
    s_B = (new - ref).masked_fill(~mask_BT, 0.0).sum(-1) / mask_BT.sum(-1).clamp(min=1)
    return ((beta2 * s_B - (r_B - v_B)) ** 2).mean()


def _padded(
    new: Tensor, ref: Tensor, mask_BT: Tensor, r_B: Tensor, v_B: Tensor, beta2: float
) -> Tensor:
    return ((beta2 * (new - ref).sum(-1) - (r_B - v_B)) ** 2).mean()


def _summed(
    new: Tensor, ref: Tensor, mask_BT: Tensor, r_B: Tensor, v_B: Tensor, beta2: float
) -> Tensor:
    s_B = (new - ref).masked_fill(~mask_BT, 0.0).sum(-1)
    return ((beta2 * s_B - (r_B - v_B)) ** 2).sum()


A_STAR_PO_LOSS = Exercise(
    name="a_star_po_loss",
    data=(Data(_regression, op="a_star_po_loss"),),
    mistakes=(
        Mistake(
            "it divides the log-ratio by the length: A*-PO regresses the sum over the response's "
            "tokens, never their mean",
            _per_token,
        ),
        Mistake(MASKED, _padded),
        Mistake(
            "the sign of the advantage is wrong: the target is r - V*, so the residual is "
            "β2 s - (r - V*)",
            _of(lambda s, r, v, b: b * s + (r - v)),
        ),
        Mistake(
            "the sign of V* is wrong: the target is r - V*",
            _of(lambda s, r, v, b: b * s - (r + v)),
        ),
        Mistake(
            "V* is missing: the target is the advantage r - V*, not the reward",
            _of(lambda s, r, v, b: b * s - r),
        ),
        Mistake(
            "β2 belongs to the log-ratio alone, not to V*",
            _of(lambda s, r, v, b: b * s - (r - b * v)),
        ),
        Mistake("β2 in front of the log-ratio is missing", _of(lambda s, r, v, b: s - (r - v))),
        Mistake(
            "the batch is summed: the loss is a mean over all responses",
            _summed,
        ),
        Mistake(
            "half of it: the paper's loss has no factor 1/2",
            _of(lambda s, r, v, b: (b * s - (r - v)) * 0.5**0.5),
        ),
    ),
)


@dataclass
class _Moved(Adaptive):
    """The harness's controller, whose wish is the learner's."""

    learned: ClassVar[Learned]

    def _wanted(self, mean: float, rate: float) -> int:
        found = type(self).learned(self, mean, rate)
        if not isinstance(found, int | float):
            raise UnfitError(f"it must return a whole number of tokens, not {type(found).__name__}")
        return int(found)


def _windows(learned: Learned, inputs: Inputs, params: Inputs) -> Outputs:
    kind = type("Moved", (_Moved,), {"learned": staticmethod(learned)})
    window = kind(**{NAMES[key]: value for key, value in params.items() if key in NAMES})
    window.mode, windows = Mode(params["mode"]), []
    for lengths, scores in zip(inputs["lengths"], inputs["scores"], strict=True):
        correct_B = torch.tensor(scores) >= params["success_threshold"]
        window.observe(Outcome(lengths_B=torch.tensor(lengths), correct_B=correct_B, progress=0.0))
        windows.append(window.window(seed=0))
    return {"windows": windows}


def _decision(
    grows: int = 1,
    shrinks: int = 1,
    above: int = 1,
    below: int = 1,
    near: int = 1,
    hold: int = 0,
) -> Learned:
    """The rule of the harness with one part of it changed."""

    def wanted(window: Adaptive, mean: float, rate: float) -> int:
        gap = window.current - mean
        if rate >= window.target + above * window.margin and gap > window.tolerance * near:
            return window.current - shrinks * window.shrink
        if rate <= window.target - below * window.margin:
            return window.current + grows * window.growth
        held = window.steps - window.last_change >= window.hold_steps + hold
        if rate >= window.target and abs(gap) <= window.tolerance and held:
            return window.current + window.growth
        return window.current

    return wanted


WANTED = Exercise(
    name="wanted",
    data=(Data(_windows, op="adaptive_window"),),
    mistakes=(
        Mistake(
            "the signs are swapped: it shrinks where too few succeed and grows where enough do",
            _decision(grows=-1, shrinks=-1),
        ),
        Mistake("the sign of the shrinking is wrong: current - shrink", _decision(shrinks=-1)),
        Mistake("the sign of the growth is wrong: current + growth", _decision(grows=-1)),
        Mistake("it never shrinks", _decision(shrinks=0)),
        Mistake("it never grows where too few succeed", _decision(grows=0)),
        Mistake(
            "the dead band is missing: between target - margin and target + margin it stays",
            _decision(above=0, below=0),
        ),
        Mistake(
            "the dead band is missing above: it shrinks only from target + margin on",
            _decision(above=0),
        ),
        Mistake(
            "the dead band is missing below: it grows only down from target - margin",
            _decision(below=0),
        ),
        Mistake(
            "the tolerance is missing: it shrinks although the window is as near to the mean "
            "length as it should be",
            _decision(near=0),
        ),
        Mistake(
            "it shrinks whenever enough succeed: only where the window is further above the mean "
            "length than the tolerance",
            _decision(near=-(10**6)),
        ),
        Mistake(
            "hold-growth is missing: a good window that has not changed for hold_steps steps grows",
            _decision(hold=10**6),
        ),
        Mistake(
            "off by one: it holds for hold_steps steps, not for hold_steps + 1 (>=, not >)",
            _decision(hold=1),
        ),
    ),
)

EXERCISES = (V_STAR, A_STAR_PO_LOSS, WANTED)
