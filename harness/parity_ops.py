"""The ops of the parity command: each names the production function for one golden file.

An adapter computes nothing itself. It calls, in float64, what the training loop calls: a loss goes
plug-in -> core reduction -> autograd. A later op is one more function and one more line in `OPS`;
tests hold every function of this file to ten lines.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from harness import tensor_ops as ops
from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.protocols import Algorithm
from harness.rewards.binary import Binary
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.gsm8k import Gsm8k, Method
from harness.tasks.multiplication import Multiplication
from harness.tasks.templates import Hashes, TinyZeroBase
from harness.tensor_ops import KL, Reduction
from harness.types import Batch, Loss, LossTerm, Minibatch, Prompt

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]

# The references' names of the reductions.
MODES = {
    "token-mean": Reduction.TOKEN_MEAN,
    "seq-mean-token-mean": Reduction.SEQUENCE_MEAN_TOKEN_MEAN,
    "seq-mean-token-sum": Reduction.SEQUENCE_MEAN_TOKEN_SUM,
    "seq-mean-token-sum-norm": Reduction.CONSTANT_BUDGET,
}
# Plug-ins whose policy loss is the clipped one, by the reduction they choose.
CLIPPED_PLUGINS: dict[str, Callable[..., Algorithm]] = {
    "seq-mean-token-mean": Grpo,
    "seq-mean-token-sum-norm": DrGrpo,
}
# TinyZero's reward for a closed answer with a wrong equation.
TINYZERO_FORMAT_SCORE = 0.1


def _tensor(inputs: Inputs, name: str) -> Tensor:
    return torch.tensor(inputs[name], dtype=torch.float64)


def _mask(inputs: Inputs) -> Tensor:
    return torch.tensor(inputs["mask"], dtype=torch.bool)


def _total(loss: Loss, mask_BT: Tensor, horizon: int | None) -> Tensor:
    """The loss of a whole batch: what the core makes of a plug-in's terms."""
    counts = ops.Counts.of(mask_BT, budget=horizon or mask_BT.shape[1])
    shares = [
        term.weight * ops.reduced(term.values, mask_BT, term.reduction, counts)
        for term in loss.terms
    ]
    return torch.stack(shares).sum()


def masked_mean(inputs: Inputs, params: Inputs) -> Outputs:
    return {"mean": ops.masked_mean(_tensor(inputs, "values"), _mask(inputs))}


def masked_whiten(inputs: Inputs, params: Inputs) -> Outputs:
    return {"whitened": ops.masked_whiten(_tensor(inputs, "values"), _mask(inputs))}


def entropy(inputs: Inputs, params: Inputs) -> Outputs:
    return {"entropy": ops.entropy(_tensor(inputs, "logits"))}


def kl_estimate(inputs: Inputs, params: Inputs) -> Outputs:
    logprobs, ref_logprobs = _tensor(inputs, "logprobs"), _tensor(inputs, "ref_logprobs")
    return {"kl": ops.kl_estimate(logprobs, ref_logprobs, KL(params["kind"]))}


def aggregate(inputs: Inputs, params: Inputs) -> Outputs:
    term = LossTerm(
        name="policy", values=_tensor(inputs, "losses"), reduction=MODES[params["mode"]]
    )
    return {"loss": _total(Loss(terms=(term,)), _mask(inputs), params["horizon"])}


def policy_loss(inputs: Inputs, params: Inputs) -> Outputs:
    logprobs_BT, mask_BT = _tensor(inputs, "logprobs").requires_grad_(), _mask(inputs)
    loss = _clipped_loss(_minibatch(inputs, logprobs_BT), params)
    total = _total(loss, mask_BT, params["horizon"])
    return {
        "loss": total,
        "clip_fraction": ops.masked_mean(loss.diagnostics["actor/pg_clipfrac"], mask_BT),
        "approx_kl": ops.masked_mean(loss.diagnostics["actor/ppo_kl"], mask_BT),
        "grad_logprobs": torch.autograd.grad(total, logprobs_BT)[0],
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
        advantages_BT=_tensor(inputs, "advantages"),
        mask_BT=_mask(inputs),
        budget=logprobs_BT.shape[1],
        columns={"old_logprobs_BT": _tensor(inputs, "old_logprobs")},
    )


def group_advantage(inputs: Inputs, params: Inputs) -> Outputs:
    """A group of one keeps its raw score, as in the reference: filtering can leave one behind.

    A config that asks for groups of one is refused all the same.
    """
    scores_B, group_B = _tensor(inputs, "scores"), torch.tensor(inputs["group"])
    return {"advantages": ESTIMATORS[params["estimator"]](scores_B, group_B, inputs)}


def _of_plugin(plugin: Algorithm, scores_B: Tensor, group_B: Tensor) -> Tensor:
    """(B,): what the plug-in gives to responses of one token."""
    rewards_BT = scores_B[:, None]
    mask_BT = torch.ones_like(rewards_BT, dtype=torch.bool)
    batch = Batch(group_B=group_B, mask_BT=mask_BT, rewards_BT=rewards_BT, budget=1, columns={})
    return plugin.advantages(batch)[:, 0]


def _whitened_baseline(scores_B: Tensor, group_B: Tensor, inputs: Inputs) -> Tensor:
    centred_BT = ops.on_tokens(ops.group_center(scores_B, group_B), _mask(inputs))
    return ops.masked_whiten(centred_BT, _mask(inputs))


def countdown_score(inputs: Inputs, params: Inputs) -> Outputs:
    answer = CountdownAnswer(tuple(inputs["numbers"]), inputs["target"])
    prompt = Prompt(text="", item=0, problem="", difficulty=len(answer.numbers), answer=answer)
    task = Countdown(template=TinyZeroBase())
    grade = task.grade(prompt, inputs["response"], finished=True)
    return {"score": Binary(format_score=TINYZERO_FORMAT_SCORE).value(grade)}


def multiply_score(inputs: Inputs, params: Inputs) -> Outputs:
    prompt = Prompt(text="", item=0, problem="", difficulty=6, answer=inputs["answer"])
    task = Multiplication(template=TinyZeroBase())
    grade = task.grade(prompt, inputs["response"], finished=True)
    return {"score": Binary(format_score=TINYZERO_FORMAT_SCORE).value(grade)}


def gsm8k_score(inputs: Inputs, params: Inputs) -> Outputs:
    prompt = Prompt(text="", item=0, problem="", difficulty=1, answer=inputs["answer"])
    task = Gsm8k(template=Hashes(), method=Method(params["method"]))
    return {"score": Binary().value(task.grade(prompt, inputs["response"], finished=True))}


ESTIMATORS: dict[str, Callable[[Tensor, Tensor, Inputs], Tensor]] = {
    "grpo": lambda scores_B, group_B, _: _of_plugin(Grpo(), scores_B, group_B),
    "dr_grpo": lambda scores_B, group_B, _: _of_plugin(DrGrpo(), scores_B, group_B),
    "rloo": lambda scores_B, group_B, _: ops.leave_one_out(scores_B, group_B),
    "reinforce_plus_plus_baseline": _whitened_baseline,
}

OPS: dict[str, Callable[[Inputs, Inputs], Outputs]] = {
    "masked_mean": masked_mean,
    "masked_whiten": masked_whiten,
    "entropy": entropy,
    "kl_estimate": kl_estimate,
    "aggregate": aggregate,
    "policy_loss": policy_loss,
    "group_advantage": group_advantage,
    "countdown_score": countdown_score,
    "multiply_score": multiply_score,
    "gsm8k_score": gsm8k_score,
}
