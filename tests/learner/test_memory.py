"""The memory that a dry run promises, and what training takes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.distributed.sharding import Layout, Sharding, placed
from harness.models.loading import Source
from tests.benchmarks import verdict
from tests.conftest import ROOT, harness

# hidden, layers, feed-forward, settings: 6.3M and 50M parameters.
SIZES = {
    "6M": (256, 6, 1024, ("trainer.token_budget=4096",)),
    "50M": (512, 12, 2048, ("trainer.token_budget=2048", "trainer.prompts_per_step=4")),
}
# glibc keeps what was freed in pieces of up to 32 MB; without that, memory is what tensors take.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144"}
MEASURE = """
import json, sys
from harness.__main__ import use_sweeper_plugin
use_sweeper_plugin()
from harness.cli import composed
from harness.launch import run_trial
import transformers.models.qwen2.modeling_qwen2

def kilobytes(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))

config = composed(sys.argv[1:])
idle = kilobytes("VmRSS")
run_trial(config, lambda step, progress, metrics: None)
print(json.dumps((kilobytes("VmHWM") - idle) * 1024))
"""


def model_folder(source: Source, folder: Path, size: str) -> str:
    """A random model of a size, with the tiny base's tokenizer."""
    hidden, layers, feed_forward, _ = SIZES[size]
    tokenizer = source.tokens.tokenizer
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        intermediate_size=feed_forward,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.memory
@pytest.mark.parametrize("size", SIZES)
def test_a_dry_run_is_within_a_fifth_of_what_a_trial_takes(
    source: Source, tmp_path: Path, size: str
) -> None:
    model = model_folder(source, tmp_path / "model", size)
    chosen = [
        *("model=hf", f"model.path={model}", "task/template=compact", "tracking=none"),
        *("evaluation.pass_k=0", "evaluation.every=1.0", "task.eval_size=16"),
        *("budget.amount=2", "trainer.save_every=1.0", f"runs={tmp_path / 'runs'}"),
        # Every response as long as it may be, whatever the random model says: full passes.
        *("rollout.max_new_tokens=118", "rollout.min_new_tokens=118"),
        *SIZES[size][3],
    ]
    dry = harness(tmp_path, *chosen, "dry_run=true")
    assert dry.returncode == 0, dry.stderr
    (together,) = re.findall(r"together +([\d.]+) GB", dry.stdout)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *chosen],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **GIVE_BACK},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1]) / 1e9
    print(f"{size}: estimated {together} GB, measured {measured:.2f} GB")
    assert float(together) == pytest.approx(measured, rel=0.2)


@pytest.mark.memory
def test_a_real_vocabulary_is_never_all_in_memory(tmp_path: Path) -> None:
    """B=8, T=2048, V=151,936: all logits would be 9.96 GB; 2.5 GB are allowed.

    The benchmark's own bound is tighter, and about the allocator of the machine it was found on.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "memory"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode in (0, verdict.MISSED), done.stderr
    found = json.loads((tmp_path / "runs" / "benchmarks" / "memory.json").read_text())
    (peak,) = found["ratios"][0]["sides"]["peak"]
    assert peak <= 2.5


def test_checkpointing_keeps_less_and_changes_no_gradient(source: Source) -> None:
    """Bytes that autograd keeps, and gradients: equal to the bit, since eval mode draws nothing."""
    found: dict[bool, tuple[int, list[Any]]] = {}
    for checkpointing in (False, True):
        model = source.model()
        placed(model, Layout(1000, Sharding(checkpointing=checkpointing)))
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept: dict[int, int] = {}

        def pack(
            x: torch.Tensor, kept: dict[int, int] = kept, weights: set[int] = weights
        ) -> torch.Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return x

        tokens_bS = torch.arange(400).view(4, 100) % model.config.vocab_size
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            hidden = model.base_model(input_ids=tokens_bS, use_cache=False).last_hidden_state
        (hidden**2).sum().backward()
        found[checkpointing] = (sum(kept.values()), [p.grad for p in model.parameters()])
    assert found[True][0] < 0.5 * found[False][0]
    for a, b in zip(found[True][1], found[False][1], strict=True):
        assert torch.equal(a, b)
