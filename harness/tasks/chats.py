"""Chats: prompts that are messages, and the tokenizer whose template renders them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from harness.errors import ConfigError
from harness.models import chat

Messages = tuple[dict[str, str], ...]
KEYS = ("role", "content")
ROLES = ("system", "developer", "user", "assistant")
# A token of one character stands in any text; some tokenizers pad with "!".
LEAST_SPECIAL = 2
# Characters of a wrong message that are shown.
SHOWN = 40


class ChatError(ConfigError):
    """A chat is none, or the model's chat template does not take it; says why."""


@runtime_checkable
class Converses(Protocol):
    """A template that can frame a chat; the others frame text."""

    def converse(self, messages: Messages, example: str) -> str:
        """The prompt that the model reads.

        Args:
            messages: the last one is the user's.
            example: what an answer looks like, for templates that show one.

        Raises:
            ChatError: the chat template does not take these messages.
        """
        ...


class Speaks:
    """A template with a tokenizer, whose own chat template renders messages."""

    tokenizer: str | None

    def __getstate__(self) -> dict[str, Any]:
        """Without the tokenizer: another process that needs it loads it again."""
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    def spoken(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Messages as the model reads them, up to where its own begins.

        Raises:
            ChatError: the chat template refuses them, leaves one out, or writes a token by itself
                that stands in one.
            ConfigError: the tokenizer cannot be loaded.
        """
        special = [t for t in self._loaded.all_special_tokens if len(t) >= LEAST_SPECIAL]
        for message in messages:
            if found := [token for token in special if token in message["content"]]:
                raise ChatError(
                    f"the {message['role']} message has {found[0]!r}, a token of the model's own; "
                    f"leave it out, the chat template writes what is needed"
                )
        text = self._applied(messages)
        for message in messages:
            # Templates may shorten what an assistant thought in earlier turns.
            if message["role"] != "assistant" and message["content"].strip() not in text:
                raise ChatError(
                    f"the chat template of task.template.tokenizer {self.tokenizer!r} leaves out "
                    f"the {message['role']} message; take it out of the chat"
                )
        return text

    def _applied(self, messages: Sequence[Mapping[str, str]]) -> str:
        tokenizer = self._loaded
        try:
            return chat.rendered(tokenizer, [dict(message) for message in messages], asks=True)
        except ConfigError as error:
            raise ChatError(str(error)) from error

    @cached_property
    def _loaded(self) -> Any:
        from harness.models import loading  # and torch: templates without a tokenizer need none

        key = "task.template.tokenizer"
        if self.tokenizer is None:
            raise ConfigError(
                f"{key} must name the tokenizer whose chat template renders chats, received null; "
                f"give a folder or hub name"
            )
        path, revision = loading.located(self.tokenizer, key, loading.TOKENIZER)
        return loading.tokenizer_at(path, revision, key)


def messages(found: Sequence[Any]) -> Messages:
    """A list as a chat: role and content of each message, the last one the user's.

    Columns of structs have every key in every message, some of them null; those are no keys.

    Raises:
        ChatError: which message, and what is wrong with it.
    """
    if not found:
        raise ChatError("is a chat without messages")
    made = tuple(_message(i, value) for i, value in enumerate(found, 1))
    if made[-1]["role"] != "user":
        raise ChatError(
            f"the last message of a prompt must be the user's, is the {made[-1]['role']}'s; "
            f"leave the response out"
        )
    return made


def _message(i: int, value: Any) -> dict[str, str]:
    keys = [k for k, v in value.items() if v is not None] if isinstance(value, Mapping) else []
    if sorted(keys) != sorted(KEYS):
        found = f"has {', '.join(keys)}" if keys else f"is {value!r:.{SHOWN}}"
        raise ChatError(f"message {i} must have role and content and nothing else, {found}")
    role, content = value["role"], value["content"]
    if role not in ROLES:
        raise ChatError(
            f"the role of message {i} must be one of {', '.join(ROLES)}, is {role!r:.{SHOWN}}"
        )
    if not isinstance(content, str):
        raise ChatError(f"the content of message {i} must be text, is {content!r:.{SHOWN}}")
    return {"role": role, "content": content}
