"""Special tokens once, all end tokens, the text that was meant: every kind under every template."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from harness.algorithms.grpo import Grpo
from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout
from harness.errors import ConfigError
from harness.learner import checkpoint
from harness.learner.batching import packed
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rollout.stops import completed
from harness.rollout.transformers import Transformers
from harness.tasks.templates import Chat, Question
from harness.types import Minibatch
from tests.kinds import (
    KINDS,
    SAMPLING,
    TEMPLATES,
    WORKED,
    Sampled,
    check,
    check_ends,
    check_stops,
    sampled,
)

Made = dict[str, tuple[Source, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Each kind's folder, and its model."""
    sources = {name: kind.save(tmp_path_factory.mktemp(name)) for name, kind in KINDS.items()}
    return {name: (source, source.model()) for name, source in sources.items()}


@pytest.fixture(scope="module")
def rollouts(made: Made) -> dict[str, Sampled]:
    return {name: sampled(Transformers(), source, ALONE) for name, (source, _) in made.items()}


@pytest.mark.parametrize("template", ["chat", *TEMPLATES])
@pytest.mark.parametrize("name", KINDS)
def test_kind_under_template(
    made: Made, rollouts: dict[str, Sampled], name: str, template: str
) -> None:
    source, model = made[name]
    if template == "chat" and KINDS[name].template is None:
        chat = Chat(tokenizer=source.tokenizer)
        with pytest.raises(ConfigError, match="has no chat template; choose another task/template"):
            chat.render(Question(text="?", compact="?", example="1", worked=WORKED))
        return
    rollout = rollouts[name].by_template[template]
    check(KINDS[name], source, model, rollout)
    trainers_BT, _ = Policy(model, 1.0, Layout(4096)).score(rollout)
    off_BT = (trainers_BT - rollout.logprobs_BT)[rollout.mask_BT].abs()
    assert float(off_BT.max()) < 1e-5


@pytest.mark.parametrize("name", KINDS)
def test_every_end_token_ends(made: Made, rollouts: dict[str, Sampled], name: str) -> None:
    check_ends(made[name][0], rollouts[name].many)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_ends_before_the_least(made: Made, rollouts: dict[str, Sampled], name: str) -> None:
    check_stops(made[name][0], rollouts[name].stopped)


@pytest.mark.parametrize("name", ["llama3", "gemma", "qwen2"])
def test_the_second_end_token_is_trained_on(
    made: Made, rollouts: dict[str, Sampled], name: str
) -> None:
    """Its log-prob is in the loss and has a gradient, as the first one's; what follows has none."""
    source, _ = made[name]
    rollout, model = rollouts[name].many, source.model()
    for end in source.tokens.ends:
        last_B = rollout.tokens_BT.gather(1, rollout.lengths_B[:, None] - 1)[:, 0]
        row_b = (last_B == end).nonzero()[:1, 0]
        length = int(rollout.lengths_B[row_b])
        policy = Policy(model, 1.0, Layout(4096), Optimizer())
        logprobs_bT = policy.module(packed(rollout, row_b))["logprobs_BT"]
        logprobs_bT.retain_grad()
        mask_bT = rollout.mask_BT[row_b, : logprobs_bT.shape[1]]
        batch = Minibatch(
            logprobs_BT=logprobs_bT,
            advantages_BT=mask_bT.double(),
            mask_BT=mask_bT,
            budget=SAMPLING.max_new_tokens,
            columns={"old_logprobs_BT": logprobs_bT.detach()},
        )
        (term,) = Grpo().loss(batch).terms
        (term.values * mask_bT).sum().backward()
        # GRPO on policy: the ratio is 1 and its gradient the advantage, 1: -1 at every token.
        assert logprobs_bT.grad[0, :length].tolist() == pytest.approx([-1.0] * length)
        head = model.get_output_embeddings().weight.grad
        assert float(head[end].abs().max()) > 0
        model.zero_grad()


def test_an_export_keeps_all_of_it(made: Made, tmp_path: Path) -> None:
    """Also what only the chat template had named, and it adds nothing."""
    source, model = made["qwen2"]
    folder = tmp_path / "best"
    checkpoint.export(folder, Policy(model, 1.0, Layout(4096)), source.tokens, 0.5)
    again = dataclasses.replace(source, path=str(folder), tokenizer=str(folder)).tokens
    assert again.ends == source.tokens.ends
    assert len(again.ends) == 2
    settings = json.loads((folder / "generation_config.json").read_text())
    assert settings["eos_token_id"] == list(source.tokens.ends)
    for key in ("pad_token", "eos_token", "chat_template"):
        assert getattr(again.tokenizer, key) == getattr(source.tokens.tokenizer, key)


def test_a_token_without_a_name_is_seen_in_the_text(made: Made) -> None:
    """Of the embeddings' padding: the text has a mark where it stood, and never "42"."""
    for source, _ in made.values():
        tokens = source.tokens
        four, two = (tokens.tokenizer.convert_tokens_to_ids(digit) for digit in "42")
        text = tokens.texts([[four, source.rows() - 1, two]])[0]
        assert text.replace(" ", "") == "4\N{REPLACEMENT CHARACTER}2"


@pytest.mark.parametrize(
    ("before", "after", "stops", "expected"),
    [
        ("ab", "abc", ["c"], True),
        ("ab", "abc", ["bc"], True),
        ("ab", "abc", ["ab"], False),  # it stood there before
        ("ab", "abab", ["ab"], True),
        ("a", "abcd", ["bc"], True),  # inside a token
        ("a\ufffd", "aé", ["é"], True),  # its first byte stood there
        ("", "", ["a"], False),
        ("a", "ab", [], False),
    ],
)
def test_a_stop_string_is_completed_by_one_token(
    before: str, after: str, stops: list[str], expected: bool
) -> None:
    assert completed(before, after, stops) == expected


def test_a_prompt_is_read_by_the_tokenizer_once(tokens: Tokens) -> None:
    """However often it is asked for; and what is given out is the caller's to change."""
    asked: list[str] = []

    class Counted:
        name_or_path = ""

        def __call__(self, text: Any, **options: Any) -> Any:
            asked.extend([text] if isinstance(text, str) else text)
            return tokens.tokenizer(text, **options)

    own, texts = Tokens(Counted(), tokens.ends), ["Q7 8 3=4?", "Q1 2 3=6?"]
    assert own.ids([texts[0]]) == tokens.ids(texts[:1])
    first = own.ids([*texts, texts[0]])
    first[0].append(0)
    assert own.ids([*texts, texts[0]]) == tokens.ids([*texts, texts[0]])
    assert [asked.count(text) for text in texts] == [1, 1]
