"""A user's grader and reward on a real prompt, before anything is made.

The harness's own are tested; those of others are called here with three responses: the right
answer as the template marks it, the bare answer, and nothing.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch

from harness.config import TrialConfig
from harness.contract import scored
from harness.errors import ContractError, GraderError
from harness.identity import plug_ins
from harness.protocols import Task
from harness.rollout.examiner import CORRECT, ERROR, FAULT, FORMATTED
from harness.rollout.grading import Examiner, grader_of
from harness.types import Grade, Graded, Prompt, Rollout

# One graded response: prompt, response, whether it came to its end.
Row = tuple[Prompt, str, bool]
WHEN = "for a first prompt; nothing was made yet"
# Characters of a prompt and of a response that are shown.
SHOWN = 40
# Tokens of a response that has not been sampled; a reward sees that it has some.
TOKENS = 2


def rehearse(config: TrialConfig) -> None:
    """Let the task grade and the reward score a real prompt, where either is not the harness's.

    Raises:
        GraderError: the grader raises, hangs or ends its process.
        ContractError: grader or reward return what they must not.
        ConfigError: a function that they name cannot be imported.
    """
    strange = _strange(config.task)
    if not strange and not _strange(config.reward):
        return
    rows = list(_rows(config.task))
    grades = _graded(config, rows) if strange else [config.task.grade(*row) for row in rows]
    rollout, budget = _rollout(rows), config.rollout.max_new_tokens
    graded = Graded(
        rollout=rollout, grades=tuple(grades), budget=budget, seed=config.seed, step=0, first=0
    )
    scored(config.reward, graded, WHEN)


def _strange(part: Any) -> bool:
    """Whether code of others is in a plug-in: its class, a part of it, a function that it names."""
    return any(not name.startswith("harness.") for name in plug_ins(part))


def _rows(task: Task) -> Iterator[Row]:
    """Responses to the first prompt, of each part of a mixture."""
    firsts = {prompt.part: prompt for prompt in reversed(task.pool())}
    for prompt in firsts.values():
        owner = getattr(task, "tasks", {}).get(prompt.part, task)
        template, answer = getattr(owner, "template", None), str(prompt.answer)
        if template is not None:
            yield prompt, template.response("", answer), True
        yield prompt, answer, True
        yield prompt, "", True


def _graded(config: TrialConfig, rows: list[Row]) -> list[Grade]:
    """Grades from a process of their own: a grader that hangs or leaves takes nothing with it."""
    with closing(Examiner(config.task, config.grading)) as examiner:
        answers = examiner.answers(rows, patience=0)
    for (prompt, response, _), (says, text) in zip(rows, answers, strict=True):
        if says & FAULT:
            raise ContractError(f"{text} ({WHEN})")
        if says & ERROR:
            raise GraderError(
                f"{grader_of(config.task)} fails on the prompt {prompt.text[:SHOWN]!r} with the "
                f"response {response[:SHOWN]!r}: {text}; it must grade every response, called as "
                f"its docstring says ({WHEN})"
            )
    return [
        Grade(correct=bool(says & CORRECT), formatted=bool(says & FORMATTED)) for says, _ in answers
    ]


def _rollout(rows: list[Row]) -> Rollout:
    """The responses as a reward gets them; their tokens are not those of any model."""
    shape = (len(rows), TOKENS)
    return Rollout(
        prompts=tuple(prompt for prompt, _, _ in rows),
        prompt_ids=((0,),) * len(rows),
        group_B=torch.zeros(len(rows), dtype=torch.int64),
        tokens_BT=torch.zeros(shape, dtype=torch.int64),
        mask_BT=torch.ones(shape, dtype=torch.bool),
        logprobs_BT=torch.zeros(shape),
        finished_B=torch.ones(len(rows), dtype=torch.bool),
        texts=tuple(response for _, response, _ in rows),
    )
