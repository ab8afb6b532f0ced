"""From rows of files to prompts: what a row asks, and that no question has two answers."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.errors import ConfigError
from harness.prompts import Prompt
from harness.tasks import cells, chats, sets
from harness.tasks.rows import Row
from harness.tasks.templates import Question, Template, Worked

# How a chat begins that a tool has written as text, in JSON or in Python.
_WRITTEN_CHAT = re.compile(r"""\s*\[\s*\{\s*['"](role|content)['"]\s*:""")


def asked(row: Row, column: str) -> str | chats.Messages:
    """What a cell asks: text, or a chat.

    Raises:
        ConfigError: it is neither, or one that no model can be asked.
    """
    value = row.value(column)
    if isinstance(value, list):
        try:
            messages = chats.messages(value)
        except chats.ChatError as error:
            row.refuse(column, str(error))
        for message in messages:
            if message["role"] != "system" or message["content"]:  # "" is: no default system prompt
                cells.checked(row, column, message["content"])
        return messages
    if not isinstance(value, str):
        what = f"must be text or a list of messages, is {cells.shown(value)}"
        row.refuse(column, f"{what}; messages have a role and a content")
    if _WRITTEN_CHAT.match(value):
        row.refuse(column, f"is a chat written as text, {value[:40]!r}; store it as a list")
    return cells.checked(row, column, value)


def rendered(
    template: Template,
    row: Row,
    column: str,
    question: str | chats.Messages,
    example: str,
    worked: Worked,
) -> str:
    """What the model reads of a question.

    Args:
        template: frames text; chats only if it says so (harness.tasks.chats.Converses).
        row, column: where it stands, for messages.
        example, worked: what templates may show of the task.

    Raises:
        ConfigError: the template has no place for it.
    """
    if isinstance(question, str):
        return template.render(
            Question(text=question, compact=question, example=example, worked=worked)
        )
    if not isinstance(template, chats.Converses):
        row.refuse(
            column,
            f"is a chat, but {type(template).__name__} frames text; set task/template=plain (as "
            f"it is) or chat (with the format of the answer)",
        )
    try:
        return template.converse(question, example)
    except chats.ChatError as error:
        row.refuse(column, str(error))


def problem(question: str | chats.Messages) -> str:
    """Names a question; a chat that is one message of the user asks what its content asks."""
    if isinstance(question, str):
        return question
    if len(question) == 1:
        return question[0]["content"]
    return json.dumps(question, ensure_ascii=False)


def sets_of(
    train: Sequence[Row],
    test: Sequence[Row] | None,
    prompt: Callable[[Row], Prompt],
    answer: str,
    train_size: int | None,
    eval_size: int | None,
    hold_out: int,
    origin: str,
) -> sets.Sets:
    """Pool and held-out set of one file or of two.

    Args:
        train: rows of the training file.
        test: rows of the held-out file; None splits the one file by hash.
        prompt: what a row becomes.
        answer: column of the answers, for messages.
        train_size, eval_size, hold_out, origin: of harness.tasks.sets.split.

    Raises:
        ConfigError: a row is refused, two rows disagree, or there are too few.
    """
    pool = [prompt(row) for row in train]
    held_out = [prompt(row) for row in test or ()]
    _agree(zip((*train, *(test or ())), (*pool, *held_out), strict=True), answer)
    if test is None:
        return sets.split(pool, train_size, eval_size, hold_out, origin)
    return sets.given(pool, held_out, train_size, eval_size)


def _agree(found: Iterable[tuple[Row, Prompt]], column: str) -> None:
    """Refuse a question with two answers: a response would be right or wrong by the row's place.

    Args:
        found: the prompts of all files, and their rows.
        column: of the answers.

    Raises:
        ConfigError: which two rows.
    """
    seen: dict[str, tuple[Row, Any]] = {}
    for row, prompt in found:
        # Two wordings may render alike, and a chat and a text may ask one thing.
        for name in (prompt.text, prompt.problem):
            first, answer = seen.setdefault(name, (row, prompt.answer))
            if answer != prompt.answer:
                raise ConfigError(
                    f"{row.key}: {row.place}, column {column!r}: the answer is "
                    f"{prompt.answer!r:.40}, but {first.place} asks the same and answers "
                    f"{answer!r:.40}; keep one of the two"
                )
