"""What the checks on a GPU work on: a random model that is written here, and trials of it.

Nothing is downloaded. The same checks run on a CPU with a tiny shape (test_rehearsal.py), so that
what is started on a GPU for the first time has run before.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from harness.__main__ import use_sweeper_plugin
from harness.cli import composed
from harness.config import TrialConfig
from harness.models.vocabulary import END, PAD, PRINTABLE, SPELLED


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2 with tied embeddings."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    feed_forward: int
    vocabulary: int


HALF_BILLION = Shape(896, 24, 14, 2, 4864, 151_936)
"""Qwen2.5-0.5B's: 494M parameters."""
TINY = Shape(64, 2, 2, 1, 128, 160)
PLAIN = "runs_plain"
"""Of the one trial that several checks look at."""
THREADS = 8
"""Beside a GPU: half a billion numbers are read, cast and written several times per trial."""


@dataclass(frozen=True)
class World:
    """Where the checks run.

    Attributes:
        device: cuda or cpu.
        folder: to write to; steps: of a family's trial (fewer where prompts are drawn again).
        new_tokens: of each response; prompts: of each step.
    """

    device: str
    shape: Shape
    folder: Path
    steps: int
    new_tokens: int
    prompts: int

    @property
    def model(self) -> str:
        """The model's folder, written once."""
        path = self.folder / "model"
        if not path.exists():
            _written(self.shape, path)
        return str(path)

    def clear(self) -> None:
        """Throw away what trials wrote but those that others read: some take 20 GB of the disk."""
        for path in self.folder.glob("runs*"):
            if path.name != PLAIN:
                shutil.rmtree(path)

    def config(self, *overrides: str, runs: str = "runs") -> TrialConfig:
        """A trial: FSDP2 on one rank in bfloat16, a random reward, so that there is a gradient."""
        use_sweeper_plugin()
        threads = THREADS if self.device == "cuda" else 1
        asked = (
            *("model=hf", f"model.path={self.model}", "task/template=compact", "tracking=none"),
            *("reward=random", "task.train_size=256", "task.eval_size=16", "evaluation.pass_k=0"),
            *("evaluation.every=1.0", "trainer.save_every=1.0"),
            f"budget={{unit:prompts,amount:{self.steps * self.prompts}}}",
            *(f"trainer.prompts_per_step={self.prompts}", f"trainer.device={self.device}"),
            f"rollout.max_new_tokens={self.new_tokens}",
            f"rollout.min_new_tokens={self.new_tokens}",
            f"trainer.threads={threads}",
            "trainer.optimizer.learning_rate=1e-6",
            "trainer.sharding={fsdp:true,precision:bfloat16,checkpointing:true}",
            f"runs={self.folder / runs}",
            *overrides,
        )
        return composed(asked)


def tokenizer(size: int) -> Any:
    """One token per printable character; the rest of the vocabulary is never read."""
    names = [PAD, END, *(SPELLED.get(c, c) for c in PRINTABLE)]
    names += [f"<{i}>" for i in range(len(names), size)]
    return Qwen2Tokenizer(
        vocab={name: i for i, name in enumerate(names)},
        merges=[],
        unk_token=PAD,
        pad_token=PAD,
        eos_token=END,
    )


def _written(shape: Shape, path: Path) -> None:
    """Random weights, the same each time, in bfloat16 on the disk."""
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(path)
    tokenizer(shape.vocabulary).save_pretrained(path)
