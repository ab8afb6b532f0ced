"""`pytest -m gpu -s -o addopts= tests/gpu`: the one command that proves what needs a GPU.

Needs torch, transformers, pytest, hydra-core, omegaconf and what they bring; with vLLM installed,
and with two GPUs and Ray, more of it runs. Prints what it measures.
"""

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from tests.gpu import checks
from tests.gpu.conftest import ABSENT
from tests.gpu.world import World

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # a driver's warning is no fault of what is checked
    pytest.mark.skipif(not torch.cuda.is_available(), reason=ABSENT),
]
HAS_VLLM = importlib.util.find_spec("vllm") is not None
TWO = torch.cuda.device_count() > 1 and importlib.util.find_spec("ray") is not None


@pytest.fixture(autouse=True)
def clear(world: World) -> Iterator[None]:
    """What one check wrote is thrown away before the next."""
    yield
    world.clear()


@pytest.mark.parametrize("family", checks.FAMILIES)
def test_a_family_trains(world: World, family: str) -> None:
    checks.trains(world, family)


@pytest.mark.parametrize("check", checks.ON_THE_DEVICE, ids=lambda check: check.__name__)
def test_on_the_device(world: World, check: Callable[[World], None]) -> None:
    check(world)


@pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed")
def test_vllm_sleeps_and_wakes(world: World) -> None:
    """In a process of its own: vLLM is one per process."""
    assert world.model
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(checks.vllm_sleeps_and_wakes, world).result(timeout=300)


@pytest.mark.skipif(not TWO, reason="needs two GPUs and Ray")
@pytest.mark.parametrize("parallel", [0, *((1, 2) if HAS_VLLM else ())])
def test_on_two_gpus(world: World, parallel: int) -> None:
    checks.on_two_gpus(world, parallel)
