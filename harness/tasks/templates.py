"""Templates: how a Countdown problem is asked, and how its answer is marked and closed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.tasks.search import ANSWER, MISS, Persona, read
from harness.types import Behaviour

_QUESTION = (
    "Using the numbers {numbers}, create an equation that equals {target}. You can use basic "
    "arithmetic operations (+, -, *, /) and each number can only be used once. Show your work in "
    "<think> </think> tags. And return the final answer in <answer> </answer> tags, for example "
    "<answer> (1 + 2) / 3 </answer>."
)
_LEAD = "Let me solve this step by step.\n<think>"


class Template(Protocol):
    """What a task needs of a template."""

    @property
    def early_stop(self) -> tuple[str, str] | None:
        """Tokens (after a miss, answer) whose succession is giving up; None without such."""
        ...

    def render(self, numbers: Sequence[int], target: int) -> str:
        """The prompt that the model reads."""
        ...

    def answer(self, response: str, finished: bool) -> str | None:
        """Content of the marked and closed answer, or None when there is none."""
        ...

    def behaviour(self, response: str, target: int) -> Behaviour | None:
        """How the response searched, or None when the template writes no attempts."""
        ...


def tagged_answer(response: str) -> str | None:
    """Content of the last `</answer>` with the nearest `<answer>` before it."""
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, end) if end >= 0 else -1
    return response[start + len("<answer>") : end] if start >= 0 else None


@dataclass(frozen=True)
class Compact:
    """For the tiny model: `Q7 8 3=4?` -> attempts, `A`, an expression, the end token.

    The answer is marked by the last `A` and closed by the end token: a response that the window
    cut has no answer.

    Attributes:
        persona: the searchers of the warm-up traces.
    """

    persona: Persona = field(default_factory=Persona)

    @property
    def early_stop(self) -> tuple[str, str] | None:
        return MISS, ANSWER

    def render(self, numbers: Sequence[int], target: int) -> str:
        return f"Q{' '.join(map(str, numbers))}={target}?"

    def answer(self, response: str, finished: bool) -> str | None:
        _, marker, content = response.rpartition(ANSWER)
        return content if marker and finished else None

    def behaviour(self, response: str, target: int) -> Behaviour | None:
        return read(response, target)


class _Tagged:
    """Answers in `<answer>` tags; the search is free text, of which nothing is counted."""

    early_stop = None

    def answer(self, response: str, finished: bool) -> str | None:
        return tagged_answer(response)

    def behaviour(self, response: str, target: int) -> Behaviour | None:
        return None


@dataclass(frozen=True)
class TinyZeroBase(_Tagged):
    """TinyZero's template for base models (Jiayi-Pan/TinyZero, countdown.py)."""

    def render(self, numbers: Sequence[int], target: int) -> str:
        question = _QUESTION.format(numbers=list(numbers), target=target)
        return (
            "A conversation between User and Assistant. The user asks a question, and the "
            "Assistant solves it. The assistant first thinks about the reasoning process in the "
            "mind and then provides the user with the answer.\n"
            f"User: {question}\nAssistant: {_LEAD}"
        )


@dataclass(frozen=True)
class TinyZeroInstruct(_Tagged):
    """TinyZero's template for Qwen's instruct models, its wording kept to the letter."""

    def render(self, numbers: Sequence[int], target: int) -> str:
        question = _QUESTION.format(numbers=list(numbers), target=target)
        return (
            "<|im_start|>system\nYou are a helpful assistant. You first thinks about the reasoning "
            "process in the mind and then provides the user with the answer.<|im_end|>\n"
            f"<|im_start|>user\n {question}<|im_end|>\n<|im_start|>assistant\n{_LEAD}"
        )
