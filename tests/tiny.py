"""A hardly trained tiny base, its task and one sampled rollout, made once for all core tests."""

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.loading import Source
from harness.models.tiny import Tiny, WarmUp
from harness.models.tokens import Tokens
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import TransformersEngine
from harness.tasks.countdown import Countdown
from harness.types import Rollout, Sampling

# Prompts such as `Q7 8 3=4?` have 9 to 10 tokens; the engine's width is a multiple of 16.
WIDTH = 16


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("core") / "runs"


@pytest.fixture(scope="session")
def task() -> Countdown:
    return Countdown(train_size=64, eval_size=64)


@pytest.fixture(scope="session")
def recipe() -> Tiny:
    return Tiny(warm_up=WarmUp(steps=40))


@pytest.fixture(scope="session")
def source(recipe: Tiny, task: Countdown, runs: Path) -> Source:
    torch.set_num_threads(1)
    return recipe.prepare(task, str(runs))


@pytest.fixture(scope="session")
def tokens(source: Source) -> Tokens:
    return source.tokens


@pytest.fixture(scope="session")
def tokenizer(tokens: Tokens) -> Any:
    return tokens.tokenizer


@pytest.fixture(scope="session")
def engine(source: Source, tokens: Tokens) -> TransformersEngine:
    return TransformersEngine(source.model(), tokens, WIDTH, max_rows=512)


@pytest.fixture(scope="session")
def rollout(engine: TransformersEngine, task: Countdown) -> Rollout:
    """Four responses to each of eight prompts; the window cuts some of them."""
    requests = [
        Request(prompt=prompt, items=tuple(range(4 * i, 4 * i + 4)))
        for i, prompt in enumerate(task.pool()[:8])
    ]
    made = engine.generate(
        requests, Sampling(max_new_tokens=12), Stream(seed=3, name="rollout", step=0)
    )
    assert 0 < int(made.finished_B.sum()) < len(made.texts)
    return made
