"""GSM8K: grade-school word problems whose answer is a number.

From the hub, or from files in GSM8K's format: columns `question` and `answer`, where an answer is
worked line by line and ends with `#### 18`.
"""

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness import checks
from harness.errors import ConfigError
from harness.prompts import Grade, Prompt
from harness.tasks import cells, chats, in_text, numbers, questions, rows, sets
from harness.tasks.templates import Hashes, Template, Worked

QUESTION, ANSWER = "question", "answer"
# The hub's configuration with one solution per problem.
HUB_CONFIG = "main"
MARK = "####"
EXAMPLE = "42"

WORKED = Worked(
    question="A shelf holds 3 rows of 8 jars. 5 jars are sold. How many jars are left?",
    reasoning="There are 3 * 8 = 24 jars at first.\nAfter the sale 24 - 5 = 19 are left.",
    answer="19",
)


class Method(Enum):
    """Where the answer is read."""

    STRICT = "strict"
    FLEXIBLE = "flexible"


@dataclass(frozen=True)
class Gsm8k(sets.HasSets):
    """GSM8K and its exact grading, by value: `18`, `18.`, `18.0`, `$18` and `36/2` are equal.

    Numbers, gold ones as well, are read by the table of harness.tasks.numbers. What it does not
    understand is wrong, never another number: `1250kg` and `7e99` are no answers.
    strict: the template's marked and closed answer, the last one if there are several, must be a
    number and nothing else. With the template `hashes` that is the rest of the line after the last
    `#### `; with tags, what is inside them.
    flexible: the last number of the response (harness.tasks.in_text), wherever it stands and
    whatever the template.
    A response without such a number is neither correct nor formatted; a number on which a cut
    response ends is none, for it may go on.

    Attributes:
        template: how a problem is asked and its answer marked (harness.tasks.templates.Template).
        source: name on the hub, or a .parquet or .jsonl file.
        held_out_source: file of the held-out problems; null splits the one file by hash. The hub
            has a test split.
        method: strict or flexible.
        train_size: training prompts, the first ones; null takes all.
        eval_size: held-out prompts, the first ones; null takes all.
        hold_out: one problem of a single file in this many is held out.
    """

    data_source: ClassVar[str] = "openai/gsm8k"

    template: Any = field(default_factory=Hashes)
    source: str = "openai/gsm8k"
    held_out_source: str | None = None
    method: Method = Method.STRICT
    train_size: int | None = None
    eval_size: int | None = None
    hold_out: int = 8

    def __post_init__(self) -> None:
        for name, value in (("train_size", self.train_size), ("eval_size", self.eval_size)):
            checks.at_least(f"task.{name}", 1 if value is None else value, 1)
        checks.at_least("task.hold_out", self.hold_out, 2)
        if self.held_out_source is not None and not self._is_file:
            raise ConfigError(
                f"task.held_out_source goes with a file, but task.source is {self.source!r}, whose "
                f"test split is held out; set task.source to a .parquet or .jsonl file"
            )

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        value = self._value(response, finished)
        correct = value is not None and value == numbers.number(prompt.answer)
        return Grade(correct=correct, formatted=value is not None)

    @property
    def supervised(self) -> str:
        return "the worked answers of the training problems"

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and worked answer of each item, as the file has it, in shuffled passes."""
        template: Template = self.template
        prompts = sets.shuffled(self.pool(), seed, "gsm8k/order", items)
        train, _ = self._rows()
        named = [(questions.problem(_question(row)), cells.text(row, ANSWER)) for row in train]
        work = dict(reversed(named))  # of those that ask the same the first one is the prompt
        return [
            (p.text, template.response(work[p.problem].rpartition(MARK)[0].strip(), p.answer))
            for p in prompts
        ]

    def _value(self, response: str, finished: bool) -> Fraction | None:
        if self.method is Method.FLEXIBLE:
            return in_text.last_number(response, finished)
        template: Template = self.template
        content = template.answer(response, finished)
        return None if content is None else numbers.number(content)

    @property
    def _is_file(self) -> bool:
        source = Path(self.source).expanduser()
        return source.suffix in rows.SUFFIXES or source.is_file()

    def _rows(self) -> tuple[list[rows.Row], list[rows.Row] | None]:
        """Rows of the training file and of the held-out one, None where a single file is split."""
        if not self._is_file:
            return _from_hub(self.source)
        train = rows.read(self.source, "task.source")
        if self.held_out_source is None:
            return train, None
        return train, rows.read(self.held_out_source, "task.held_out_source")

    @cached_property
    def _sets(self) -> sets.Sets:
        sizes = (self.train_size, self.eval_size)
        train, test = self._rows()
        return questions.sets_of(
            train, test, self._prompt, ANSWER, *sizes, self.hold_out, self.source
        )

    def _prompt(self, row: rows.Row) -> Prompt:
        question, worked = _question(row), cells.text(row, ANSWER)
        work, marker, last = worked.rpartition(MARK)
        value = numbers.number(last)
        if not marker or value is None:
            row.refuse(ANSWER, f"must end with {MARK} and a number, ends with {worked[-30:]!r}")
        if numbers.number(numbers.written(value)) != value:
            row.refuse(ANSWER, f"the number is too long to be kept: {last.strip()!r:.60}")
        template: Template = self.template
        return Prompt(
            text=questions.rendered(template, row, QUESTION, question, EXAMPLE, WORKED),
            item=0,
            problem=questions.problem(question),
            difficulty=max(1, len(work.strip().splitlines())),
            answer=numbers.written(value),
        )


def _question(row: rows.Row) -> str | chats.Messages:
    """What a row asks; white space around text is none of it."""
    question = questions.asked(row, QUESTION)
    return question.strip() if isinstance(question, str) else question


def _from_hub(name: str) -> tuple[list[rows.Row], list[rows.Row]]:
    """Rows of the train and the test split."""
    from datasets import load_dataset

    try:
        found = load_dataset(name, HUB_CONFIG)
        train, test = found["train"].to_list(), found["test"].to_list()
    except Exception as error:  # whatever a hub client raises, the remedy is the same
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"task.source: cannot load {name!r} from the Hugging Face hub ({reason}); check the "
            f"name and the network, or set task.source to a .parquet or .jsonl file"
        ) from error
    return (
        rows.placed(enumerate(train, 1), name, "task.source", "train"),
        rows.placed(enumerate(test, 1), name, "task.source", "test"),
    )
