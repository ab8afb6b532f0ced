"""Chat templates: a tokenizer's own way to frame the messages of a conversation."""

from collections.abc import Sequence
from typing import Any

from harness.errors import ConfigError

Message = dict[str, str]
# A conversation of which only the end is looked at: what closes the assistant's turn.
SAID = "Yes"
EXCHANGE = ({"role": "user", "content": "Well?"}, {"role": "assistant", "content": SAID})
SYSTEM = {"role": "system", "content": "Answer."}
# What a template can raise that is wrong, or wants other messages.
FAULTS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


def rendered(tokenizer: Any, messages: Sequence[Message], asks: bool) -> str:
    """A conversation as the tokenizer's chat template frames it.

    Args:
        asks: whether the assistant's turn is opened at the end.

    Raises:
        ConfigError: the tokenizer has no chat template, or it cannot render these messages.
    """
    from jinja2 import TemplateError

    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer {name!r} has no chat template; choose another task/template, or name "
            f"a tokenizer that has one: model.tokenizer=..."
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=asks
            )
        )
    except (TemplateError, *FAULTS) as error:
        reason = " ".join(str(error).split())[:300]
        roles = ", ".join(message["role"] for message in messages)
        raise ConfigError(
            f"the chat template of the tokenizer {name!r} cannot render messages of {roles}: "
            f"{reason}; mend chat_template of the tokenizer or choose another: model.tokenizer=..."
        ) from error


def end_of_turn(tokenizer: Any) -> int | None:
    """The special token that closes the assistant's turn; None where nothing shows one.

    Raises:
        ConfigError: the template renders neither a question and its answer, nor these behind a
            system message.
    """
    if not tokenizer.chat_template:
        return None
    for text in _renderings(tokenizer):
        at = text.lower().rfind(SAID.lower())  # a template may write the answer in its own way
        if at >= 0:
            closing = text[at + len(SAID) :]
            ids = tokenizer(closing, add_special_tokens=False)["input_ids"]
            added = tokenizer.added_tokens_decoder
            return next((i for i in ids if i in added and added[i].special), None)
    return None


def _renderings(tokenizer: Any) -> list[str]:
    """A question and its answer, as it is and behind a system message, as far as they render."""
    found, faults = [], []
    for exchange in (EXCHANGE, (SYSTEM, *EXCHANGE)):
        try:
            found.append(rendered(tokenizer, exchange, asks=False))
        except ConfigError as error:
            faults.append(error)
    if not found:
        raise faults[0]
    return found
