"""Advantages and losses of the algorithms."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.algorithms.cispo import Cispo
from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.algorithms.gspo import Gspo
from harness.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from harness.algorithms.rloo import Rloo
from harness.commands.parity_ops.common import MODES, Inputs, Outputs, mask, tensor, total
from harness.learner.update import estimates
from harness.maths import tensor_ops as ops
from harness.protocols import Algorithm
from harness.types import Batch, Loss, LossTerm, Minibatch, Outcome
from harness.windows.adaptive import Adaptive, Mode

# Plug-ins whose policy loss is the clipped one, by the reduction they choose.
CLIPPED_PLUGINS: dict[str, Callable[..., Algorithm]] = {
    "seq-mean-token-mean": Grpo,
    "seq-mean-token-sum-norm": DrGrpo,
}


def policy_loss(inputs: Inputs, params: Inputs) -> Outputs:
    logprobs_BT, mask_BT = tensor(inputs, "logprobs").requires_grad_(), mask(inputs)
    loss = _clipped_loss(_minibatch(inputs, logprobs_BT), params)
    whole = total(loss, mask_BT, params["horizon"])
    return {
        "loss": whole,
        "clip_fraction": ops.masked_mean(loss.diagnostics["actor/pg_clipfrac"], mask_BT),
        "approx_kl": ops.masked_mean(loss.diagnostics["actor/ppo_kl"], mask_BT),
        "grad_logprobs": torch.autograd.grad(whole, logprobs_BT)[0],
    }


def _clipped_loss(minibatch: Minibatch, params: Inputs) -> Loss:
    """The loss of the plug-in that has this mode and no dual clip, else of the shared primitive."""
    clips = {"clip_low": params["clip_low"], "clip_high": params["clip_high"]}
    if params["dual_clip"] is None and params["mode"] in CLIPPED_PLUGINS:
        return CLIPPED_PLUGINS[params["mode"]](**clips).loss(minibatch)
    old_BT, advantages_BT = minibatch["old_logprobs_BT"], minibatch.advantages_BT
    clips["dual_clip"] = params["dual_clip"]
    clipped = ops.clipped_policy_loss(minibatch.logprobs_BT, old_BT, advantages_BT, **clips)
    term = LossTerm(name="policy", values=clipped.loss_BT, reduction=MODES[params["mode"]])
    diagnostics = {"actor/pg_clipfrac": clipped.clipped_BT, "actor/ppo_kl": clipped.kl_BT}
    return Loss(terms=(term,), diagnostics=diagnostics)


def _minibatch(inputs: Inputs, logprobs_BT: Tensor) -> Minibatch:
    return Minibatch(
        logprobs_BT=logprobs_BT,
        advantages_BT=tensor(inputs, "advantages"),
        mask_BT=mask(inputs),
        budget=logprobs_BT.shape[1],
        columns={"old_logprobs_BT": tensor(inputs, "old_logprobs")},
    )


def group_advantage(inputs: Inputs, params: Inputs) -> Outputs:
    """A group of one keeps its raw score, as in the reference: filtering can leave one behind.

    A config that asks for groups of one is refused all the same.
    """
    scores_B, group_B = tensor(inputs, "scores"), torch.tensor(inputs["group"])
    return {"advantages": ESTIMATORS[params["estimator"]](scores_B, group_B, inputs)}


def _of_plugin(plugin: Algorithm, scores_B: Tensor, group_B: Tensor) -> Tensor:
    """(B,): what the plug-in gives to responses of one token."""
    rewards_BT = scores_B[:, None]
    mask_BT = torch.ones_like(rewards_BT, dtype=torch.bool)
    batch = Batch(group_B=group_B, mask_BT=mask_BT, rewards_BT=rewards_BT, budget=1, columns={})
    return estimates(plugin, batch)[1][:, 0]


def _of_tokens(plugin: Algorithm, rewards_BT: Tensor, inputs: Inputs) -> Tensor:
    """(B,T): what the plug-in gives to responses with token-level rewards."""
    group_B = torch.tensor(inputs.get("group", range(len(rewards_BT))))
    batch = Batch(
        group_B=group_B, mask_BT=mask(inputs), rewards_BT=rewards_BT, budget=1, columns={}
    )
    return estimates(plugin, batch)[1]


def reinforce_plus_plus(inputs: Inputs, params: Inputs) -> Outputs:
    plugin = ReinforcePlusPlus(gamma=params["gamma"])
    return {"advantages": _of_tokens(plugin, tensor(inputs, "rewards"), inputs)}


def gspo_loss(inputs: Inputs, params: Inputs) -> Outputs:
    return _loss_and_gradient(Gspo(**params), inputs)


def cispo_loss(inputs: Inputs, params: Inputs) -> Outputs:
    given = {name: value for name, value in params.items() if value is not None}
    return _loss_and_gradient(Cispo(**given), inputs)


def _loss_and_gradient(plugin: Algorithm, inputs: Inputs) -> Outputs:
    logprobs_BT, mask_BT = tensor(inputs, "logprobs").requires_grad_(), mask(inputs)
    whole = total(plugin.loss(_minibatch(inputs, logprobs_BT)), mask_BT, None)
    return {"loss": whole, "grad_logprobs": torch.autograd.grad(whole, logprobs_BT)[0]}


def dynamic_sampling_keep(inputs: Inputs, params: Inputs) -> Outputs:
    scores_B, group_B = tensor(inputs, "scores"), torch.tensor(inputs["group"])
    return {"keep": ops.has_signal(scores_B, group_B).long()}


def tis_weights(inputs: Inputs, params: Inputs) -> Outputs:
    old_BT, rollout_BT = tensor(inputs, "old_logprobs"), tensor(inputs, "rollout_logprobs")
    limits = (params["cap"], params["level"])
    return {"weights": ops.truncated_importance(old_BT, rollout_BT, mask(inputs), *limits)}


def adaptive_window(inputs: Inputs, params: Inputs) -> Outputs:
    window = Adaptive(**{NAMES[key]: value for key, value in params.items() if key in NAMES})
    window.mode, windows = Mode(params["mode"]), []
    for lengths, scores in zip(inputs["lengths"], inputs["scores"], strict=True):
        correct_B = torch.tensor(scores) >= params["success_threshold"]
        window.observe(Outcome(lengths_B=torch.tensor(lengths), correct_B=correct_B, progress=0.0))
        windows.append(window.window(seed=0))
    return {"windows": windows}


# The reference's names of the success window's settings; `std_multiplier` is dead there.
NAMES = {
    "initial_window": "initial",
    "min_window": "minimum",
    "max_window": "maximum",
    "warmup_steps": "warmup_steps",
    "min_samples": "min_samples",
    "update_frequency": "update_frequency",
    "min_change": "min_change",
    "target_success_rate": "target",
    "success_rate_margin": "margin",
    "success_rate_ema_beta": "success_beta",
    "growth_delta": "growth",
    "shrink_delta": "shrink",
    "length_tolerance": "tolerance",
    "hold_steps_before_growth": "hold_steps",
    "rolling_window": "rolling_window",
    "epsilon": "epsilon",
    "ema_beta": "ema_beta",
    "ema_bias_correction": "ema_correction",
}


ESTIMATORS: dict[str, Callable[[Tensor, Tensor, Inputs], Tensor]] = {
    "grpo": lambda scores_B, group_B, _: _of_plugin(Grpo(), scores_B, group_B),
    "dr_grpo": lambda scores_B, group_B, _: _of_plugin(DrGrpo(), scores_B, group_B),
    "rloo": lambda scores_B, group_B, _: _of_plugin(Rloo(), scores_B, group_B),
    "reinforce_plus_plus_baseline": lambda scores_B, group_B, inputs: _of_tokens(
        ReinforcePlusPlus(group_baseline=True), ops.on_last_token(scores_B, mask(inputs)), inputs
    ),
}
