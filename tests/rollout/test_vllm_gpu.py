"""What vLLM is started with on GPUs, where each rank sees its own alone. No GPU is needed."""

from types import SimpleNamespace

import pytest
import torch

from harness.models.loading import Source
from harness.rollout import vllm_gpu, vllm_library
from harness.rollout.vllm import Vllm, _arguments


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """One visible GPU of 80 GB, as an actor of Ray's sees it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    size = SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: size)


def test_one_rank_may_use_any_kernel_and_states_its_share(card: None, source: Source) -> None:
    """10 GB of 80 are an eighth of the card."""
    made = _arguments(Vllm(cache_gb=10.0), source, 128, "cuda")
    assert made["gpu_memory_utilization"] == 0.125
    assert made["kv_cache_memory_bytes"] == 10 * 10**9
    assert not {"disable_custom_all_reduce", "compilation_config"} & set(made)


@pytest.mark.parametrize("parallel", [2, 4])
def test_ranks_of_one_engine_look_for_no_peer_by_index(
    card: None, source: Source, parallel: int
) -> None:
    made = _arguments(Vllm(tensor_parallel=parallel), source, 128, "cuda")
    assert made["disable_custom_all_reduce"] is True
    assert made["compilation_config"]["pass_config"]["fuse_allreduce_rms"] is False
    assert vllm_gpu.ENVIRONMENT.items() <= vllm_library.ENVIRONMENT.items()
    assert vllm_library.ENVIRONMENT["LOCAL_RANK"] == "0"


def test_on_the_cpu_nothing_of_it_is_said(source: Source) -> None:
    made = _arguments(Vllm(tensor_parallel=2), source, 128, "cpu")
    assert not {"gpu_memory_utilization", "disable_custom_all_reduce"} & set(made)


def test_a_cache_larger_than_the_card_is_no_share_above_one(card: None) -> None:
    assert vllm_gpu.arguments("cuda", 1, 10**12)["gpu_memory_utilization"] == 1.0


@pytest.mark.vllm
def test_vllm_understands_it_and_would_fail_without(card: None, source: Source) -> None:
    """vLLM's custom all-reduce asks for its peers' numbers, of which one GPU is visible."""
    vllm_library.imported()
    from vllm import envs
    from vllm.config import CompilationConfig
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms.interface import Platform

    class Cuda(Platform):  # type: ignore[misc]
        """As vLLM's own, which its build for the CPU cannot import."""

        device_control_env_var = "CUDA_VISIBLE_DEVICES"

    with pytest.raises(IndexError):
        Cuda.logical_device_id_to_visible_device_id(1)
    known = vllm_gpu.arguments("cuda", 2, 10**9)
    compiled = CompilationConfig(**known["compilation_config"])
    assert compiled.pass_config.fuse_allreduce_rms is False
    assert EngineArgs(model=source.path, **known).disable_custom_all_reduce
    assert not envs.VLLM_ALLREDUCE_USE_SYMM_MEM
    assert not envs.VLLM_ALLREDUCE_USE_FLASHINFER
