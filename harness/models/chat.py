"""Chat templates: a tokenizer's own way to frame the messages of a conversation."""

from collections.abc import Sequence
from typing import Any

from harness.errors import ConfigError

Message = dict[str, str]
# A conversation of which only the end is looked at: what closes the assistant's turn.
SAID = "Yes."
EXCHANGE = ({"role": "user", "content": "Well?"}, {"role": "assistant", "content": SAID})


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
    except (TemplateError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        roles = ", ".join(message["role"] for message in messages)
        raise ConfigError(
            f"the chat template of the tokenizer {name!r} cannot render messages of {roles}: "
            f"{reason}; mend chat_template of the tokenizer or choose another: model.tokenizer=..."
        ) from error


def end_of_turn(tokenizer: Any) -> int | None:
    """The token that closes the assistant's turn; None where there is none, or no chat template.

    Raises:
        ConfigError: the template cannot render a question and its answer.
    """
    if not tokenizer.chat_template:
        return None
    closing = rendered(tokenizer, EXCHANGE, asks=False).rpartition(SAID)[2]
    ids = tokenizer(closing, add_special_tokens=False)["input_ids"]
    return next((i for i in ids if i in tokenizer.added_tokens_decoder), None)
