"""Draw one token per row: inverse of the cumulative distribution, in float64."""

import torch
from torch import Tensor

from harness.types import Sampling


def choose(logits_RV: Tensor, uniforms_R: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens and their log-probs under the distribution that is sampled from.

    Each row depends on its own logits and its own uniform number only.

    Args:
        logits_RV: (R,V); forbidden tokens stand at -inf already.
        uniforms_R: float64 (R,) in (0, 1); not read when temperature is 0 (greedy).
        sampling: temperature, top_k and top_p; top_p keeps the smallest set of tokens whose mass
            reaches it, as in vLLM.

    Returns:
        int64 (R,) and float32 (R,).
    """
    logits_RV = logits_RV.double()
    if sampling.temperature == 0:
        tokens_R = logits_RV.argmax(-1)
    else:
        logits_RV = _truncated(logits_RV / sampling.temperature, sampling)
        cumulative_RV = logits_RV.softmax(-1).cumsum(-1)
        # Scaled by the total, which rounding leaves a hair off 1: the last token stays reachable.
        thresholds_R1 = uniforms_R[:, None] * cumulative_RV[:, -1:]
        tokens_R = torch.searchsorted(cumulative_RV, thresholds_R1, right=True)[:, 0]
        tokens_R = tokens_R.clamp(max=logits_RV.shape[-1] - 1)
    logprobs_R = logits_RV.log_softmax(-1).gather(-1, tokens_R[:, None])[:, 0]
    return tokens_R, logprobs_R.float()


def _truncated(logits_RV: Tensor, sampling: Sampling) -> Tensor:
    """Logits with everything outside top_k and top_p at -inf."""
    if 0 < sampling.top_k < logits_RV.shape[-1]:
        smallest_R1 = logits_RV.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits_RV = logits_RV.masked_fill(logits_RV < smallest_R1, -torch.inf)
    if sampling.top_p < 1:
        sorted_RV, order_RV = logits_RV.sort(dim=-1, descending=True, stable=True)
        p_RV = sorted_RV.softmax(-1)
        outside_RV = p_RV.cumsum(-1) - p_RV >= sampling.top_p
        outside_RV = torch.zeros_like(outside_RV).scatter(-1, order_RV, outside_RV)
        logits_RV = logits_RV.masked_fill(outside_RV, -torch.inf)
    return logits_RV
