"""Statistics, reductions and KL estimators."""

from harness.commands.parity_ops.common import MODES, Inputs, Outputs, mask, tensor, total
from harness.distributed.balance import balanced
from harness.maths import tensor_ops as ops
from harness.maths.tensor_ops import KL
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


def sequence_balance(inputs: Inputs, params: Inputs) -> Outputs:
    lengths = inputs["lengths"]
    parts = balanced(lengths, params["partitions"], params["equal_size"])
    if sorted(i for part in parts for i in part) != list(range(len(lengths))) or not all(parts):
        raise ValueError(f"{parts} is no partition of {len(lengths)} items")
    if params["equal_size"] and len({len(part) for part in parts}) > 1:
        raise ValueError(f"{parts} are not of equal size")
    return {"max_partition_sum": max(sum(lengths[i] for i in part) for part in parts)}
