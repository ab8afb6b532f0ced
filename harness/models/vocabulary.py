"""The tiny model's vocabulary: a token per character, and one per phrase that never changes.

A template for real models spends hundreds of characters on words that are the same for every
prompt. To a model of this size they are one token each.
"""

import re
from collections.abc import Sequence
from typing import Any

from harness.errors import ConfigError
from harness.models.library import transformers

PAD, END = "<pad>", "<eos>"
# What the compact template and the traces in it are written with.
COMPACT = "0123456789+-*/()= ,;!?QA"
PRINTABLE = "".join(map(chr, range(32, 127))) + "\n"
# How byte-level vocabularies spell white space.
SPELLED = {" ": "\u0120", "\n": "\u010a"}
NUMBER = re.compile(r"-?[0-9]+")
# Stands for work and answer where a template's own marks are looked for.
HOLE = "\0"


def of(template: Any, traces: Sequence[tuple[str, str]]) -> Any:
    """The tokenizer for prompts and responses such as these.

    It has to be a Qwen2Tokenizer (here without merges): AutoTokenizer reads whatever stands
    beside a Qwen2 model as one, and would silently drop the spaces of any other kind.

    Raises:
        ConfigError: there are characters outside printable ASCII.
    """
    phrases = _phrases(template, [prompt for prompt, _ in traces])
    rest = "".join(prompt + response for prompt, response in traces)
    for phrase in sorted(phrases, key=len, reverse=True):
        rest = rest.replace(phrase, "")
    if foreign := set(rest) - set(PRINTABLE):
        raise ConfigError(
            f"model=tiny knows printable ASCII only, the task writes {sorted(foreign)[0]!r}; "
            f"choose model=hf model.path=..."
        )
    others = [c for c in PRINTABLE if c not in COMPACT] if set(rest) - set(COMPACT) else []
    tokens = [PAD, END, *(SPELLED.get(c, c) for c in (*COMPACT, *others))]
    tokenizer = transformers().Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        unk_token=PAD,
        pad_token=PAD,
        eos_token=END,
    )
    added = transformers().AddedToken
    tokenizer.add_tokens([added(phrase, normalized=False) for phrase in phrases])
    return tokenizer


def _phrases(template: Any, prompts: Sequence[str]) -> list[str]:
    """What all prompts share around their numbers, and the template's marks in a response."""
    first = _shared_start(prompts)
    head = first.rstrip("-0123456789")
    tail = _shared_start([prompt[len(first) :][::-1] for prompt in prompts])[::-1]
    tail = tail.lstrip("-0123456789")
    middles = [prompt[len(head) : len(prompt) - len(tail)] for prompt in prompts]
    shared = set.intersection(*(set(NUMBER.split(middle)) for middle in middles))
    marks = template.response(HOLE, HOLE).split(HOLE)
    found = dict.fromkeys([head, tail, *sorted(shared), *marks])
    return [phrase for phrase in found if len(phrase) > 1]


def _shared_start(texts: Sequence[str]) -> str:
    """The longest text that all of them begin with."""
    low, high = min(texts), max(texts)
    differing = (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    return low[: next(differing, min(len(low), len(high)))]
