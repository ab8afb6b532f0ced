"""Every kind of tokenizer under every template: special tokens, ends, texts, log-probs.

One start of vLLM per kind, in processes that are forked from one that has imported it.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from harness.models.loading import Source
from tests.kinds import KINDS, TEMPLATES, Sampled, check, check_ends, check_stops

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
) -> tuple[str, Source, Any, Sampled]:
    """A kind, its folder and model, and what vLLM samples from it."""
    name = request.param
    source = KINDS[name].save(tmp_path_factory.mktemp(name))
    with ProcessPoolExecutor(1, mp_context=started) as pool:
        made = pool.submit(_sampled, source).result(timeout=300)
    return name, source, source.model(), made


def _sampled(source: Source) -> Sampled:
    from tests.vllm import kinds

    return kinds.of(source)


@pytest.mark.parametrize("template", ["chat", *TEMPLATES])
def test_kind_under_template(kind: tuple[str, Source, Any, Sampled], template: str) -> None:
    name, source, model, made = kind
    if template == "chat" and KINDS[name].template is None:
        assert template not in made.by_template  # refused, by whatever engine
        return
    check(KINDS[name], source, model, made.by_template[template])


def test_ends_and_stops(kind: tuple[str, Source, Any, Sampled]) -> None:
    _, source, _, made = kind
    check_ends(source, made.many)
    check_stops(source, made.stopped)
