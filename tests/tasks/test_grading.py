"""Grading of the toy tasks and of products, by hand-written tables."""

from typing import Any

import pytest

from harness.tasks.coin import Coin
from harness.tasks.coin import question as flip
from harness.tasks.multiplication import Multiplication, by_parts
from harness.tasks.multiplication import question as product
from harness.tasks.sum_to_ten import SumToTen, starts
from harness.tasks.sum_to_ten import question as start
from harness.tasks.templates import FewShot, Hashes, Plain, TinyZeroBase
from harness.types import Grade, Prompt

RIGHT = Grade(correct=True, formatted=True)
WRONG = Grade(correct=False, formatted=True)
NONE = Grade(correct=False, formatted=False)


def prompt(answer: Any) -> Prompt:
    return Prompt(text="", item=0, problem="", difficulty=1, answer=answer)


PRODUCTS = [
    ("408", RIGHT), (" 408 ", RIGHT), ("\n408\n", RIGHT), ("407", WRONG), ("-408", WRONG),
    ("0", WRONG), ("", NONE), ("12*34", NONE), ("408.", NONE), ("408.0", NONE), ("4,08", NONE),
    ("0408", NONE), ("+408", NONE), ("about 408", NONE), ("408 408", NONE), ("４０８", NONE),
    ("<b>408", NONE), ("9" * 5_000, NONE),
]  # fmt: skip


@pytest.mark.parametrize(("content", "grade"), PRODUCTS)
def test_products(content: str, grade: Grade) -> None:
    compact, tagged = Multiplication(), Multiplication(template=TinyZeroBase())
    assert compact.grade(prompt(408), f"360+48;A{content}", finished=True) == grade
    assert tagged.grade(prompt(408), f"so</think><answer>{content}</answer>", True) == grade


@pytest.mark.parametrize(
    ("response", "finished", "grade"),
    [
        ("A408", True, RIGHT),
        ("A408", False, NONE),
        ("A407A408", True, RIGHT),
        ("A408A407", True, WRONG),
        ("408", True, NONE),
        ("", True, NONE),
    ],
)
def test_products_in_the_compact_template(response: str, finished: bool, grade: Grade) -> None:
    assert Multiplication().grade(prompt(408), response, finished) == grade


@pytest.mark.parametrize(
    ("response", "grade"),
    [
        ("<answer>408</answer>", RIGHT),
        ("<answer>407</answer><answer>408</answer>", RIGHT),
        ("<answer>408</answer><answer>407</answer>", WRONG),
        ("<answer>408</answer><answer>407", RIGHT),
        ("<answer>408", NONE),
        ("408</answer>", NONE),
        ("the product is 408", NONE),
    ],
)
def test_products_in_tags(response: str, grade: Grade) -> None:
    for finished in (True, False):
        task = Multiplication(template=TinyZeroBase())
        assert task.grade(prompt(408), response, finished) == grade


SUMS = [
    ("5", RIGHT), ("1+4", RIGHT), (" 1 + 4 ", RIGHT), ("1+1+1+1+1", RIGHT), ("6", WRONG),
    ("4", WRONG), ("50", WRONG), ("", NONE), ("0+5", NONE), ("5+0", NONE), ("1+", NONE),
    ("+5", NONE), ("6-1", NONE), ("05", NONE), ("1 4", NONE), ("1+4=5", NONE), ("2.5+2.5", NONE),
    ("٥", NONE), ("100", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("content", "grade"), SUMS)
def test_sums(content: str, grade: Grade) -> None:
    tagged = SumToTen(template=TinyZeroBase())
    assert SumToTen().grade(prompt(5), f"5+5=10!A{content}", finished=True) == grade
    assert SumToTen().grade(prompt(5), f"5+5=10!A{content}", finished=False) == NONE
    assert tagged.grade(prompt(5), f"<answer>{content}</answer>", finished=True) == grade


def test_every_start_of_a_sum() -> None:
    # Compositions of 1 to 9: 2^0 + ... + 2^8.
    every = list(starts())
    assert len(every) == len(set(every)) == 2**9 - 1
    assert all(1 <= sum(start) <= 9 for start in every)
    assert list(starts(2)) == [(1,), (1, 1), (2,)]


FLIPS = [
    ("1", RIGHT), ("heads", RIGHT), (" Heads\n", RIGHT), ("0", WRONG), ("Tails", WRONG),
    ("", NONE), ("head", NONE), ("heads!", NONE), ("10", NONE), ("heads or tails", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("content", "grade"), FLIPS)
def test_flips(content: str, grade: Grade) -> None:
    tagged = Coin(template=TinyZeroBase())
    assert Coin().grade(prompt("heads"), f"A{content}", finished=True) == grade
    assert tagged.grade(prompt("heads"), f"<answer>{content}</answer>", finished=True) == grade
    assert Coin().grade(prompt("heads"), f"A{content}", finished=False) == NONE


def test_tails_are_right_when_it_is_tails() -> None:
    assert Coin().grade(prompt("tails"), "A0", finished=True) == RIGHT
    assert Coin().grade(prompt("tails"), "A1", finished=True) == WRONG
    assert Coin().grade(prompt("tails"), "A", finished=True) == NONE


@pytest.mark.parametrize(
    ("a", "b", "trace"),
    [
        (12, 34, "12*34=12*30+12*4=360+48;"),
        (12, 30, "12*30=360;"),
        (7, 8, "7*8=56;"),
        (12, 305, "12*305=12*300+12*5=3600+60;"),
        (12, 345, "12*345=12*300+12*40+12*5=3600+480+60=4080+60;"),
    ],
)
def test_long_multiplication(a: int, b: int, trace: str) -> None:
    assert by_parts(a, b) == trace


@pytest.mark.parametrize(
    ("task", "question", "answer"),
    [
        (Multiplication, product(12, 34), 15),
        (SumToTen, start((1, 2)), 6),
        (Coin, flip(3), "tails"),
    ],
)
def test_the_worked_example_is_graded_correct(task: Any, question: Any, answer: Any) -> None:
    text = FewShot().render(question)
    graded = task(template=FewShot()).grade(prompt(answer), text.split("Now solve")[0], True)
    assert graded == RIGHT


def test_the_example_of_an_answer_is_not_the_answer() -> None:
    assert product(7, 8).example != "56"
    assert product(6, 9).example != "54"


# --- templates ------------------------------------------------------------------------------------


def test_prompts_of_the_new_templates() -> None:
    asked = product(12, 34)
    assert Plain().render(asked) == "What is 12 * 34?"
    # Jiayi-Pan/TinyZero examples/data_preprocess/gsm8k.py
    assert Hashes().render(asked) == (
        'What is 12 * 34? Let\'s think step by step and output the final answer after "####".'
    )


@pytest.mark.parametrize(
    ("response", "finished", "content"),
    [
        ("so\n#### 13", True, "13"),
        ("so\n#### 13", False, None),  # 13 of 130
        ("so\n#### 13\n", False, "13"),
        ("so #### 13 eggs\nmore", True, "13 eggs"),
        ("#### 13\n#### 14", True, "14"),
        ("#### 13\n#### 14", False, None),
        ("####13", True, None),
        ("### 13", True, None),
        ("13", True, None),
        ("#### ", True, ""),
    ],
)
def test_hashes_mark_the_rest_of_the_line(
    response: str, finished: bool, content: str | None
) -> None:
    assert Hashes().answer(response, finished) == content


def test_plain_takes_a_finished_response() -> None:
    assert Plain().answer("any\nthing", True) == "any\nthing"
    assert Plain().answer("any\nthing", False) is None
