"""What vLLM is told on GPUs: how its ranks add up, and how much of a GPU it may take.

Under Ray each rank sees its own GPU and no other, as device 0. NCCL finds its peers all the same;
the faster ways to add small tensors look for them by index, among what CUDA_VISIBLE_DEVICES shows,
and fail or hang. They are switched off, all of them, where several ranks have one engine.
"""

from typing import Any

import torch

# Read by vLLM when it is imported: its sums over torch's symmetric memory and FlashInfer's.
ENVIRONMENT = {
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_ALLREDUCE_USE_FLASHINFER": "0",
}


def arguments(device: str, tensor_parallel: int, cache_bytes: int) -> dict[str, Any]:
    """What vLLM is started with on a GPU, beside what it is started with anywhere; else nothing.

    The share of the GPU is no limit where the cache's size is given: vLLM only wants it free before
    it starts, by default 92 % of the card, which neither a trial beside this one nor a policy that
    is there already would leave. So it is the cache's own share; whether the rest fits is
    harness.preflight's to say.

    Args:
        tensor_parallel: ranks that have one engine together.
        cache_bytes: of keys and values on this rank.
    """
    if device != "cuda":
        return {}
    there = torch.cuda.get_device_properties(0).total_memory
    made: dict[str, Any] = {"gpu_memory_utilization": min(1.0, cache_bytes / there)}
    if tensor_parallel > 1:
        made["disable_custom_all_reduce"] = True
        # A kernel of FlashInfer's that adds and normalizes at once, on by itself on an H100.
        made["compilation_config"] = {"pass_config": {"fuse_allreduce_rms": False}}
    return made
