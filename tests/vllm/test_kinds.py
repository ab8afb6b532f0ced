"""Every kind of tokenizer under every template: special tokens, ends, texts, log-probs.

One start of vLLM per kind, in processes that are forked from one that has imported it.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from harness.models.loading import Source
from harness.types import Rollout
from tests.kinds import KINDS, TEMPLATES, check

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def started() -> Any:
    """Starts processes that have imported vLLM."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.vllm.kinds"])
    return context


@pytest.fixture(scope="module", params=KINDS)
def kind(
    request: pytest.FixtureRequest, started: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Source, Any, dict[str, Rollout]]:
    """A kind, its folder and model, and what vLLM samples from it."""
    name = request.param
    source = KINDS[name].save(tmp_path_factory.mktemp(name))
    with ProcessPoolExecutor(1, mp_context=started) as pool:
        rollouts = pool.submit(_sampled, source).result(timeout=300)
    return name, source, source.model(), rollouts


def _sampled(source: Source) -> dict[str, Rollout]:
    from tests.vllm import kinds

    return kinds.of(source)


@pytest.mark.parametrize("template", ["chat", *TEMPLATES])
def test_kind_under_template(
    kind: tuple[str, Source, Any, dict[str, Rollout]], template: str
) -> None:
    name, source, model, rollouts = kind
    if template == "chat" and KINDS[name].template is None:
        assert template not in rollouts  # refused, by whatever engine
        return
    check(KINDS[name], source, model, rollouts[template])
