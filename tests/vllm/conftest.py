"""One real vLLM per process: an engine in this one, and real trials in others."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from harness.distributed.ranks import Ranks, joined
from harness.models.loading import Source
from harness.models.tiny import Architecture, Tiny, WarmUp
from harness.rollout.vllm import Vllm, VllmEngine
from harness.tasks.countdown import Countdown

# vLLM's kernels for the CPU know heads of 32, not the default model's 16.
HEADS = Architecture(heads=2)


@pytest.fixture(scope="session")
def task() -> Countdown:
    return Countdown(train_size=64, eval_size=32)


@pytest.fixture(scope="session")
def source(task: Countdown, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A hardly trained tiny model, with tied embeddings."""
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("vllm") / "runs"
    return Tiny(architecture=HEADS, warm_up=WarmUp(steps=150)).prepare(task, str(runs))


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    with joined(0, 1, None, "cpu") as alone:
        yield alone


@pytest.fixture(scope="session")
def engine(source: Source, task: Countdown, ranks: Ranks) -> Any:
    """The one engine of this process, in float32."""
    settings = Vllm(max_new_tokens=100, cache_gb=0.1, stop=["="])
    made = settings.engine(source, source.tokens, task.pool(), "cpu", ranks)
    assert isinstance(made, VllmEngine)
    return made
