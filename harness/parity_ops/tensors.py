"""Statistics, reductions and KL estimators."""

from harness import tensor_ops as ops
from harness.parity_ops.common import MODES, Inputs, Outputs, mask, tensor, total
from harness.tensor_ops import KL
from harness.types import Loss, LossTerm


def masked_mean(inputs: Inputs, params: Inputs) -> Outputs:
    return {"mean": ops.masked_mean(tensor(inputs, "values"), mask(inputs))}


def masked_whiten(inputs: Inputs, params: Inputs) -> Outputs:
    return {"whitened": ops.masked_whiten(tensor(inputs, "values"), mask(inputs))}


def entropy(inputs: Inputs, params: Inputs) -> Outputs:
    return {"entropy": ops.entropy(tensor(inputs, "logits"))}


def kl_estimate(inputs: Inputs, params: Inputs) -> Outputs:
    logprobs, ref_logprobs = tensor(inputs, "logprobs"), tensor(inputs, "ref_logprobs")
    return {"kl": ops.kl_estimate(logprobs, ref_logprobs, KL(params["kind"]))}


def aggregate(inputs: Inputs, params: Inputs) -> Outputs:
    term = LossTerm(name="policy", values=tensor(inputs, "losses"), reduction=MODES[params["mode"]])
    return {"loss": total(Loss(terms=(term,)), mask(inputs), params["horizon"])}
