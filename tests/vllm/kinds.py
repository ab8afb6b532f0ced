"""What a process with vLLM of its own samples for one kind. Importing this imports vLLM."""

import torch

from harness.distributed.ranks import joined
from harness.models.loading import Source
from harness.rollout import vllm_library
from harness.rollout.vllm import Vllm
from tests.kinds import STOP, Sampled, sampled

torch.set_num_threads(1)
vllm_library.imported()


def of(source: Source) -> Sampled:
    """What vLLM samples."""
    with joined(0, 1, None, "cpu") as ranks:
        return sampled(Vllm(max_new_tokens=24, cache_gb=0.05, stop=[STOP]), source, ranks)
