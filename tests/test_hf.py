"""model=hf: any causal language model in a folder; here a grouped-query Llama, no pad token."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.models.tiny import CHARACTERS
from harness.rollout.engine import Request, Stream
from harness.trial import run_trial, trial_folder
from tests.conftest import SMALL

OVERRIDES = [o for o in SMALL if not o.startswith("model.")]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "llama"
    vocabulary = {token: i for i, token in enumerate(["<eos>", *CHARACTERS])}
    characters = Tokenizer(WordLevel(vocabulary, unk_token="<eos>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
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
    assert seen[-1]["rollout/logprob_diff/max"] < 1e-4
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
    engine = config.rollout.engine(source, source.load_tokenizer(), prompts)
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
