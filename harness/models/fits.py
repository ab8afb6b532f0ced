"""Whether a tokenizer belongs to a model: compared before anything runs.

Each of these would pass unseen, or show as an index error in the middle of a trial.
"""

import unicodedata
from collections.abc import Sequence

from harness.errors import ConfigError
from harness.models.tokens import Tokens

# Families round their embeddings up to a multiple of this for their kernels ...
ROUNDED_TO = 128
# ... or by up to this share of the tokenizer's size: 2.4 % at DeepSeek-Coder, 1.8 % at Phi-2.
ROUNDED_BY = 1 / 32


def check_sizes(tokens: Tokens, rows: int) -> None:
    """Refuse a tokenizer that has other tokens than the model.

    Special tokens beyond the embeddings, which Gemma 3 has for images, are no fault until a
    prompt, the padding or an end is one; nor are rows without a token, as many as are padding.

    Args:
        rows: of the embeddings.

    Raises:
        ConfigError: what of the tokenizer the model does not know, or the other way round.
    """
    tokenizer, name = tokens.tokenizer, tokens.tokenizer.name_or_path
    added = tokenizer.added_tokens_decoder
    words = [i for i in tokenizer.get_vocab().values() if i not in added]
    size = max([*words, *added]) + 1
    if (words and max(words) >= rows) or rows > max(
        -(-size // ROUNDED_TO) * ROUNDED_TO, size + int(size * ROUNDED_BY)
    ):
        raise ConfigError(
            f"the model has embeddings of {rows} tokens, but its tokenizer {name!r} has {size}: "
            f"they do not belong together; name the model's own: model.tokenizer=..."
        )
    used = [("pad_token", tokenizer.pad_token_id), *(("an end token", end) for end in tokens.ends)]
    for what, i in used:
        if i is not None and i >= rows:
            raise ConfigError(
                f"{what} of the tokenizer {name!r} is {i}, but the model's embeddings end at "
                f"{rows - 1}; name another in tokenizer_config.json or generation_config.json, "
                f"or make the model's embeddings larger"
            )


def check_prompts(
    tokens: Tokens, rows: int, texts: Sequence[str], ids: Sequence[Sequence[int]]
) -> None:
    """Refuse prompts that the model cannot read, or would not read as they are meant.

    Args:
        rows: of the embeddings.
        texts, ids: of each prompt.

    Raises:
        ConfigError: the first such prompt, and why.
    """
    name = tokens.tokenizer.name_or_path
    for text, own in zip(texts, ids, strict=True):
        asked = own[len(tokens.head) :]
        if not asked:
            raise ConfigError(
                f"the prompt {text[:40]!r} has no token, by the tokenizer {name!r}; a prompt must "
                f"have one: mend the data or name the model's tokenizer: model.tokenizer=..."
            )
        if max(own) >= rows:
            raise ConfigError(
                f"the prompt {text[:40]!r} has token {max(own)} of the tokenizer {name!r}, but the "
                f"model's embeddings end at {rows - 1}; name its own: model.tokenizer=..."
            )
        if tokens.ended(asked):
            raise ConfigError(
                f"the prompt {text[:40]!r} ends with token {asked[-1]}, which ends a response: the "
                f"template closes a turn and opens none; choose another task/template, or mend "
                f"the chat template's add_generation_prompt"
            )
    first = tokens.texts(ids[:1])[0]
    if not _folded(first).endswith(_folded(texts[0])):
        raise ConfigError(
            f"the tokenizer {name!r} does not keep the text of prompts: it reads {texts[0][:40]!r} "
            f"as {first[:40]!r}; set tokenizer_class in its tokenizer_config.json to what its "
            f"tokenizer.json holds, or name another: model.tokenizer=..."
        )


def _folded(text: str) -> str:
    """Without what normalizers may change and a reader does not see."""
    return unicodedata.normalize("NFKC", text).strip()
