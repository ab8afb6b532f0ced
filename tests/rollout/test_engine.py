"""The transformers engine: bitwise independence of the batch, and every sampling setting."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.distributed.ranks import ALONE
from harness.errors import ContractError
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import Transformers, TransformersEngine
from harness.tasks.countdown import Countdown
from harness.types import Rollout, Sampling

STREAM = Stream(seed=11, name="rollout", step=4)
PLAIN = Sampling(max_new_tokens=24)
# One response as it must come back in every batch: tokens, log-probs, finished, text.
Response = tuple[list[int], list[float], bool, str]


@pytest.fixture(scope="module")
def requests(task: Countdown) -> list[Request]:
    """64 prompts with two responses each, numbered in no order."""
    return [Request(prompt=p, items=(1000 - 7 * p.item, 5000 + p.item)) for p in task.held_out()]


@pytest.fixture(scope="module")
def plain(engine: TransformersEngine, requests: list[Request]) -> Rollout:
    """128 responses in one call."""
    return engine.generate(requests, PLAIN, STREAM)


def responses(rollout: Rollout) -> list[Response]:
    rows = []
    for i, length in enumerate(rollout.lengths_B.tolist()):
        tokens, logprobs = rollout.tokens_BT[i, :length], rollout.logprobs_BT[i, :length]
        finished = bool(rollout.finished_B[i])
        rows.append((tokens.tolist(), logprobs.tolist(), finished, rollout.texts[i]))
    return rows


def by_item(requests: Sequence[Request], rollout: Rollout) -> dict[int, Response]:
    items = [item for r in requests for item in r.items]
    return dict(zip(items, responses(rollout), strict=True))


def in_calls(
    engine: TransformersEngine, requests: Sequence[Request], size: int
) -> dict[int, Response]:
    found: dict[int, Response] = {}
    for start in range(0, len(requests), size):
        part = requests[start : start + size]
        found |= by_item(part, engine.generate(part, PLAIN, STREAM))
    return found


def apart(requests: Sequence[Request]) -> list[Request]:
    return [Request(prompt=r.prompt, items=(item,)) for r in requests for item in r.items]


def fresh(source: Source, tokens: Tokens, max_rows: int = 512) -> TransformersEngine:
    return TransformersEngine(source.model(), tokens, 16, max_rows)


# --- exactness ------------------------------------------------------------------------------------


def test_a_call_repeats_itself(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    again = engine.generate(requests, PLAIN, STREAM)
    assert torch.equal(again.tokens_BT, plain.tokens_BT)
    assert torch.equal(again.logprobs_BT, plain.logprobs_BT)


@pytest.mark.parametrize("size", [1, 8, 17])
def test_a_smaller_batch_gives_the_same_bits(
    engine: TransformersEngine, requests: list[Request], plain: Rollout, size: int
) -> None:
    assert in_calls(engine, requests, size) == by_item(requests, plain)


def test_a_response_alone_gives_the_same_bits(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    whole = by_item(requests, plain)
    for item, response in in_calls(engine, apart(requests[:16]), 1).items():
        assert response == whole[item]


def test_order_does_not_matter(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    backwards = [Request(prompt=r.prompt, items=r.items[::-1]) for r in requests[::-1]]
    assert in_calls(engine, backwards, len(backwards)) == by_item(requests, plain)


def test_a_larger_batch_gives_the_same_bits(
    engine: TransformersEngine, requests: list[Request], plain: Rollout, task: Countdown
) -> None:
    more = [Request(prompt=p, items=tuple(range(9000, 9003))) for p in task.pool()]
    whole = responses(engine.generate([*more, *requests], PLAIN, STREAM))
    assert whole[3 * len(more) :] == responses(plain)


def test_few_rows_at_once_give_the_same_bits(
    source: Source, tokens: Tokens, requests: list[Request], plain: Rollout
) -> None:
    narrow = fresh(source, tokens, max_rows=32).generate(requests, PLAIN, STREAM)
    assert responses(narrow) == responses(plain)


def test_a_group_larger_than_max_rows_is_not_split_or_lost(
    engine: TransformersEngine, source: Source, tokens: Tokens, task: Countdown
) -> None:
    wide = [Request(prompt=task.pool()[0], items=tuple(range(50)))]
    narrow = fresh(source, tokens, max_rows=32)
    whole = engine.generate(wide, PLAIN, STREAM)
    assert responses(narrow.generate(wide, PLAIN, STREAM)) == responses(whole)
    assert len(whole.texts) == 50


def test_a_prompt_of_another_length_beside_it_changes_nothing(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    other = dataclasses.replace(requests[0].prompt, text="Q12 13 14=15?")
    mixed = [Request(prompt=other, items=(0,)), *requests[:5]]
    assert responses(engine.generate(mixed, PLAIN, STREAM))[1:] == responses(plain)[:10]


@pytest.mark.parametrize(
    "stream",
    [
        dataclasses.replace(STREAM, seed=12),
        dataclasses.replace(STREAM, seed=11 + 2**32),
        dataclasses.replace(STREAM, name="eval"),
        dataclasses.replace(STREAM, step=5),
    ],
    ids=str,
)
def test_another_stream_draws_other_responses(
    engine: TransformersEngine, requests: list[Request], plain: Rollout, stream: Stream
) -> None:
    other = engine.generate(requests, PLAIN, stream)
    same = sum(a == b for a, b in zip(other.texts, plain.texts, strict=True))
    assert same < len(plain.texts) / 4


def test_equal_prompts_differ_by_item_and_equal_items_agree(
    engine: TransformersEngine, task: Countdown
) -> None:
    prompt = task.pool()[0]
    twice = [Request(prompt=prompt, items=(1, 2)), Request(prompt=prompt, items=(2, 1))]
    a, b, c, d = responses(engine.generate(twice, PLAIN, STREAM))
    assert (a, b) == (d, c)
    assert a != b


def test_no_pass_is_made_after_the_last_token(
    source: Source, tokens: Tokens, requests: list[Request]
) -> None:
    """The prompts' pass gives the first token: five tokens that end nothing take four more."""
    engine = fresh(source, tokens)
    read: list[int] = []

    def reads(model: Any, args: Any, given: Any) -> None:
        read.append(given["input_ids"].shape[1])

    engine.model.register_forward_pre_hook(reads, with_kwargs=True)
    sampling = Sampling(max_new_tokens=5, min_new_tokens=5)
    made = engine.generate(requests[:4], sampling, STREAM)
    assert made.lengths_B.tolist() == [5] * 8
    assert read == [engine.width, 1, 1, 1, 1]


def test_one_number_per_response_and_token_leaves_the_device(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logits of a real vocabulary would take seconds to travel."""
    seen: list[int] = []
    own = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: (seen.append(x.dim()), own(x))[1])
    engine.generate(requests[:4], PLAIN, STREAM)
    assert set(seen) == {1}


@pytest.fixture(scope="module")
def kinds(source: Source) -> dict[str, Any]:
    """Models that the cache and its mask treat in different ways, with random weights."""
    from transformers import Qwen2ForCausalLM

    def model(**changes: Any) -> Any:
        config = source.config()
        for name, value in changes.items():
            setattr(config, name, value)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Qwen2ForCausalLM(config).eval()

    layers = source.config().num_hidden_layers
    sliding = ["full_attention", *["sliding_attention"] * (layers - 1)]
    return {
        "grouped": model(num_key_value_heads=2),
        "eager": model(_attn_implementation="eager"),
        "sliding": model(layer_types=sliding, sliding_window=9, use_sliding_window=True),
    }


@pytest.mark.parametrize("kind", ["grouped", "eager", "sliding"])
@pytest.mark.parametrize("unlike", [False, True])
def test_other_attention_is_what_transformers_computes(
    kinds: dict[str, Any], tokens: Tokens, requests: list[Request], kind: str, unlike: bool
) -> None:
    """Log-probs of a pass without a cache, and no batch that shows; with and without padding."""
    asked = requests[:12]
    width = 16 if unlike else len(tokens.ids([asked[0].prompt.text])[0])
    if not unlike:
        asked = [r for r in asked if len(tokens.ids([r.prompt.text])[0]) == width]
    engine = TransformersEngine(kinds[kind], tokens, width, 512)
    made = engine.generate(asked, PLAIN, STREAM)
    for i, length in enumerate(made.lengths_B.tolist()):
        response = made.tokens_BT[i, :length]
        expected = row_logits(kinds[kind], made.prompt_ids[i], response).log_softmax(-1)
        got = made.logprobs_BT[i, :length].double()
        expected = expected.gather(-1, response[:, None])[:, 0]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    alone = in_calls(engine, apart(asked[:2]), 1)
    assert alone == {item: r for item, r in by_item(asked, made).items() if item in alone}


# --- what a rollout says --------------------------------------------------------------------------


def test_fields_of_a_rollout_agree(plain: Rollout, requests: list[Request], tokenizer: Any) -> None:
    end = tokenizer.eos_token_id
    assert 0 < int(plain.finished_B.sum()) < len(plain.texts)  # both kinds are there
    assert plain.group_B.tolist() == [i for i in range(64) for _ in range(2)]
    assert plain.prompts == tuple(r.prompt for r in requests for _ in range(2))
    for i, prompt in enumerate(plain.prompts):
        tokens = plain.tokens_BT[i].tolist()
        length = int(plain.mask_BT[i].sum())
        assert plain.mask_BT[i].tolist() == [t < length for t in range(len(tokens))]
        assert tokenizer.decode(plain.prompt_ids[i]) == prompt.text
        assert end not in tokens[: length - 1]
        finished = bool(plain.finished_B[i])
        assert finished == (tokens[length - 1] == end)
        assert finished or length == PLAIN.max_new_tokens
        bare = tokens[: length - finished]
        # One character per token, the padding token's name aside.
        assert plain.texts[i].replace("<pad>", "_") == "".join(
            tokenizer.decode([token]).replace("<pad>", "_") for token in bare
        )
    assert (plain.logprobs_BT[plain.mask_BT] < 0).all()


@pytest.mark.parametrize(
    "sampling",
    [
        PLAIN,
        dataclasses.replace(PLAIN, temperature=0.7),
        dataclasses.replace(PLAIN, temperature=0.0),
        dataclasses.replace(PLAIN, min_new_tokens=9),
    ],
    ids=["plain", "temperature", "greedy", "no_early_end"],
)
def test_logprobs_are_those_of_a_plain_forward_pass(
    engine: TransformersEngine,
    source: Source,
    requests: list[Request],
    tokenizer: Any,
    sampling: Sampling,
) -> None:
    model = source.model()
    made = engine.generate(requests[:12], sampling, STREAM)
    for i, length in enumerate(made.lengths_B.tolist()):
        response = made.tokens_BT[i, :length]
        logits_SV = row_logits(model, made.prompt_ids[i], response)
        logits_SV[: sampling.min_new_tokens, tokenizer.eos_token_id] = -torch.inf
        logprobs_SV = (logits_SV / (sampling.temperature or 1.0)).log_softmax(-1)
        expected = logprobs_SV.gather(-1, response[:, None])[:, 0]
        got = made.logprobs_BT[i, :length].double()
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def row_logits(model: Any, prompt: Sequence[int], response: Tensor) -> Tensor:
    """Logits before each response token, from one unpadded row without a cache."""
    ids = torch.tensor([[*prompt, *response.tolist()]])
    return model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()


def test_greedy_is_what_transformers_generates(
    engine: TransformersEngine, source: Source, requests: list[Request], tokenizer: Any
) -> None:
    model = source.model()
    greedy = dataclasses.replace(PLAIN, temperature=0.0)
    made = engine.generate(apart(requests)[:24], greedy, STREAM)
    for i, length in enumerate(made.lengths_B.tolist()):
        ids = torch.tensor([made.prompt_ids[i]])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=PLAIN.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )
        assert made.tokens_BT[i, :length].tolist() == expected[0, ids.shape[1] :].tolist()


# --- settings -------------------------------------------------------------------------------------


def test_a_smaller_window_gives_a_prefix(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    short = dataclasses.replace(PLAIN, max_new_tokens=7)
    made = engine.generate(requests, short, STREAM)
    for cut, whole in zip(responses(made), responses(plain), strict=True):
        assert cut[:2] == (whole[0][:7], whole[1][:7])
        assert cut[2] == (whole[2] and len(whole[0]) <= 7)
        assert whole[3].startswith(cut[3])
    assert made.tokens_BT.shape[1] == 7


def test_no_end_before_min_new_tokens(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    least = 10
    made = engine.generate(requests, dataclasses.replace(PLAIN, min_new_tokens=least), STREAM)
    assert int((plain.lengths_B <= least).sum()) > 0  # without it some end earlier
    assert int(made.lengths_B.min()) == least + 1  # the end token comes after ten others
    assert not (made.tokens_BT[:, :least] == engine.tokens.ends[0]).any()


@pytest.mark.parametrize("stop", [("=",), ("+", "-"), ("1=", "=1"), ("8",)], ids=str)
def test_a_stop_string_ends_at_its_first_completion(
    engine: TransformersEngine,
    requests: list[Request],
    plain: Rollout,
    tokenizer: Any,
    stop: tuple[str, ...],
) -> None:
    made = engine.generate(requests, dataclasses.replace(PLAIN, stop=stop), STREAM)
    stopped = 0
    for cut, (tokens, logprobs, finished, text) in zip(
        responses(made), responses(plain), strict=True
    ):
        ends = [
            t
            for t in range(1, len(tokens) + 1)
            if any(s in tokenizer.decode(tokens[:t]) for s in stop)
        ]
        length = min(ends, default=len(tokens))
        stopped += bool(ends)
        assert cut[:3] == (tokens[:length], logprobs[:length], bool(ends) or finished)
        assert cut[3] == (tokenizer.decode(tokens[:length]) if ends else text)
        assert bool(ends) == any(cut[3].endswith(s) for s in stop)
    assert 0 < stopped <= len(made.texts)


def test_forbidden_successors_never_follow(
    engine: TransformersEngine, requests: list[Request], plain: Rollout
) -> None:
    pairs = (("=", "1"), (";", "A"), ("1", "="))
    made = engine.generate(requests, dataclasses.replace(PLAIN, forbidden_after=pairs), STREAM)
    for text, before in zip(made.texts, plain.texts, strict=True):
        assert not any(a + b in text for a, b in pairs)
        first = min((at for a, _ in pairs if (at := before.find(a)) >= 0), default=len(before))
        # Nothing changes up to the first token that forbids something.
        assert text[: first + 1] == before[: first + 1]
    assert all(any(a + b in text for text in plain.texts) for a, b in pairs)


def test_top_k_of_one_is_greedy(engine: TransformersEngine, requests: list[Request]) -> None:
    one = engine.generate(requests[:8], dataclasses.replace(PLAIN, top_k=1), STREAM)
    greedy = engine.generate(requests[:8], dataclasses.replace(PLAIN, temperature=0.0), STREAM)
    assert torch.equal(one.tokens_BT, greedy.tokens_BT)
    assert (one.logprobs_BT == 0).all()  # the only token left is certain


# --- weights --------------------------------------------------------------------------------------


def test_loaded_weights_are_what_is_sampled_from(
    source: Source, tokens: Tokens, requests: list[Request], plain: Rollout
) -> None:
    other = source.model()
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draws)
    engine = fresh(source, tokens)
    assert responses(engine.generate(requests, PLAIN, STREAM)) == responses(plain)
    engine.load_weights((n, p.detach()) for n, p in other.named_parameters())
    synced = responses(engine.generate(requests, PLAIN, STREAM))
    native = TransformersEngine(other, tokens, 16, 512).generate(requests, PLAIN, STREAM)
    assert synced == responses(native)
    assert synced != responses(plain)
    # The engine keeps its own copy: what the trainer does next does not reach it.
    with torch.no_grad():
        other.model.norm.weight.zero_()
    assert responses(engine.generate(requests, PLAIN, STREAM)) == synced


def test_a_missing_weight_is_refused(source: Source, tokens: Tokens) -> None:
    engine = fresh(source, tokens)
    weights = [(n, p.detach()) for n, p in source.model().named_parameters()]
    name = weights[3][0]
    with pytest.raises(ContractError, match=f"every weight by its name.*{name}"):
        engine.load_weights(weights[:3] + weights[4:])


# --- from config to engine ------------------------------------------------------------------------


def test_config_makes_an_engine_wide_enough_for_every_prompt(
    source: Source, tokens: Tokens, task: Countdown, requests: list[Request], plain: Rollout
) -> None:
    config = Transformers(max_rows=64)
    engine = config.engine(source, tokens, task.pool() + task.held_out(), "cpu", ALONE)
    made = engine.generate(requests, config.sampling(24), STREAM)
    assert responses(made) == responses(plain)
    long = dataclasses.replace(task.pool()[0], text="Q" + "7 " * 20 + "=3?")
    engine = config.engine(source, tokens, [long], "cpu", ALONE)
    made = engine.generate([Request(prompt=long, items=(0,))], config.sampling(4), STREAM)
    assert tokens.tokenizer.decode(made.prompt_ids[0]) == long.text


def test_sampling_takes_over_every_setting() -> None:
    config = Transformers(
        max_new_tokens=50, temperature=0.9, top_p=0.8, top_k=7, min_new_tokens=3, stop=["x", "y"]
    )
    assert config.sampling(12) == Sampling(
        temperature=0.9, top_p=0.8, top_k=7, min_new_tokens=3, max_new_tokens=12, stop=("x", "y")
    )
    assert config.sampling(12, 0.0).temperature == 0.0  # 0 is a temperature: greedy
