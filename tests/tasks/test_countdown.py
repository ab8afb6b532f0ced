"""Countdown: constant sets of solvable problems, and grading of hand-written responses."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from harness.tasks.countdown import Countdown, CountdownAnswer, question
from harness.tasks.search import Persona
from harness.tasks.templates import (
    Compact,
    FewShot,
    Hashes,
    Plain,
    TinyZeroBase,
    TinyZeroInstruct,
)
from harness.types import Grade, Prompt

DEFAULT = Countdown()
ALL_OPERATORS = Countdown(
    template=TinyZeroBase(),
    counts=[3, 4],
    low=1,
    high=99,
    operators="+-*/",
    target_low=10,
    target_high=100,
    train_size=90,
    eval_size=30,
    hold_out=16,
)
TASKS = pytest.mark.parametrize("task", [DEFAULT, ALL_OPERATORS], ids=["default", "tinyzero"])


def solvable(numbers: tuple[Fraction, ...], target: int, operators: str) -> bool:
    """Brute force: combine any two numbers in any way until one is left."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i == j:
                continue
            rest = tuple(x for k, x in enumerate(numbers) if k not in (i, j))
            made = {"+": a + b, "-": a - b, "*": a * b} | ({"/": a / b} if b else {})
            if any(solvable((*rest, made[o]), target, operators) for o in operators if o in made):
                return True
    return False


def problem_of(answer: CountdownAnswer) -> str:
    return f"{' '.join(str(x) for x in sorted(answer.numbers))}={answer.target}"


@TASKS
def test_sets_are_what_the_fields_say(task: Countdown) -> None:
    pool, held_out = task.pool(), task.held_out()
    assert (len(pool), len(held_out)) == (task.train_size, task.eval_size)
    for part in (pool, held_out):
        assert [p.item for p in part] == list(range(len(part)))
        for p in part:
            numbers, target = p.answer.numbers, p.answer.target
            assert p.difficulty == len(numbers)
            assert p.difficulty in task.counts
            assert all(task.low <= x <= task.high for x in numbers)
            assert task.target_low <= target <= task.target_high
            assert p.problem == problem_of(p.answer)
            assert p.text == task.template.render(question(p.answer))
    texts = [p.text for p in pool + held_out]
    assert len(set(texts)) == len(texts)
    assert not {p.problem for p in pool} & {p.problem for p in held_out}


@TASKS
def test_every_problem_can_be_solved(task: Countdown) -> None:
    for p in (task.pool() + task.held_out())[-300:]:
        numbers = tuple(Fraction(x) for x in p.answer.numbers)
        assert solvable(numbers, p.answer.target, task.operators), p.problem


def test_the_oracle_refuses() -> None:
    # Of 1, 1 and 9, + and - make ±9, ±7 and ±11 only.
    ones = (Fraction(1), Fraction(1), Fraction(9))
    assert [t for t in range(1, 28) if solvable(ones, t, "+-")] == [7, 9, 11]


def test_difficulties_are_mixed_evenly() -> None:
    # Every sum is in range and repetitions are rare, so that no redraw favours one count: of 600
    # 300 each are expected, standard deviation 12.
    task = Countdown(
        counts=[2, 4], high=999, operators="+", target_high=9999, train_size=600, eval_size=9
    )
    counts = Counter(p.difficulty for p in task.pool())
    assert set(counts) == {2, 4}
    assert abs(counts[2] - 300) < 36


def test_default_task_is_pinned() -> None:
    # Changing it changes every published number.
    assert DEFAULT.digest == "6cda14d7a187ec4feb9cc5a825da184c12a0451ce63618c8b25027c02db6ae58"
    assert DEFAULT.pool()[0] == Prompt(
        text="Q5 8 2=11?",
        item=0,
        problem="2 5 8=11",
        difficulty=3,
        answer=CountdownAnswer(numbers=(5, 8, 2), target=11),
    )


def test_sets_do_not_depend_on_the_seed(composed: Callable[..., Any]) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert composed("seed=7").task.digest == DEFAULT.digest
    assert not [f.name for f in dataclasses.fields(Countdown) if "seed" in f.name]


def test_sizes_only_cut_one_sequence_of_problems() -> None:
    small = Countdown(train_size=64, eval_size=64)
    assert small.pool() == DEFAULT.pool()[:64]
    assert small.held_out() == DEFAULT.held_out()[:64]


@pytest.mark.parametrize(
    "change",
    [
        {"high": 8},
        {"low": 2},
        {"counts": [2]},
        {"operators": "+"},
        {"target_high": 12},
        {"hold_out": 5},
        {"eval_size": 7},
        {"template": TinyZeroBase()},
    ],
    ids=str,
)
def test_digest_sees_what_changes_the_prompts(change: dict[str, Any]) -> None:
    small = Countdown(train_size=16, eval_size=8)
    assert dataclasses.replace(small, **change).digest != small.digest


def test_digest_ignores_how_traces_are_written() -> None:
    patient = Persona(patient_share=1.0)
    assert dataclasses.replace(DEFAULT, persona=patient).digest == DEFAULT.digest


def test_exhausted_ranges_are_named() -> None:
    task = Countdown(counts=[2], high=3, operators="+", train_size=99, eval_size=9)
    # Two ordered numbers of 1..3: nine prompts in all.
    with pytest.raises(ConfigError, match="asked for 99 and 9; lower task") as caught:
        task.pool()
    assert "\n" not in str(caught.value)
    found = [int(word) for word in str(caught.value).split() if word.isdigit()][:2]
    assert sum(found) == 9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"counts": [1, 3]}, "task.counts must be at least 2, received 1"),
        ({"counts": []}, "task.counts must be at least 2, received 0"),
        ({"low": 0}, "task.low must be at least 1, received 0"),
        ({"low": 5, "high": 4}, "task.high must be at least 5, received 4"),
        ({"target_low": 9, "target_high": 8}, "task.target_high must be at least 9, received 8"),
        ({"train_size": 0}, "task.train_size must be at least 1, received 0"),
        ({"eval_size": 0}, "task.eval_size must be at least 1, received 0"),
        ({"hold_out": 1}, "task.hold_out must be at least 2, received 1"),
        ({"operators": ""}, "task.operators must be some of + - * /, received ''"),
        ({"operators": "+^"}, "task.operators must be some of + - * /, received '+^'"),
    ],
    ids=str,
)
def test_ranges_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Countdown(**fields)
    assert str(caught.value) == message


# --- grading --------------------------------------------------------------------------------------

RIGHT = Grade(correct=True, formatted=True)
WRONG = Grade(correct=False, formatted=True)
NONE = Grade(correct=False, formatted=False)


def prompt_of(numbers: tuple[int, ...], target: int) -> Prompt:
    answer = CountdownAnswer(numbers, target)
    return Prompt(text="", item=0, problem="", difficulty=len(numbers), answer=answer)


# Content of the answer, graded alike under every template.
CONTENTS: list[tuple[tuple[int, ...], int, str, Grade]] = [
    ((7, 8, 3), 12, "7+8-3", RIGHT),
    ((7, 8, 3), 12, "8+7-3", RIGHT),
    ((7, 8, 3), 12, " ( 7 + 8 )\n - 3 ", RIGHT),
    ((7, 8, 3), 12, "-3+7+8", RIGHT),
    ((7, 8, 3), 12, "7-(3-8)", RIGHT),
    ((7, 8, 3), 12, "7--(8-3)", RIGHT),  # unary minus
    ((3, 3, 8, 8), 24, "8/(3-8/3)", RIGHT),  # 8/3 on the way
    ((3, 6, 7), 14, "7/3*6", RIGHT),
    ((6, 4, 2), 3, "6/4*2", RIGHT),
    ((4, 4, 5), 5, "(4-4)+5", RIGHT),
    ((7, 8, 3), 12, "7+8+3", WRONG),  # 18
    ((7, 8, 3), 12, "7+8", WRONG),
    ((7, 8, 3), 15, "7+8", WRONG),  # the value is right, the 3 is missing
    ((7, 8, 3), 12, "12", WRONG),
    ((7, 8, 3), 12, "7+8-3+0", WRONG),  # a foreign 0
    ((7, 8, 3), 12, "7+8-3*1", WRONG),
    ((7, 8, 3), 12, "7+8-3-3+3", WRONG),  # 3 three times
    ((4, 4, 5), 9, "4+5", WRONG),  # one 4 left out
    ((1, 2, 3), 15, "12+3", WRONG),  # joined digits
    ((7, 8, 3), 12, "7+8-3=12", WRONG),
    ((7, 8, 3), 12, "12=7+8-3", WRONG),
    ((7, 8, 3), 12, "07+8-3", WRONG),
    ((7, 8, 3), 12, "7.0+8-3", WRONG),
    ((7, 8, 3), 12, "٧+8-3", WRONG),  # an Arabic 7
    ((7, 8, 3), 12, "7+8−3", WRONG),  # a typographic minus
    ((2, 3, 4), 12, "2**3+4", WRONG),
    ((7, 2, 3), 6, "7//2+3", WRONG),
    ((4, 4, 5), 5, "5/(4-4)", WRONG),
    ((7, 8, 3), 12, "", WRONG),
    ((7, 8, 3), 12, "7 8 3", WRONG),
    ((7, 8, 3), 12, "(7+8-3", WRONG),
    ((7, 8, 3), 12, "7+8-3;", WRONG),
    ((7, 8, 3), 12, "7+8-3 because", WRONG),
]
COMPACT: list[tuple[str, bool, Grade]] = [
    ("A7+8-3", True, RIGHT),
    ("7+8=15-3=12!A7+8-3", True, RIGHT),
    ("7+8=15+3=18;A7+8-3", True, RIGHT),
    ("A7+8-3", False, NONE),  # cut: the expression might go on
    ("A7+8+3A7+8-3", True, RIGHT),  # the last marker counts
    ("A7+8-3A7+8+3", True, WRONG),
    ("A7+8-3A", True, WRONG),
    ("A", True, WRONG),
    ("7+8-3", True, NONE),  # no marker
    ("7+8=15-3=12!", True, NONE),
    ("", True, NONE),
    ("", False, NONE),
    ("a7+8-3", True, NONE),
]
TAGGED: list[tuple[str, bool, Grade]] = [
    ("so</think>\n<answer>7+8-3</answer>", True, RIGHT),
    ("<answer>\n7+8-3\n</answer>", True, RIGHT),
    ("<answer>7+8-3</answer>", False, RIGHT),  # cut after the tag was closed
    ("<answer>7+8-3</answer> and more text 7", True, RIGHT),
    ("<answer>7+8+3</answer><answer>7+8-3</answer>", True, RIGHT),  # the last one counts
    ("<answer>7+8-3</answer><answer>7+8+3</answer>", True, WRONG),
    ("<answer>7+8-3</answer><answer>7+8+3", False, RIGHT),  # the last closed one counts
    ("<answer>7<answer>7+8-3</answer>", True, RIGHT),  # the nearest opening
    ("<answer>7+8-3</answer></answer>", True, WRONG),  # its content has a tag in it
    ("<answer>7+8-3", False, NONE),
    ("7+8-3</answer>", True, NONE),
    ("</answer><answer>7+8-3", True, NONE),
    ("<ANSWER>7+8-3</ANSWER>", True, NONE),
    ("<answer>7+8-3</ answer>", True, NONE),
    ("7+8-3", True, NONE),
    ("", True, NONE),
]


@pytest.mark.parametrize(("numbers", "target", "content", "grade"), CONTENTS)
def test_contents(numbers: tuple[int, ...], target: int, content: str, grade: Grade) -> None:
    prompt = prompt_of(numbers, target)
    tagged = f"a thought</think><answer>{content}</answer>"
    assert Countdown().grade(prompt, f"7+8=15;A{content}", finished=True) == grade
    for template in (TinyZeroBase(), TinyZeroInstruct()):
        assert Countdown(template=template).grade(prompt, tagged, finished=True) == grade


@pytest.mark.parametrize(("response", "finished", "grade"), COMPACT)
def test_compact_marks(response: str, finished: bool, grade: Grade) -> None:
    assert Countdown().grade(prompt_of((7, 8, 3), 12), response, finished) == grade


@pytest.mark.parametrize(("response", "finished", "grade"), TAGGED)
@pytest.mark.parametrize("template", [TinyZeroBase(), TinyZeroInstruct()])
def test_tags(template: Any, response: str, finished: bool, grade: Grade) -> None:
    task = Countdown(template=template)
    assert task.grade(prompt_of((7, 8, 3), 12), response, finished) == grade


@pytest.mark.parametrize(
    ("content", "all_numbers", "some_numbers"),
    [
        ("7+8-3", True, True),
        ("8+4", False, False),  # 4 is not given
        ("15-3", False, False),
        ("3*4", False, False),
        ("8+8-4", False, False),
        ("3+8+1", False, False),
        ("7+8", False, False),  # another value
    ],
)
def test_at_most_once_lets_numbers_be_left_out(
    content: str, all_numbers: bool, some_numbers: bool
) -> None:
    asked = prompt_of((7, 8, 3), 12)
    assert Countdown().grade(asked, f"A{content}", True).correct is all_numbers
    assert Countdown(at_most_once=True).grade(asked, f"A{content}", True).correct is some_numbers
    eleven = prompt_of((7, 8, 3), 11)
    assert not Countdown().grade(eleven, "A8+3", True).correct
    assert Countdown(at_most_once=True).grade(eleven, "A8+3", True).correct
    assert not Countdown(at_most_once=True).grade(prompt_of((7, 8, 3), 16), "A8+8", True).correct


# --- templates ------------------------------------------------------------------------------------

# Jiayi-Pan/TinyZero examples/data_preprocess/countdown.py, make_prefix, for [44, 19, 35] and 98.
BASE_TEXT = """\
A conversation between User and Assistant. The user asks a question, and the Assistant solves it. \
The assistant first thinks about the reasoning process in the mind and then provides the user with \
the answer.
User: Using the numbers [44, 19, 35], create an equation that equals 98. You can use basic \
arithmetic operations (+, -, *, /) and each number can only be used once. Show your work in \
<think> </think> tags. And return the final answer in <answer> </answer> tags, for example \
<answer> (1 + 2) / 3 </answer>.
Assistant: Let me solve this step by step.
<think>"""
INSTRUCT_TEXT = """\
<|im_start|>system
You are a helpful assistant. You first thinks about the reasoning process in the mind and then \
provides the user with the answer.<|im_end|>
<|im_start|>user
 Using the numbers [44, 19, 35], create an equation that equals 98. You can use basic arithmetic \
operations (+, -, *, /) and each number can only be used once. Show your work in <think> </think> \
tags. And return the final answer in <answer> </answer> tags, for example <answer> (1 + 2) / 3 \
</answer>.<|im_end|>
<|im_start|>assistant
Let me solve this step by step.
<think>"""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (Compact(), "Q44 19 35=98?"),
        (TinyZeroBase(), BASE_TEXT),
        (TinyZeroInstruct(), INSTRUCT_TEXT),
    ],
)
def test_prompt_text(template: Any, expected: str) -> None:
    assert template.render(question(CountdownAnswer((44, 19, 35), 98))) == expected


def test_few_shot_shows_a_worked_example_whose_answer_is_graded_correct() -> None:
    text = FewShot().render(question(CountdownAnswer((44, 19, 35), 98)))
    assert text.startswith("Example: Using the numbers [2, 3, 4], create an equation that equal")
    assert text.endswith("Now solve: " + question(CountdownAnswer((44, 19, 35), 98)).text + "\n")
    task = Countdown(template=FewShot())
    prompt = Prompt(
        text="", item=0, problem="", difficulty=3, answer=CountdownAnswer((2, 3, 4), 10)
    )
    assert task.grade(prompt, text.split("Now solve")[0], finished=True).correct


def test_early_stop_belongs_to_the_compact_template() -> None:
    assert Countdown().early_stop == (";", "A")
    assert Countdown(template=TinyZeroBase()).early_stop is None


@pytest.mark.parametrize("template", [Compact(), TinyZeroBase(), FewShot(), Hashes(), Plain()])
def test_traces_end_with_an_answer_that_the_template_finds(template: Any) -> None:
    task = Countdown(template=template, train_size=64, eval_size=8)
    prompts = {prompt.text: prompt for prompt in task.pool()}
    graded = [task.grade(prompts[q], response, True) for q, response in task.traces(0, range(200))]
    assert all(grade.formatted for grade in graded)
    assert 0 < sum(grade.correct for grade in graded) < 200  # some searchers give up


def test_traces_walk_the_pool_in_shuffled_passes() -> None:
    task = Countdown(train_size=32, eval_size=8)
    texts = [p.text for p in task.pool()]
    passes = [[question for question, _ in task.traces(0, range(i, i + 32))] for i in (0, 32)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(texts)
    assert passes[0] != passes[1]
    # A trace belongs to its item, whatever range it is asked for in.
    assert task.traces(0, range(20, 40)) == task.traces(0, range(64))[20:40]
    assert task.traces(0, range(32)) != task.traces(1, range(32))
