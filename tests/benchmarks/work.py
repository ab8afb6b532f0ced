"""The work that is measured: one step of 32 prompts x 8 responses of at most 64 tokens.

A random Qwen2 with a character vocabulary of 40; four optimizer steps of 64 rows each.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PROMPTS, GROUP, NEW_TOKENS, UPDATES = 32, 8, 64, 4
LEARNING_RATE = 5e-5
CHARACTERS = "0123456789+-*/=()?!. abcdefghijklmnopq"
SPECIAL = ("<pad>", "<eos>")
SEED = 0
STEPS = 8
"""Steps until the prompts come again."""


@dataclass(frozen=True)
class Shape:
    """What a step does.

    Attributes:
        new_tokens: budget of a response.
        updates: optimizer steps.
        equal: every response as long as the budget: none may end before.
    """

    new_tokens: int = NEW_TOKENS
    updates: int = UPDATES
    equal: bool = False

    @property
    def least_tokens(self) -> int:
        """Tokens before which a response may not end."""
        return self.new_tokens if self.equal else 0


PLAIN = Shape()


@dataclass(frozen=True)
class Size:
    """A model."""

    name: str
    hidden: int
    layers: int
    heads: int
    feed_forward: int


SIZES = {"A": Size("0.45M", 96, 3, 4, 384), "B": Size("6.3M", 256, 6, 8, 1024)}


def tokenizer() -> Any:
    """One token per character."""
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *CHARACTERS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def model(size: Size) -> Any:
    """The same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(CHARACTERS) + len(SPECIAL),
                hidden_size=size.hidden,
                num_hidden_layers=size.layers,
                num_attention_heads=size.heads,
                num_key_value_heads=size.heads,
                intermediate_size=size.feed_forward,
                max_position_embeddings=256,
                tie_word_embeddings=True,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=None,
            )
        )


def prompts(steps: int) -> list[str]:
    """As many different prompts as so many steps need."""
    return [f"{i:04d}+{(i * 37) % 1000:03d}=?" for i in range(PROMPTS * steps)]


def reward(text: str) -> float:
    """Share of digits: dense, and no two responses are likely to have the same."""
    return sum(c.isdigit() for c in text) / max(len(text), 1)


def saved(size: Size, folder: Path) -> str:
    """The model and its tokenizer, as a folder that both can load."""
    model(size).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)
