"""Special tokens once, all end tokens, the text that was meant: every kind under every template."""

from typing import Any

import pytest

from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout
from harness.errors import ConfigError
from harness.learner.policy import Policy
from harness.models.loading import Source
from harness.rollout.transformers import Transformers
from harness.tasks.templates import Chat, Question
from harness.types import Rollout
from tests.kinds import KINDS, TEMPLATES, WORKED, check, sampled

Made = dict[str, tuple[Source, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Each kind's folder, and its model."""
    sources = {name: kind.save(tmp_path_factory.mktemp(name)) for name, kind in KINDS.items()}
    return {name: (source, source.model()) for name, source in sources.items()}


@pytest.fixture(scope="module")
def rollouts(made: Made) -> dict[str, dict[str, Rollout]]:
    return {name: sampled(Transformers(), source, ALONE) for name, (source, _) in made.items()}


@pytest.mark.parametrize("template", ["chat", *TEMPLATES])
@pytest.mark.parametrize("name", KINDS)
def test_kind_under_template(
    made: Made, rollouts: dict[str, dict[str, Rollout]], name: str, template: str
) -> None:
    source, model = made[name]
    if template == "chat" and KINDS[name].template is None:
        chat = Chat(tokenizer=source.tokenizer)
        with pytest.raises(ConfigError, match="has no chat template; choose another task/template"):
            chat.render(Question(text="?", compact="?", example="1", worked=WORKED))
        return
    rollout = rollouts[name][template]
    check(KINDS[name], source, model, rollout)
    trainers_BT, _ = Policy(model, 1.0, Layout(4096)).score(rollout)
    off_BT = (trainers_BT - rollout.logprobs_BT)[rollout.mask_BT].abs()
    assert float(off_BT.max()) < 1e-5
