"""`+recipe=laptop_0_5b` on random weights of Qwen2-0.5B's shape: how soon it learns."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from harness.tracking.record import read
from tests.conftest import command

VOCABULARY = 151_936
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Characters whose pairs and triples are tokens, commonest first; Ġ is a space, Ċ a new line.
COMMON = "Ġetaoinsrhldcumfpgwybvkxjqz0123456789.,<>/[]()-+*=ETAOINSRHLDCUMFPGWYBVKXJQZĊ:?'\"!"


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which, as in Qwen2's, every row of the embeddings is a token."""
    single = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b) for a in COMMON for b in COMMON]
    merges = pairs + [(a + b, c) for a, b in pairs for c in COMMON]
    merges = merges[: VOCABULARY - len(single) - len(SPECIAL)]
    ids = {token: i for i, token in enumerate([*single, *(a + b for a, b in merges)])}
    made = Tokenizer(models.BPE(ids, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=SPECIAL[0], additional_special_tokens=SPECIAL[1:]
    )


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2-0.5B without its training: 494,032,768 parameters."""
    folder = tmp_path_factory.mktemp("laptop") / "qwen"
    made = tokenizer()
    assert len(made) == VOCABULARY
    made.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=VOCABULARY,
                hidden_size=896,
                intermediate_size=4864,
                num_hidden_layers=24,
                num_attention_heads=14,
                num_key_value_heads=2,
                max_position_embeddings=32_768,
                tie_word_embeddings=True,
                eos_token_id=made.eos_token_id,
                bos_token_id=None,
            )
        )
    assert sum(p.numel() for p in model.parameters()) == 494_032_768
    model.save_pretrained(folder)
    return folder


@pytest.mark.record
def test_the_first_step_is_learnt_from(tmp_path: Path, qwen: Path) -> None:
    """What it takes is printed.

    Random weights never end a response and are never right: no real model takes longer. The step
    has no gradient then, but all of it is computed.
    """
    started = time.monotonic()
    with (tmp_path / "out.txt").open("w") as out:
        process = subprocess.Popen(
            **command("+recipe=laptop_0_5b", f"model.path={qwen}", "tracking=none"),
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None and _last_step(tmp_path) < 1:
            time.sleep(0.5)
        said = (tmp_path / "out.txt").read_text()
        assert process.poll() is None, said
        seconds = time.monotonic() - started
        process.send_signal(signal.SIGTERM)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0  # waited for
    cpu = used.ru_utime + used.ru_stime
    print(f"first step: {cpu:.0f} CPU s, {seconds:.0f} s, {used.ru_maxrss / 1e6:.1f} GB\n{said}")
    assert _last_step(tmp_path) == 1


def _last_step(work: Path) -> int:
    folders = list((work / "runs" / "checkpoints").glob("*"))
    record = read(folders[0]) if folders else None
    return -1 if record is None else record.last
