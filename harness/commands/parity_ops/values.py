"""Advantages from values, the critic's loss, V*, and what is made of it."""

import torch

from harness import kl
from harness.algorithms.a_star_po import AStarPo
from harness.algorithms.ppo import Ppo
from harness.algorithms.remax import ReMax
from harness.commands.parity_ops.common import Inputs, Outputs, mask, tensor, total
from harness.learner.update import estimates
from harness.maths import returns
from harness.maths import tensor_ops as ops
from harness.types import Batch, Minibatch


def gae(inputs: Inputs, params: Inputs) -> Outputs:
    batch = Batch(
        group_B=torch.zeros(len(inputs["mask"])),
        mask_BT=mask(inputs),
        rewards_BT=tensor(inputs, "rewards"),
        budget=1,
        columns={"old_values_BT": tensor(inputs, "values")},
    )
    whole, advantages_BT, _ = estimates(Ppo(gamma=params["gamma"], lam=params["lam"]), batch)
    return {"advantages": advantages_BT, "returns": whole["returns_BT"]}


def value_loss(inputs: Inputs, params: Inputs) -> Outputs:
    values_BT, old_BT = tensor(inputs, "values"), tensor(inputs, "old_values")
    value = returns.value_loss(values_BT, old_BT, tensor(inputs, "returns"), params["clip"])
    return {
        "loss": ops.masked_mean(value.loss_BT, mask(inputs)),
        "clip_fraction": ops.masked_mean(value.clipped_BT, mask(inputs)),
    }


def adaptive_kl(inputs: Inputs, params: Inputs) -> Outputs:
    settings = kl.KlInReward(params["init"], target=params["target"], horizon=params["horizon"])
    coefficients = [params["init"]]
    for seen, responses in zip(inputs["current_kl"], inputs["n_steps"], strict=True):
        coefficients.append(kl.adapted(coefficients[-1], seen, responses, settings))
    return {"coefficients": coefficients[1:]}


def length_adaptive_lambda(inputs: Inputs, params: Inputs) -> Outputs:
    lengths_B = torch.tensor(inputs["lengths"])
    mask_BT = torch.arange(int(lengths_B.max())) < lengths_B[:, None]
    return {"lam": returns.length_lambda(mask_BT, params["alpha"])}


def remax(inputs: Inputs, params: Inputs) -> Outputs:
    batch = Batch(
        group_B=torch.arange(len(inputs["mask"])),
        mask_BT=mask(inputs),
        rewards_BT=tensor(inputs, "rewards"),
        budget=1,
        columns={"greedy_scores_B": tensor(inputs, "baselines")},
    )
    return {"advantages": ReMax().advantages(batch)}


def v_star(inputs: Inputs, params: Inputs) -> Outputs:
    return {"values": returns.v_star(tensor(inputs, "rewards"), params["beta"])}


def a_star_po_loss(inputs: Inputs, params: Inputs) -> Outputs:
    logprobs_BT, mask_BT = tensor(inputs, "logprobs").requires_grad_(), mask(inputs)
    advantage_B = tensor(inputs, "rewards") - tensor(inputs, "v_star")
    columns = {"ref_logprobs_BT": tensor(inputs, "ref_logprobs"), "advantage_B": advantage_B}
    mini = Minibatch(
        logprobs_BT=logprobs_BT, advantages_BT=mask_BT, mask_BT=mask_BT, budget=1, columns=columns
    )
    loss = total(AStarPo(beta2=params["beta2"]).loss(mini), mask_BT, None)
    return {"loss": loss, "grad_logprobs": torch.autograd.grad(loss, logprobs_BT)[0]}


def weighted_ce_weights(inputs: Inputs, params: Inputs) -> Outputs:
    limits = [params[name] for name in ("adv_clip", "weight_min", "weight_max", "beta")]
    scheme = returns.Scheme(params["scheme"])
    rewards_B, v_star_B = tensor(inputs, "rewards"), tensor(inputs, "v_star")
    return {"weights": returns.weights(rewards_B, v_star_B, scheme, *limits)}
