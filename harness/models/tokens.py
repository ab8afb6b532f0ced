"""How a model's texts become token ids and back: special tokens once, and all that ends."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.models.library import transformers

# A text is decoded behind the first of these that the tokenizer knows, and this one's taken away:
# tokenizers that spell a space as the start of a word drop it from what they decode first.
ANCHORS = ("a", "A", "0", "1", ".", " ")
SHOWN = 40  # characters of a text that a message shows
# Stands in a text for a token that the tokenizer does not know.
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Tokens:
    """A model's tokenizer, used by one rule in every place.

    Attributes:
        tokenizer: of transformers.
        ends: tokens of which any ends a response, ascending.
    """

    tokenizer: Any
    ends: tuple[int, ...]

    @cached_property
    def head(self) -> tuple[int, ...]:
        """What the tokenizer puts before every text: BOS, or nothing."""
        whole = self.tokenizer(self._anchor)["input_ids"]
        return tuple(whole[: _position(self._plain(self._anchor), whole)])

    @cached_property
    def _anchor(self) -> str:
        for anchor in ANCHORS:
            with suppress(ConfigError):
                if self._plain(anchor):
                    return anchor
        raise ConfigError(
            f"the tokenizer {self.tokenizer.name_or_path!r} knows none of {' '.join(ANCHORS)!r}; "
            f"name another: model.tokenizer=..."
        )

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each prompt: the head once, whoever writes it, and nothing after the text.

        A prompt is read once, however often it is asked for: the pool is looked at before a trial
        starts, by its engine, and again whenever one of its prompts is sampled for.

        Raises:
            ConfigError: a text of which the tokenizer knows nothing.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        if new:
            self._read.update(zip(new, self._ids(new), strict=True))
        return [list(self._read[text]) for text in texts]

    @cached_property
    def _read(self) -> dict[str, list[int]]:
        return {}

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        head, found = list(self.head), self._plain(list(texts))
        bodies = [list(dropwhile(head.__contains__, ids)) for ids in found]
        for text, body in zip(texts, bodies, strict=True):
            if not body:
                raise ConfigError(
                    f"the prompt {text[:SHOWN]!r} has no token in the tokenizer "
                    f"{self.tokenizer.name_or_path!r}; write it in characters that it knows, or "
                    f"name another: model.tokenizer=..."
                )
        return [head + body for body in bodies]

    def texts(self, rows: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """What each row adds to a text that it follows; UNKNOWN where a token has no name."""
        anchor, shown = self._plain(self._anchor), [self._known(row) for row in rows]
        start = len(self._decoded([anchor])[0])
        return tuple(text[start:] for text in self._decoded([anchor + row for row in shown]))

    def responses(self, rows: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """Text of each response: without the token that ended it."""
        return self.texts([row[: len(row) - self.ended(row)] for row in rows])

    def ended(self, row: Sequence[int]) -> bool:
        """Whether the last token ends a response."""
        return len(row) > 0 and row[-1] in self.ends

    def shown(self, ids: Sequence[int]) -> str:
        """One line for each token: its id and its text as a Python string."""
        texts = self.texts([[i] for i in ids])
        return "".join(f"{i:>7} {text!r}\n" for i, text in zip(ids, texts, strict=True))

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside an exported model, and all ends into its settings."""
        self.tokenizer.save_pretrained(folder)
        settings = transformers().GenerationConfig.from_pretrained(folder)
        settings.eos_token_id = list(self.ends) if len(self.ends) > 1 else self.ends[0]
        settings.save_pretrained(folder)

    def _plain(self, text: Any) -> Any:
        """Ids of a text, or of several, and of nothing else."""
        try:
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]
        except Exception as error:  # the tokenizers library's own are of this very class
            raise ConfigError(
                f"the tokenizer {self.tokenizer.name_or_path!r} cannot read {str(text)[:SHOWN]!r}: "
                f"{error}; name another: model.tokenizer=..."
            ) from error

    def _decoded(self, rows: Sequence[Sequence[int]]) -> list[str]:
        decoded: list[str] = self.tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)
        return decoded

    def _known(self, row: Sequence[int]) -> list[int]:
        if self._names.issuperset(row):
            return list(row)
        unknown = self._plain(UNKNOWN)
        return [i for own in row for i in ([own] if own in self._names else unknown)]

    @cached_property
    def _names(self) -> frozenset[int]:
        return frozenset(self.tokenizer.get_vocab().values())


def _position(part: list[int], whole: list[int]) -> int:
    """Where a part stands in the whole."""
    starts = range(len(whole) - len(part) + 1)
    return next(i for i in starts if whole[i : i + len(part)] == part)
