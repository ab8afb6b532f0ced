"""The vLLM engine: repeats, settings, and log-probs of the distribution that was sampled from."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import EngineError, HarnessError
from harness.machine import stall
from harness.machine.progress import Unit, Wait, waiting
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.rollout.sampling import choose
from harness.rollout.transformers import TransformersEngine
from harness.rollout.vllm import VllmEngine
from harness.tasks.countdown import Countdown
from harness.types import Rollout, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

STREAM = Stream(seed=11, name="rollout", step=4)
PLAIN = Sampling(max_new_tokens=40)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def requests(task: Countdown) -> list[Request]:
    """32 prompts with two responses each, numbered in no order."""
    return [Request(prompt=p, items=(1000 - 7 * p.item, 5000 + p.item)) for p in task.held_out()]


@pytest.fixture(scope="module")
def plain(engine: VllmEngine, requests: list[Request]) -> Rollout:
    return engine.generate(requests, PLAIN, STREAM)


def by_item(requests: Sequence[Request], rollout: Rollout) -> dict[int, tuple[list[int], bool]]:
    items = [item for r in requests for item in r.items]
    rows = [
        (rollout.tokens_BT[i, :length].tolist(), bool(rollout.finished_B[i]))
        for i, length in enumerate(rollout.lengths_B.tolist())
    ]
    return dict(zip(items, rows, strict=True))


# --- repeats --------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_responses_in_any_order_and_company(
    engine: VllmEngine, requests: list[Request], plain: Rollout
) -> None:
    again = engine.generate(requests, PLAIN, STREAM)
    assert torch.equal(again.tokens_BT, plain.tokens_BT)
    backwards = [Request(prompt=r.prompt, items=r.items[::-1]) for r in requests[::-1]]
    assert by_item(backwards, engine.generate(backwards, PLAIN, STREAM)) == by_item(requests, plain)
    few = requests[5:8]
    part = by_item(few, engine.generate(few, PLAIN, STREAM))
    assert part == {item: by_item(requests, plain)[item] for item in part}


def test_each_response_that_ends_is_reported_once(
    engine: VllmEngine, requests: list[Request], plain: Rollout, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[float] = []

    class Seen(Wait):
        def advance(self, amount: float) -> None:
            seen.append(amount)

    with waiting(Unit.RESPONSES, "sampling", "all", 64) as wait:
        wait.__class__ = Seen
        told = engine.generate(requests, PLAIN, STREAM)
    assert seen == [1.0] * 64
    assert torch.equal(told.tokens_BT, plain.tokens_BT)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [RuntimeError("the device is gone"), KeyboardInterrupt()])
def test_what_a_failed_call_leaves_behind_is_aborted(
    engine: VllmEngine,
    requests: list[Request],
    plain: Rollout,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    """The eighth step fails, when some responses have ended: none is waited for any more."""
    core = engine.llm.llm_engine
    executor = core.engine_core.engine_core.model_executor
    run, steps = executor.execute_model, itertools.count(1)

    def failing(*arguments: Any, **named: Any) -> Any:
        if next(steps) == 8:
            raise error
        return run(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(executor, "execute_model", failing)
        with pytest.raises((EngineError, KeyboardInterrupt)):
            engine.generate(requests, PLAIN, STREAM)
    assert not core.has_unfinished_requests()
    again = engine.generate(requests, PLAIN, STREAM)
    assert torch.equal(again.tokens_BT, plain.tokens_BT)


def test_a_call_that_does_not_get_on_is_ended_and_named(
    engine: VllmEngine,
    requests: list[Request],
    plain: Rollout,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Steps that bring nothing, for ever; in a trial `leave` ends the process."""
    core, told, left = engine.llm.llm_engine, list[HarnessError](), threading.Event()

    def step() -> list[Any]:
        if left.is_set():
            raise RuntimeError("left")
        time.sleep(0.01)
        return []

    with monkeypatch.context() as patched:
        patched.setattr(core, "step", step)
        with (
            stall.guarded(1.0, told.append, tmp_path / "trial.log", lambda code: left.set()),
            stall.within("gen"),
            pytest.raises(EngineError, match="failed while sampling: RuntimeError: left"),
        ):
            engine.generate(requests, PLAIN, STREAM)
    (error,) = told
    assert str(error).startswith("nothing got on for 1 s (guard.stall_seconds) in gen, at step (")
    again = engine.generate(requests, PLAIN, STREAM)
    assert torch.equal(again.tokens_BT, plain.tokens_BT)


@pytest.mark.parametrize("change", [{"seed": 12}, {"name": "eval"}, {"step": 5}], ids=str)
def test_another_stream_draws_other_responses(
    engine: VllmEngine, requests: list[Request], plain: Rollout, change: dict[str, int]
) -> None:
    other = engine.generate(requests, PLAIN, dataclasses.replace(STREAM, **change))
    same = sum(a == b for a, b in zip(other.texts, plain.texts, strict=True))
    assert same < len(plain.texts) / 4


def test_responses_of_one_prompt_differ_by_item(engine: VllmEngine, task: Countdown) -> None:
    many = [Request(prompt=task.pool()[0], items=tuple(range(40)))]
    assert len(set(engine.generate(many, PLAIN, STREAM).texts)) > 30


def test_tokens_are_drawn_with_the_models_probabilities(
    engine: VllmEngine, source: Source, task: Countdown
) -> None:
    """First tokens of 4,000 responses: chi-square below its 99.9 % point."""
    prompt, count = task.pool()[1], 4000
    made = engine.generate(
        [Request(prompt=prompt, items=tuple(range(count)))], Sampling(max_new_tokens=1), STREAM
    )
    with torch.no_grad():
        logits_V = source.model()(input_ids=torch.tensor([made.prompt_ids[0]])).logits[0, -1]
    p_V = logits_V.double().softmax(-1)
    seen_V = torch.bincount(made.tokens_BT[:, 0], minlength=len(p_V)).double()
    often_V = p_V * count >= 5  # the others are taken together
    expected = torch.cat([p_V[often_V], p_V[~often_V].sum()[None]]) * count
    seen = torch.cat([seen_V[often_V], seen_V[~often_V].sum()[None]])
    degrees = len(seen) - 1
    # Wilson and Hilferty: chi-square's 99.9 % point from the normal's, 3.09.
    bound = degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3
    assert ((seen - expected) ** 2 / expected).sum() < bound
    assert degrees >= 5


# --- log-probs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 0.0},
        {"min_new_tokens": 9},
        {"top_k": 3},
        {"top_p": 0.8, "temperature": 1.3},
    ],
    ids=str,
)
def test_logprobs_are_of_the_distribution_that_was_sampled_from(
    engine: VllmEngine, source: Source, requests: list[Request], change: dict[str, float]
) -> None:
    """Against this project's own truncation, at every token: `choose` made to draw that token."""
    sampling = dataclasses.replace(PLAIN, **change)
    model, end = source.model(), source.tokens.ends[0]
    made = engine.generate(requests[:12], sampling, STREAM)
    for i, length in enumerate(made.lengths_B.tolist()):
        response = made.tokens_BT[i, :length]
        ids = torch.tensor([[*made.prompt_ids[i], *response.tolist()]])
        with torch.no_grad():
            logits_TV = model(input_ids=ids).logits[0, len(made.prompt_ids[i]) - 1 : -1].double()
        logits_TV[: sampling.min_new_tokens, end] = -torch.inf
        expected = _logprobs(logits_TV, response, sampling)
        got = made.logprobs_BT[i, :length].double()
        torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE)


def _logprobs(logits_TV: torch.Tensor, response: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Of given tokens: a uniform number inside each one's step of the cumulative distribution."""
    from harness.rollout.sampling import _truncated

    scaled_TV = logits_TV / (sampling.temperature or 1.0)
    kept_TV = _truncated(scaled_TV, sampling) if sampling.temperature else scaled_TV
    cumulative_TV = kept_TV.softmax(-1).cumsum(-1)
    own_T = kept_TV.softmax(-1).gather(-1, response[:, None])[:, 0]
    uniforms_T = cumulative_TV.gather(-1, response[:, None])[:, 0] - own_T / 2
    tokens_T, logprobs_T = choose(logits_TV, uniforms_T, sampling)
    assert torch.equal(tokens_T, response)
    return logprobs_T.double()


def test_greedy_is_the_transformers_engines(
    engine: VllmEngine, source: Source, requests: list[Request]
) -> None:
    greedy = dataclasses.replace(PLAIN, temperature=0.0)
    other = TransformersEngine(source.model(), source.tokens, 16, max_rows=512)
    ours, theirs = (each.generate(requests, greedy, STREAM) for each in (engine, other))
    assert ours.texts == theirs.texts
    assert torch.equal(ours.finished_B, theirs.finished_B)
    assert ours.prompt_ids == theirs.prompt_ids
    assert torch.equal(ours.mask_BT, theirs.mask_BT)


# --- settings -------------------------------------------------------------------------------------


def test_a_smaller_window_gives_a_prefix(
    engine: VllmEngine, requests: list[Request], plain: Rollout
) -> None:
    made = engine.generate(requests, dataclasses.replace(PLAIN, max_new_tokens=17), STREAM)
    assert made.tokens_BT.shape[1] == 17
    whole = by_item(requests, plain)
    for item, (tokens, finished) in by_item(requests, made).items():
        assert tokens == whole[item][0][:17]
        assert finished == (whole[item][1] and len(whole[item][0]) <= 17)
    assert 0 < int(made.finished_B.sum()) < len(made.texts)


def test_no_end_before_min_new_tokens(
    engine: VllmEngine, requests: list[Request], plain: Rollout
) -> None:
    made = engine.generate(requests, dataclasses.replace(PLAIN, min_new_tokens=15), STREAM)
    assert int((plain.lengths_B <= 15).sum()) > 0  # without it some end earlier
    assert int(made.lengths_B.min()) > 15


@pytest.mark.parametrize("stop", [("=",), ("+", "-"), ("1=", "=1")], ids=str)
def test_a_stop_string_ends_at_its_first_completion_and_stays(
    engine: VllmEngine, source: Source, requests: list[Request], plain: Rollout, stop: tuple[str]
) -> None:
    tokenizer = source.tokens.tokenizer
    made = engine.generate(requests, dataclasses.replace(PLAIN, stop=stop), STREAM)
    whole, stopped = by_item(requests, plain), 0
    for item, (tokens, finished) in by_item(requests, made).items():
        before = whole[item][0]
        ends = [
            t
            for t in range(1, len(before) + 1)
            if any(s in tokenizer.decode(before[:t]) for s in stop)
        ]
        stopped += bool(ends)
        assert tokens == before[: min(ends, default=len(before))]
        assert finished == (bool(ends) or whole[item][1])
    assert stopped > 0


def test_forbidden_successors_never_follow(
    engine: VllmEngine, requests: list[Request], plain: Rollout
) -> None:
    pairs = (("=", "1"), ("1", "="))
    made = engine.generate(requests, dataclasses.replace(PLAIN, forbidden_after=pairs), STREAM)
    assert not any(a + b in text for text in made.texts for a, b in pairs)
    assert all(any(a + b in text for text in plain.texts) for a, b in pairs)
    for text, before in zip(made.texts, plain.texts, strict=True):
        first = min((at for a, _ in pairs if (at := before.find(a)) >= 0), default=len(before))
        assert text[: first + 1] == before[: first + 1]
