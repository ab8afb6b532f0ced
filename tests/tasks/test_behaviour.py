"""What responses in free text do, against labels written by reading; and what evaluations say."""

import dataclasses
import itertools
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.behaviour import (
    MIN_PIECE,
    TIMES,
    _thrice_in_a_row,
    behaviour_metrics,
    repetitive,
)
from harness.schema import EVAL
from harness.tasks.coin import Coin
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.forms import form
from harness.tasks.prose import attempts
from harness.tasks.templates import FewShot, Hashes, Plain, TinyZeroBase, TinyZeroInstruct
from harness.types import Behaviour, Grade, Prompt, Rollout
from tests.timing import cpu_seconds

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


def prompt_of(numbers: tuple[int, ...], target: int) -> Prompt:
    answer = CountdownAnswer(numbers, target)
    return Prompt(text="?", item=0, problem="?", difficulty=len(numbers), answer=answer)


# --- hand-labelled responses ----------------------------------------------------------------------

# attempts, computed rightly, hits, misses, retries, give-ups, answers, checked
Label = tuple[int, int, int, int, int, int, int, int]

# To reach 10 from 2, 3 and 4.
SMALL: list[tuple[str, Label]] = [
    ("", (0, 0, 0, 0, 0, 0, 0, 0)),
    (
        "Let me try 2 + 3 * 4 = 14, not 10. Next, 2 * 3 + 4 = 10. Yes!</think>\n"
        "<answer>2 * 3 + 4</answer>",
        (2, 2, 1, 1, 1, 0, 1, 1),
    ),
    (
        "2 + 3 + 4 = 9, too low. I give up.</think><answer>2 + 3 + 4</answer>",
        (1, 1, 0, 1, 0, 1, 1, 0),
    ),
    ("I will just guess.</think><answer>2*3+4</answer>", (0, 0, 0, 0, 0, 0, 1, 0)),
    # It believes that 2 + 3 * 4 is 10: checked, by its own statement.
    ("2 + 3 * 4 = 10.</think><answer>2 + 3 * 4</answer>", (1, 0, 0, 0, 0, 0, 1, 1)),
    # The answer is not closed: none.
    ("2 * 3 + 4 = 10 </think> <answer>2 * 3 + 4", (1, 1, 1, 0, 0, 0, 0, 0)),
    ("2 + 3 + 4 = 9 </think> <answer>2 * 3 +", (1, 1, 0, 1, 0, 0, 0, 0)),
    ("3 × 4 − 2 = 10 ✓</think><answer>(3 × 4) - 2</answer>", (1, 1, 1, 0, 0, 0, 1, 1)),
    # Steps on lines of their own are one attempt.
    (
        "Step 1: 2 * 3 = 6\nStep 2: 6 + 4 = 10\nDone.</think><answer>2 * 3 + 4</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    # Two ways to go on from 3 - 2 and two from 3 + 2: four attempts, none follows the last.
    (
        "Start with 3 - 2 = 1: 1 + 4 = 5, 1 * 4 = 4, both too small.\n"
        "3 + 2 = 5: 5 * 4 = 20, 5 + 4 = 9. Hmm.</think>",
        (4, 4, 0, 4, 3, 0, 0, 0),
    ),
    # It corrects itself: the same expression with another result is another attempt.
    (
        "2 * 3 + 4 = 11. Wait, that is wrong: 2 * 3 + 4 = 10.</think><answer>2*3+4</answer>",
        (2, 1, 1, 1, 1, 0, 1, 1),
    ),
    # Written anew step by step: (2 + 3) * 4 is said to be 20, 3 * 4 - 2 to be 10.
    (
        "(2 + 3) * 4 = 5 * 4 = 20. Too big. 3 * 4 - 2 = 12 - 2 = 10.</think><answer>3*4-2</answer>",
        (2, 2, 1, 1, 1, 0, 1, 1),
    ),
    # Its last step is wrong.
    ("(2 + 3) * 4 = 5 * 4 = 21.", (1, 0, 0, 1, 0, 0, 0, 0)),
    # Chained as the tiny model does.
    ("2*3=6-4=2. 2*3=6+4=10.</think><answer>4+2*3</answer>", (2, 2, 1, 1, 1, 0, 1, 1)),
    # Told again in one line: still one attempt.
    (
        "2 * 3 = 6, 6 + 4 = 10. So 2 * 3 + 4 = 10 is the answer.</think>"
        "<answer> (2 * 3) + 4 </answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    # 4 twice, then no 3: neither is a candidate.
    (
        "4 + 4 + 2 = 10! But 4 is used twice. 2 + 4 = 6.</think><answer>4 + 4 + 2</answer>",
        (0, 0, 0, 0, 0, 0, 1, 0),
    ),
    # The first step is wrong, the second is right: the attempt is computed wrongly.
    ("3 * 4 = 13, 13 - 2 = 11. No.</think><answer>3*4-2</answer>", (1, 0, 0, 1, 0, 1, 1, 0)),
    # A wrong step on the way to the target is no hit, but it is what it found.
    ("2 + 4 = 7, 7 + 3 = 10.</think><answer>2+4+3</answer>", (1, 0, 0, 0, 0, 0, 1, 1)),
    # Finds one, answers another.
    ("2 * 3 + 4 = 10</think><answer>2 + 3 + 4</answer>", (1, 1, 1, 0, 0, 0, 1, 0)),
    # Finds one, tries on, answers with what it found: the last attempt was a miss all the same.
    (
        "2 * 3 + 4 = 10. Or 2 * 4 + 3 = 11.</think><answer>2 * 3 + 4</answer>",
        (2, 2, 1, 1, 0, 1, 1, 1),
    ),
    # The answer with its result is badly written, but it is the one that was checked.
    ("2 * 3 + 4 = 10.</think><answer>2 * 3 + 4 = 10</answer>", (1, 1, 1, 0, 0, 0, 1, 1)),
    # Two answers: the last one counts, and what stands before it.
    (
        "<answer>2 + 3 + 4</answer> Wait. 2 * 3 + 4 = 10. <answer>2*3+4</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    # What comes after the answer is not counted.
    (
        "2 + 3 + 4 = 9</think><answer>2+3+4</answer>\nUser: 2 * 3 + 4 = 10",
        (1, 1, 0, 1, 0, 1, 1, 0),
    ),
    # A question states nothing, nor does a rounded value.
    (
        "Is 2 + 3 * 4 = 10? No, it's 14. Then 2 + 3 / 4 ≈ 2.75. Hmm.</think><answer>2+3*4</answer>",
        (0, 0, 0, 0, 0, 0, 1, 0),
    ),
    (
        "- $2 \\times 3 - 4 = 2$\n- $2 \\times 3 + 4 = \\boxed{10}$\n</think>\n\n"
        "<answer>\n2 * 3 + 4\n</answer>",
        (2, 2, 1, 1, 1, 0, 1, 1),
    ),
    # A result below zero and one with a fraction are gone on from.
    (
        "2 - 3 = -1, -1 + 4 = 3. 3 / 4 = 0.75, 0.75 * 2 = 1.5. 4 / 3 = 1.33, 1.33 + 2 = 3.33.",
        (3, 2, 0, 3, 2, 0, 0, 0),
    ),
    # Working backwards from the target uses a number that is not given: no attempt.
    (
        "I need 10. 10 - 4 = 6 and 2 * 3 = 6!</think><answer>2*3+4</answer>",
        (0, 0, 0, 0, 0, 0, 1, 0),
    ),
    # Three tries, although they cannot but fail alike.
    ("2 + 3 + 4 = 9\n3 + 2 + 4 = 9\n4 + 3 + 2 = 9\n", (3, 3, 0, 3, 2, 0, 0, 0)),
    # One try, told three times.
    ("2 + 3 = 5, 5 + 4 = 9. So 2 + 3 + 4 = 5 + 4 = 9, (2 + 3) + 4 = 9.", (1, 1, 0, 1, 0, 0, 0, 0)),
]
# Numbers, target, response.
LARGE: list[tuple[tuple[int, ...], int, str, Label]] = [
    (
        (44, 19, 35),
        98,
        "First, 44 + 19 = 63. Then 63 - 35 = 28 (not 98). What about addition? 63 + 35 = 98. "
        "So the equation is 44 + 19 + 35 = 98.\n</think>\n<answer>(44 + 19) + 35</answer>",
        (2, 2, 1, 1, 1, 0, 1, 1),
    ),
    (
        (2, 3, 4, 5),
        26,
        "2 * 3 = 6 and 4 * 5 = 20, 6 + 20 = 26.</think><answer>4*5 + 2*3</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    # 5 is given and is a result: each is taken where all numbers are then used.
    (
        (2, 3, 4, 5),
        25,
        "2 + 3 = 5, 5 * 4 = 20, 20 + 5 = 25. Or 4 * 5 = 20, 20 + 2 + 3 = 25.</think>",
        (2, 2, 2, 0, 0, 0, 0, 0),
    ),
    (
        (15, 78, 38),
        55,
        "**Attempt 1:** 78 - 38 = 40, then 40 + 15 = **55**. ✅\n\n### Final answer\n</think>\n"
        "<answer>78 - 38 + 15</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (6, 6, 8),
        8,
        "1. 6 / 6 = 1, and 1 x 8 = 8. That's it!\n</think><answer>8 * 6 / 6</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    # This 5 is 1 + 4, not the given one, and 1 is not given.
    ((4, 5), 20, "1 + 4 = 5 * 4 = 20", (0, 0, 0, 0, 0, 0, 0, 0)),
    # -2 is the 2 of before with a minus sign.
    (
        (3, 5, 7),
        5,
        "5 - 3 = 2, and -2 + 7 = 5.</think><answer>7 - (5 - 3)</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    # 1,200 is one number.
    (
        (1200, 300, 2),
        3000,
        "(1,200 + 300) × 2 = 1,500 × 2 = 3,000</think><answer>(1200+300)*2</answer>",
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
]

# Labelled after the reader was written. It agreed with 13 of the 14; the other, 79 - 60 + 17 tried
# again as 79 - (60 - 17), is why only what is written the same counts as told again.
FRESH: list[tuple[tuple[int, ...], int, str, Label]] = [
    (
        (44, 19, 35),
        98,
        (
            "Let me think. We have the numbers 44, 19, and 35. We want to get 98.\n"
            "1. 44 + 19 + 35 = 98\n"
            "So the answer is 44 + 19 + 35.</think>\n"
            "<answer>44 + 19 + 35</answer>"
        ),
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (63, 95, 96),
        64,
        (
            "I need to use 63, 95, 96 to make 64. \n"
            "- 95 + 96 - 63 = 128 (too high)\n"
            "- 96 - 95 + 63 = 64 (this works!)\n"
            "So the equation is 96 - 95 + 63 = 64. </think>\n"
            "<answer>96 - 95 + 63</answer>"
        ),
        (2, 2, 1, 1, 1, 0, 1, 1),
    ),
    (
        (4, 7, 8, 8),
        24,
        (
            "First, (7 - (8 / 8)) * 4 = (7 - 1) * 4 = 6 * 4 = 24. Let me verify: 8/8 = 1, 7 -"
            " 1 = 6, 6 * 4 = 24. ✓\n"
            "</think><answer>(7 - 8 / 8) * 4</answer>"
        ),
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (5, 6, 7),
        37,
        ("We can try 5*6 = 30, then 30+7 = 37. So 5*6+7=37.</think><answer>5*6+7 = 37</answer>"),
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (3, 8, 9),
        33,
        ("Try 3 * 8 = 24; 24 + 9 = 33. Perfect!\n</think>\n\n<answer>3 * 8 + 9</answer>"),
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (3, 8, 9),
        33,
        (
            "(3 + 8) x 9 = 99, (8 - 3) x 9 = 45, 9 x 3 + 8 = 35, 8 x 3 + 9 = 33 </think> "
            "<answer> (8 x 3) + 9 </answer>"
        ),
        (4, 4, 1, 3, 3, 0, 1, 1),
    ),
    (
        (10, 20, 5),
        6,
        (
            "20 / 10 = 2, and 2 + 5 = 7, not 6. 20 / 5 = 4, 10 - 4 = 6. Yes. So 10 - (20 / 5)"
            " = 10 - 4 = 6.</think><answer>10 - (20/5)</answer>"
        ),
        (2, 2, 1, 1, 1, 0, 1, 1),
    ),
    (
        (50, 8, 3),
        26,
        (
            "Let's denote a = 50, b = 8, c = 3. a - b * c = 50 - 24 = 26. So 50 - 8 * 3 = 50 "
            "- 24 = 26.</think><answer>50 - 8*3</answer>"
        ),
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (1, 2, 3),
        7,
        (
            "1 + 2 + 3 = 6 (not 7), 1 * 2 * 3 = 6 (not 7), 1 + 2 * 3 = 7 "
            "(yes)</think><answer>1 + 2 * 3</answer>"
        ),
        (3, 3, 1, 2, 2, 0, 1, 1),
    ),
    (
        (79, 17, 60),
        22,
        (
            "Let's try subtracting: 79 - 17 = 62\n"
            "62 - 60 = 2\n"
            "That's not right. Let's try: 79 - 60 = 19\n"
            "19 + 17 = 36\n"
            "Let's try: 60 - 17 = 43, 79 - 43 = 36. Another: 17 + 60 = 77; 79 - 77 = "
            "2.</think>\n"
            "<answer>79 - 60 + 17</answer>"
        ),
        (4, 4, 0, 4, 3, 1, 1, 0),
    ),
    (
        (6, 3, 12),
        6,
        (
            "12 - 6 = 6, 6 / 3 = 2. No. 12 - 3 = 9, 9 - 6 = 3. No. 12 / 6 = 2, 2 * 3 = 6. "
            "Great!</think><answer>12/6*3</answer>"
        ),
        (3, 3, 1, 2, 2, 0, 1, 1),
    ),
    (
        (2, 5, 9),
        43,
        (
            "The target is 43. $$9 \\cdot 5 = 45$$ $$45 - 2 = 43$$ Therefore $9 \\cdot 5 - 2 = "
            "43$.</think><answer>9*5-2</answer>"
        ),
        (1, 1, 1, 0, 0, 0, 1, 1),
    ),
    (
        (2, 5, 9),
        43,
        (
            "Using 2, 5, 9: 2 + 5 + 9 = 16 < 43. 2 * 5 + 9 = 19 < 43; 5 * 9 = 45 and 45 - 2 ="
            " 43 = 43.</think><answer>5 * 9 - 2</answer>"
        ),
        (3, 3, 1, 2, 2, 0, 1, 1),
    ),
    (
        (2, 5, 9),
        43,
        ("(5 * 9) - 2 = 45 - 2 = 43, which matches the target.</think><answer>5 * 9 - 2"),
        (1, 1, 1, 0, 0, 0, 0, 0),
    ),
]


@pytest.mark.parametrize("template", [TinyZeroBase(), TinyZeroInstruct(), FewShot()])
@pytest.mark.parametrize(
    ("numbers", "target", "response", "label"),
    [((2, 3, 4), 10, *row) for row in SMALL] + LARGE + FRESH,
)
def test_free_text(
    template: Any, numbers: tuple[int, ...], target: int, response: str, label: Label
) -> None:
    read = Countdown(template=template).behaviour(prompt_of(numbers, target), response)
    assert read is not None
    assert dataclasses.astuple(read) == label


@pytest.mark.parametrize(
    ("template", "response", "label"),
    [
        (Hashes(), "2 + 3 + 4 = 9\n2 * 3 + 4 = 10\n#### 2 * 3 + 4", (2, 2, 1, 1, 1, 0, 1, 1)),
        (Hashes(), "2 + 3 + 4 = 9\n#### 9\n2 * 3 + 4 = 10", (1, 1, 0, 1, 0, 1, 1, 0)),
        (Hashes(), "2 + 3 + 4 = 9", (1, 1, 0, 1, 0, 0, 0, 0)),
        # All of a plain response is its answer.
        (Plain(), "2 * 3 + 4", (0, 0, 0, 0, 0, 0, 1, 0)),
        (Plain(), "2 * 3 + 4 = 10", (1, 1, 1, 0, 0, 0, 1, 1)),
    ],
)
def test_other_templates(template: Any, response: str, label: Label) -> None:
    read = Countdown(template=template).behaviour(prompt_of((2, 3, 4), 10), response)
    assert read is not None
    assert dataclasses.astuple(read) == label


@pytest.mark.parametrize("operators", ["+-", "+-*/"])
def test_both_readers_agree_on_written_traces(operators: str) -> None:
    compact = Countdown(operators=operators, counts=[3, 4], train_size=200, eval_size=20)
    tagged = dataclasses.replace(compact, template=TinyZeroBase())
    prompts = {p.text: p for p in compact.pool()}
    items = range(400)
    pairs = zip(compact.traces(0, items), tagged.traces(0, items), strict=True)
    for (q, trace), (_, words) in pairs:
        expected = compact.behaviour(prompts[q], trace)
        assert tagged.behaviour(prompts[q], words) == expected, (q, trace)


def test_results_are_written_out() -> None:
    found = attempts("2 + 3 = 5, 5 * 4 = 20; 4 - 2 = 2, 2 * 3 = 6", [2, 3, 4])
    assert [attempt.expression for attempt in found] == ["(2 + 3) * 4", "(4 - 2) * 3"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2*3+4", "4+(3*2)", True),
        ("2-3+4", "4-(3-2)", True),
        ("8/2*3", "3*8/2", True),
        ("8/(2/3)", "8/2*3", True),
        ("-(2-3)", "3-2", True),
        ("(2+3)*4", "2+3*4", False),
        ("8/2/3", "8/(2/3)", False),
        ("2*3+4", "5*2", False),  # equal in value only
        ("2-3", "3-2", False),
        ("2*-3", "2*3", False),
    ],
)
def test_form(one: str, other: str, same: bool) -> None:
    assert (form(one) == form(other)) is same
    assert form(one) == form(f" ( {one} ) ")


def test_no_form() -> None:
    assert form("2 3") is form("") is form("2/0") is form("__import__('os')") is None


FRAGMENTS = st.sampled_from(
    ["2", "3", "4", "10", " + ", "*", "-", "/", "(", ")", "=", " = ", "\n", ", ", "<answer>",
     "</answer>", "</think>", "x", "no "]
)  # fmt: skip


@SETTINGS
@given(st.lists(FRAGMENTS, max_size=60).map("".join))
def test_any_text_is_counted_consistently(text: str) -> None:
    b = Countdown(template=TinyZeroBase()).behaviour(prompt_of((2, 3, 4), 10), text)
    assert b is not None
    assert b.hits <= b.computed_rightly <= b.attempts <= text.count("=")
    assert b.retries + b.give_ups <= b.misses <= b.attempts
    assert b.retries in (b.misses, b.misses - 1)
    assert b.checked <= b.answers <= 1
    assert b.answers == bool(re.search(r"<answer>.*</answer>", text, re.DOTALL))


def test_time_grows_with_length_only() -> None:
    """Four times the text takes four times as long; gone back and forth in, sixteen times."""
    task, prompt = Countdown(template=TinyZeroBase()), prompt_of((2, 3, 4), 10)
    for piece in ("2 + 3 = 5, 5 * 4 = 20. ", "(", "2=", "2+3=5*4=20-", "<answer>", "9"):
        short, long = (
            cpu_seconds(lambda text=text: task.behaviour(prompt, text))
            for text in (piece * (8_000 // len(piece)), piece * (32_000 // len(piece)))
        )
        assert long < 8 * short + 0.05, (piece, short, long)


# --- repetition -----------------------------------------------------------------------------------

REPETITIVE = [
    "I will try.I will try.I will try.",
    "so 12345678 12345678 12345678 ",
    "hahahahahahahahahahahaha",  # four times `hahahaha`... in pieces of eight characters
    "7+8=15-3=12;7+8=15-3=12;7+8=15-3=12;A7+8-3",
    # The same attempt three times, others between.
    "7+8=15-3=12;8-7=1+3=4;7+8=15-3=12;7-8=-1+3=2;7+8=15-3=12;A7+8-3",
    "2 + 3 + 4 = 9\nNo.\n2 + 3 + 4 = 9\nNo, really.\n2 + 3+4 = 9\n",
    "(" * 10_000,
    "\n" * 10_000,
]
NOT_REPETITIVE = [
    "",
    "7+8=15-3=12;8-7=1+3=4!A8-7+3",
    "I will try.I will try.I will not.",  # twice only
    "no no no no no no no",  # 20 characters: three pieces of eight need 24
    "1 2 3 1 2 3 1 2 3",
    "Let me try again.\nWrong.\nLet me try again.\nNo.\nLet me try again.\n",  # words, no attempt
    "7+8=15-3=12;8-7=1+3=4;7+8=15-3=12;A7+8-3",  # the same attempt twice
    "| a | b | c |\n|---|---|---|---|---|---|---|\n| 1 | 2 | 3 |",  # a table
    f"Title\n{'=' * 60}\nand\n{' ' * 40}text",  # a rule and a gap
    "2 + 3 = 5\n5 * 4 = 20\n2 + 3 = 5\n5 + 4 = 9\n2 + 3 = 5\n5 - 4 = 1",  # a step, not an attempt
    "2*3=6+4=10",
]


@pytest.mark.parametrize("text", REPETITIVE, ids=lambda text: text[:20])
def test_repetitive(text: str) -> None:
    assert repetitive(text)


@pytest.mark.parametrize("text", NOT_REPETITIVE, ids=lambda text: text[:20])
def test_not_repetitive(text: str) -> None:
    assert not repetitive(text)


@SETTINGS
@given(
    st.text("ab", max_size=12),
    st.text("ab", min_size=1, max_size=14),
    st.integers(1, 6),
    st.text("ab", max_size=12),
    st.integers(0, 40),
)
def test_every_piece_three_times_in_a_row_is_seen(
    before: str, piece: str, times: int, after: str, spoilt: int
) -> None:
    text = before + piece * times + after
    text = text[:spoilt] + text[spoilt + 1 :]
    pieces = range(MIN_PIECE, len(text) // TIMES + 1)
    expected = any(
        text[i : i + 2 * p] == text[i + p : i + 3 * p]
        for p in pieces
        for i in range(len(text) - 3 * p + 1)
    )
    assert _thrice_in_a_row(text) is expected


def test_long_texts_are_searched_for_repetition_in_no_time() -> None:
    bits = "".join(str(i.bit_count() % 2) for i in range(32_000))  # nothing thrice in a row
    words = "".join(f"word{i * 7919 % 32_000} " for i in range(3_000))
    twice = words[:15_000] * 2
    for text in (bits, words, twice, "(=" * 16_000, "a\n;" * 10_000, "-" * 79 + "\n" * 30_000):
        spent = cpu_seconds(lambda text=text: repetitive(text))
        assert spent < 0.4, (text[:20], spent)


# --- an evaluation --------------------------------------------------------------------------------


def rollout_of(texts: list[str], prompt: Prompt) -> Rollout:
    B = len(texts)
    mask_BT = torch.ones(B, 1, dtype=torch.bool)
    return Rollout(
        prompts=(prompt,) * B,
        prompt_ids=((1,),) * B,
        group_B=torch.arange(B),
        tokens_BT=mask_BT.long(),
        mask_BT=mask_BT,
        logprobs_BT=torch.zeros(B, 1),
        finished_B=torch.ones(B, dtype=torch.bool),
        texts=tuple(texts),
    )


def metrics_of(task: Any, texts: list[str], prompt: Prompt) -> dict[str, float]:
    grades = [task.grade(prompt, text, finished=True) for text in texts]
    metrics = behaviour_metrics(task, rollout_of(texts, prompt), grades)
    assert set(metrics) <= set(EVAL)
    return {key.removeprefix("eval/behaviour/"): value for key, value in metrics.items()}


def test_counts_are_summed_before_they_are_divided() -> None:
    texts = [
        "7+8=15-3=12!A7+8-3",  # 1 attempt, 1 hit; checked
        "7-8=-1+3=2;7+8=15+3=18;A7+8+3",  # 2 attempts, 2 misses, 1 retry, gives up
        "7+8=14-3=11;7+8=15-3=12!A7+8-3",  # the first attempt is computed wrongly; checked
        "7-8=-1+",  # cut in its first attempt; grades here take it for finished: no answer
        "A7+8-3",  # an answer without an attempt
    ]
    assert metrics_of(Countdown(), texts, prompt_of((7, 8, 3), 12)) == {
        "attempts": 6 / 5,
        "give_up_rate": 1 / 3,
        "retry_rate": 2 / 3,
        "computed_rightly": 4 / 6,
        "success_per_attempt": 2 / 6,
        "checked": 2 / 4,
        "empty": 0.0,
        "repetitive": 0.0,
        "well_formatted": 4 / 5,
    }


def test_a_share_of_nothing_is_left_out() -> None:
    always = {"empty": 0.5, "repetitive": 0.5, "well_formatted": 0.0}
    texts = [" \n", "(" * 100]
    prompt = prompt_of((7, 8, 3), 12)
    tagged = Countdown(template=TinyZeroBase())
    assert metrics_of(tagged, texts, prompt) == {"attempts": 0.0, **always}
    # A task that reads no search
    coin = Coin()
    assert metrics_of(coin, texts, coin.held_out()[0]) == always
    grades = [Grade(correct=False, formatted=True)] * 2
    metrics = behaviour_metrics(coin, rollout_of(texts, coin.held_out()[0]), grades)
    assert metrics["eval/behaviour/well_formatted"] == 1.0


def test_every_key_comes_up_and_is_declared() -> None:
    texts = [text for text, _ in SMALL]
    metrics = metrics_of(Countdown(template=TinyZeroBase()), texts, prompt_of((2, 3, 4), 10))
    declared = {k.removeprefix("eval/behaviour/") for k in EVAL if "/behaviour/" in k}
    assert set(metrics) == declared
    totals = [sum(column) for column in zip(*(label for _, label in SMALL), strict=True)]
    names = [field.name for field in dataclasses.fields(Behaviour)]
    total = Behaviour(**dict(zip(names, totals, strict=True)))
    assert metrics["checked"] == total.checked / total.answers
    assert metrics["retry_rate"] == total.retries / total.misses
    assert metrics["attempts"] == total.attempts / len(SMALL)
    assert metrics["empty"] == 1 / len(SMALL)


def test_labels_differ_enough_to_tell_fields_apart() -> None:
    columns = list(zip(*(label for _, label in SMALL), strict=True))
    for one, other in itertools.combinations(columns, 2):
        assert one != other
