"""model=hf: any causal language model in a folder; here a grouped-query Llama, no pad token."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.distributed.ranks import ALONE
from harness.errors import ConfigError
from harness.launch import run_trial
from harness.models.vocabulary import COMPACT
from harness.rollout.engine import Request, Stream
from harness.trial import prepare, trial_folder
from tests.conftest import SMALL

OVERRIDES = [o for o in SMALL if not o.startswith("model.")]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "llama"
    vocabulary = {token: i for i, token in enumerate(["<eos>", *COMPACT])}
    characters = Tokenizer(WordLevel(vocabulary, unk_token="<eos>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=characters, eos_token="<eos>")
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=48,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=128,
                bos_token_id=None,
                eos_token_id=0,
            )
        )
    model.save_pretrained(folder)
    return folder


def settings(llama: Path, work: Path) -> list[str]:
    return [
        "model=hf",
        f"model.path={llama}",
        "task/template=compact",
        "reward.format_score=0.1",
        "tracking=none",
        f"runs={work / 'runs'}",
        *OVERRIDES,
    ]


def test_a_foreign_model_trains_and_its_checkpoint_loads_again(
    tmp_path: Path, llama: Path, composed: Callable[..., Any]
) -> None:
    config = composed(*settings(llama, tmp_path))
    seen: list[Mapping[str, float]] = []
    run_trial(config, lambda step, progress, metrics: seen.append(metrics))
    assert len(seen) == 9
    logged = (trial_folder(config) / "trial.log").read_text()
    assert logged.count('"eval/accuracy"') == 5, "without a store the log file has the numbers"
    assert seen[-1]["rollout/mismatch/max"] < 1e-4
    final = LlamaForCausalLM.from_pretrained(trial_folder(config) / "final")
    before = LlamaForCausalLM.from_pretrained(llama)
    moved = any(step["actor/grad_norm"] > 0 for step in seen[1:])
    same = torch.equal(final.lm_head.weight, before.lm_head.weight)
    assert moved
    assert not same


def test_grouped_query_attention_keeps_batch_independence(
    tmp_path: Path, llama: Path, composed: Callable[..., Any]
) -> None:
    config = composed(*settings(llama, tmp_path))
    source = config.model.prepare(config.task, str(tmp_path))
    prompts = config.task.held_out()
    engine = config.rollout.engine(source, source.tokens, prompts, "cpu", ALONE)
    requests = [Request(prompt=p, items=(p.item,)) for p in prompts]
    stream = Stream(seed=0, name="test", step=0)
    sampling = config.rollout.sampling(48)
    whole = engine.generate(requests, sampling, stream)
    for size in (8, 1):
        for start in range(0, 16, size):
            part = engine.generate(requests[start : start + size], sampling, stream)
            width = part.tokens_BT.shape[1]
            rows = slice(start, start + size)
            assert torch.equal(part.tokens_BT, whole.tokens_BT[rows, :width])
            assert torch.equal(part.logprobs_BT, whole.logprobs_BT[rows, :width])


def test_a_prompt_without_room_for_its_response_is_refused(
    composed: Callable[..., Any], small_base: Path, tmp_path: Path
) -> None:
    """The tiny base reads 512 tokens; its longest prompts have 10."""
    base = next(path for path in (small_base / "models").iterdir() if path.is_dir())
    request = ("model=hf", f"model.path={base}", "task/template=compact", f"runs={tmp_path}")
    prepare(composed(*request, "rollout.max_new_tokens=502"))
    with pytest.raises(ConfigError, match=r"reads 512 tokens.* has 10 and .*503; lower .* to 502"):
        prepare(composed(*request, "rollout.max_new_tokens=503"))
