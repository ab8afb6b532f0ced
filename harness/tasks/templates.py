"""Templates: how a question is asked, and how its answer is marked and closed.

A task words its question; a template frames it and finds the answer in the response. The content
of the answer is graded by the task, by the same rules whatever the template.
"""

from dataclasses import dataclass
from typing import Protocol

from harness.tasks.chats import Messages, Speaks

# Marks the answer in the compact template; the end token closes it.
ANSWER = "A"
_FORMAT = (
    "Show your work in <think> </think> tags. And return the final answer in <answer> </answer> "
    "tags, for example <answer> {example} </answer>."
)
_HASHES = 'Let\'s think step by step and output the final answer after "####".'
_LEAD = "Let me solve this step by step.\n<think>"


@dataclass(frozen=True, kw_only=True)
class Worked:
    """A worked example, for few-shot prompts."""

    question: str
    reasoning: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question as a task words it.

    Example: Question(text="What is 7 * 8?", compact="7*8", example="12", worked=Worked(...))
    """

    text: str
    """In words, without a word on the format of the answer."""
    compact: str
    """For the tiny model, without the marks around it."""
    example: str
    """What an answer looks like; not the answer to this question."""
    worked: Worked


class Template(Protocol):
    """What a task needs of a template."""

    def render(self, question: Question) -> str:
        """The prompt that the model reads."""
        ...

    def response(self, work: str, answer: str) -> str:
        """A response as the template asks for it: the work, then the marked and closed answer."""
        ...

    def answer(self, response: str, finished: bool) -> str | None:
        """Content of the marked and closed answer, or None when there is none."""
        ...


def tagged_answer(response: str) -> str | None:
    """Content of the last `</answer>` with the nearest `<answer>` before it."""
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, end) if end >= 0 else -1
    return response[start + len("<answer>") : end] if start >= 0 else None


@dataclass(frozen=True)
class Compact:
    """For the tiny model: `Q7 8 3=4?` -> work, `A`, the answer, the end token.

    The answer is marked by the last `A` and closed by the end token: a response that the window
    cut has no answer.
    """

    def render(self, question: Question) -> str:
        return f"Q{question.compact}?"

    def response(self, work: str, answer: str) -> str:
        return f"{work}{ANSWER}{answer}"

    def answer(self, response: str, finished: bool) -> str | None:
        _, marker, content = response.rpartition(ANSWER)
        return content if marker and finished else None


class _Tagged:
    """Answers in `<answer>` tags: the last one that is closed, wherever it stands."""

    def response(self, work: str, answer: str) -> str:
        return f"{work}</think><answer>{answer}</answer>"

    def answer(self, response: str, finished: bool) -> str | None:
        return tagged_answer(response)


@dataclass(frozen=True)
class TinyZeroBase(_Tagged):
    """TinyZero's template for base models (Jiayi-Pan/TinyZero, countdown.py)."""

    def render(self, question: Question) -> str:
        return (
            "A conversation between User and Assistant. The user asks a question, and the "
            "Assistant solves it. The assistant first thinks about the reasoning process in the "
            "mind and then provides the user with the answer.\n"
            f"User: {_asked(question.text, question.example)}\nAssistant: {_LEAD}"
        )


@dataclass(frozen=True)
class TinyZeroInstruct(_Tagged):
    """TinyZero's template for Qwen's instruct models, its wording kept to the letter."""

    def render(self, question: Question) -> str:
        return (
            "<|im_start|>system\nYou are a helpful assistant. You first thinks about the reasoning "
            "process in the mind and then provides the user with the answer.<|im_end|>\n"
            f"<|im_start|>user\n {_asked(question.text, question.example)}<|im_end|>\n"
            f"<|im_start|>assistant\n{_LEAD}"
        )


@dataclass(frozen=True)
class FewShot(_Tagged):
    """One worked example of the task, then the question: shows a base model the format."""

    def render(self, question: Question) -> str:
        worked = question.worked
        return (
            f"Example: {worked.question}\n<think>\n{worked.reasoning}\n</think>\n"
            f"<answer>{worked.answer}</answer>\n\nNow solve: {question.text}\n"
        )


@dataclass(frozen=True)
class Chat(Speaks, _Tagged):
    """The tokenizer's own chat template, for instruct models of any family.

    Text is one message of the user. Behind it, or behind the last message of a chat, stands how
    the answer is marked.

    Attributes:
        tokenizer: folder or hub name of the tokenizer whose template is used.
    """

    tokenizer: str

    def render(self, question: Question) -> str:
        return self.spoken([{"role": "user", "content": _asked(question.text, question.example)}])

    def converse(self, messages: Messages, example: str) -> str:
        *before, last = messages
        return self.spoken([*before, {**last, "content": _asked(last["content"], example)}])


@dataclass(frozen=True)
class Hashes:
    """GSM8K's own way: the answer stands on the last line that has `#### `, after it.

    The end of the line or of a finished response closes it. TinyZero's wording (gsm8k.py).
    """

    def render(self, question: Question) -> str:
        return f"{question.text} {_HASHES}"

    def response(self, work: str, answer: str) -> str:
        return f"{work}\n#### {answer}"

    def answer(self, response: str, finished: bool) -> str | None:
        _, marker, rest = response.rpartition("#### ")
        content, newline, _ = rest.partition("\n")
        return content if marker and (newline or finished) else None


@dataclass(frozen=True)
class Plain(Speaks):
    """The question as it is; all of a finished response is its answer.

    Text is not framed. A chat has no form of its own that a model could read: it goes through the
    tokenizer's chat template, its messages unchanged.

    Attributes:
        tokenizer: folder or hub name of the tokenizer whose template renders chats; null where all
            questions are text.
    """

    tokenizer: str | None = None

    def render(self, question: Question) -> str:
        return question.text

    def converse(self, messages: Messages, example: str) -> str:
        return self.spoken(messages)

    def response(self, work: str, answer: str) -> str:
        return answer

    def answer(self, response: str, finished: bool) -> str | None:
        return response if finished else None


def _asked(text: str, example: str) -> str:
    return f"{text} {_FORMAT.format(example=example)}"
