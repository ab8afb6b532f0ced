"""Tasks that make their own problems: what holds for each of their sets and traces."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from harness.errors import ConfigError, ContractError
from harness.models.tiny import WritesTraces
from harness.models.vocabulary import COMPACT
from harness.tasks import sets
from harness.tasks.coin import Coin
from harness.tasks.multiplication import RANGES, Level, Multiplication
from harness.tasks.sum_to_ten import SumToTen
from harness.tasks.templates import (
    Compact,
    FewShot,
    Hashes,
    Plain,
    TinyZeroBase,
    TinyZeroInstruct,
)
from harness.types import Prompt

LEVELLED = Multiplication(
    levels=[Level.EASY, Level.HARD], hasty_share=0.0, train_size=300, eval_size=40
)
SLOW = Multiplication(hasty_share=0.0)
# Changing a default task changes every published number.
PINNED = {
    "multiplication": "b1810c09080f8e23d1dee27a4212f8a64d10d0505513950882cfc072a4336bc4",
    "sum_to_ten": "f8576526c913022ed15bbee88d5ce825d81e2054e589be456e577a304f8a1c6c",
    "coin": "c3ea99d9a21d1d12a391275d0473f65b95cfc4d7466a5d7bb84134916e2683a9",
}
TASKS = {
    "multiplication": Multiplication(),
    "levels": LEVELLED,
    "sum_to_ten": SumToTen(),
    "coin": Coin(),
}
EACH = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@EACH
def test_sets_are_as_asked_for_and_share_no_problem(task: Any) -> None:
    pool, held_out = task.pool(), task.held_out()
    assert (len(pool), len(held_out)) == (task.train_size, task.eval_size)
    for part in (pool, held_out):
        assert [p.item for p in part] == list(range(len(part)))
        assert all(p.difficulty >= 1 for p in part)
    texts = [p.text for p in pool + held_out]
    assert len(set(texts)) == len(texts)
    assert not {p.problem for p in pool} & {p.problem for p in held_out}
    assert all(sets.is_held_out(p.problem, task.hold_out) for p in held_out)


@pytest.mark.parametrize("name", PINNED)
def test_default_task_is_pinned_and_knows_no_seed(name: str, composed: Callable[..., Any]) -> None:
    assert type(TASKS[name])().digest == PINNED[name]
    assert composed(f"task={name}", "seed=7").task.digest == PINNED[name]


@EACH
def test_sizes_only_cut_one_sequence(task: Any) -> None:
    small = dataclasses.replace(task, train_size=32, eval_size=8)
    assert small.pool() == task.pool()[:32]
    assert small.held_out() == task.held_out()[:8]
    assert small.digest != task.digest


@EACH
def test_template_words_the_same_problems(task: Any) -> None:
    words = dataclasses.replace(task, template=TinyZeroBase())
    assert [p.problem for p in words.pool()] == [p.problem for p in task.pool()]
    assert [p.answer for p in words.pool()] == [p.answer for p in task.pool()]
    assert words.pool()[0].text.startswith("A conversation between User and Assistant.")
    assert words.digest != task.digest


@EACH
def test_traces_fit_the_tiny_model(task: Any) -> None:
    assert isinstance(task, WritesTraces)
    traces = task.traces(0, range(500))
    assert set("".join(q + t for q, t in traces)) <= set(COMPACT)
    assert max(len(q) + len(t) for q, t in traces) < 100
    prompts = {p.text: p for p in task.pool()}
    grades = [task.grade(prompts[q], t, finished=True) for q, t in traces]
    assert all(grade.formatted for grade in grades)
    assert not any(task.grade(prompts[q], t, finished=False).formatted for q, t in traces)
    assert {task.behaviour(prompts[q], t) for q, t in traces} == {None}
    assert task.early_stop is None


@EACH
def test_traces_walk_the_pool_in_shuffled_passes(task: Any) -> None:
    small = dataclasses.replace(task, train_size=32, eval_size=8)
    passes = [[q for q, _ in small.traces(0, range(i, i + 32))] for i in (0, 32)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(p.text for p in small.pool())
    assert passes[0] != passes[1]
    assert small.traces(0, range(20, 40)) == small.traces(0, range(64))[20:40]
    assert small.traces(0, range(32)) != small.traces(1, range(32))


TEMPLATES = [Compact(), TinyZeroBase(), TinyZeroInstruct(), FewShot(), Hashes(), Plain()]


@EACH
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda t: type(t).__name__)
def test_traces_end_with_an_answer_that_the_template_finds(task: Any, template: Any) -> None:
    small = dataclasses.replace(task, template=template, train_size=64, eval_size=8)
    prompts = {p.text: p for p in small.pool()}
    graded = [small.grade(prompts[q], response, True) for q, response in small.traces(0, range(96))]
    assert all(grade.formatted for grade in graded)
    assert any(grade.correct for grade in graded)


def test_long_multiplication_is_right_where_it_says_so() -> None:
    # Each `=` joins sums of equal value, and every trace ends in the right product.
    for task in (SLOW, LEVELLED):
        prompts = {p.text: p for p in task.pool()}
        for q, trace in task.traces(0, range(300)):
            work, _, answer = trace.rpartition(";A")
            product = prompts[q].answer
            assert task.grade(prompts[q], trace, finished=True).correct
            assert int(answer) == product
            assert {value(side) for side in work.split("=")} == {product}
            assert work.startswith(q[1:-1])


def test_hasty_traces_answer_at_once() -> None:
    # 2000 traces at 0.4: 800 expected, standard deviation 22.
    hasty = [response[0] == "A" for _, response in Multiplication().traces(0, range(2000))]
    assert abs(sum(hasty) - 800) < 80


def value(text: str) -> int:
    """Of a sum of numbers and products."""
    total = 0
    for term in text.split("+"):
        a, _, b = term.partition("*")
        total += int(a) * int(b or 1)
    return total


def test_sums_claim_ten_when_they_make_ten() -> None:
    task = SumToTen()
    prompts = {p.text: p for p in task.pool()}
    right = 0
    for q, trace in task.traces(0, range(400)):
        claimed = "!" in trace
        right += claimed
        assert task.grade(prompts[q], trace, finished=True).correct is claimed
        assert ("=10!A" in trace) is claimed
    # Drawn at random, so that there is something to learn: neither none nor all are right.
    assert 40 < right < 200


def test_guesses_of_the_coin_are_even() -> None:
    # 800 fair guesses: 400 heads expected, standard deviation 14.
    guesses = Counter(trace for _, trace in Coin().traces(0, range(800)))
    assert set(guesses) == {"A0", "A1"}
    assert abs(guesses["A1"] - 400) < 45


def test_the_coin_is_biased() -> None:
    # 768 flips at 0.7: 538 heads expected, standard deviation 13.
    flips = Counter(p.answer for p in Coin().pool() + Coin().held_out())
    assert abs(flips["heads"] - 538) < 40
    assert {p.answer for p in Coin(heads=1.0).pool()} == {"heads"}


def test_factors_have_the_digits_that_are_asked_for() -> None:
    assert {p.difficulty for p in Multiplication().pool()} == {4}
    factors = [tuple(map(int, p.text[1:-1].split("*"))) for p in Multiplication().pool()]
    assert all(10 <= factor <= 99 for pair in factors for factor in pair)
    assert max(max(pair) for pair in factors) == 99


def test_levels_are_even_and_have_their_ranges() -> None:
    counts = Counter(p.difficulty for p in LEVELLED.pool())
    assert set(counts) == {2, 4}
    assert counts[4] > counts[2] > 60  # 80 easy problems of both orders exist, 1/8 held out
    for prompt in LEVELLED.pool():
        a, b = map(int, prompt.text[1:-1].split("*"))
        level = Level.EASY if prompt.difficulty == 2 else Level.HARD
        (low_a, high_a), (low_b, high_b) = RANGES[level]
        assert low_a <= a <= high_a
        assert low_b <= b <= high_b
        assert prompt.answer == a * b
    assert [level.difficulty for level in Level] == [1, 2, 3, 4]


def test_orders_of_one_product_are_one_problem() -> None:
    problems = {p.text: p.problem for p in Multiplication().pool()}
    turned = [t for t in problems if f"Q{t[4:6]}*{t[1:3]}?" in problems]
    assert len(turned) > 100
    assert all(problems[t] == problems[f"Q{t[4:6]}*{t[1:3]}?"] for t in turned)


REFUSED: list[tuple[type, dict[str, Any], str]] = [
    (Multiplication, {"digits": [2]}, "task.digits must be two numbers"),
    (Multiplication, {"digits": [0, 2]}, "task.digits must be two numbers"),
    (Multiplication, {"digits": [2, 10]}, "from 1 to 9, received [2, 10]"),
    (Multiplication, {"hasty_share": 1.5}, "task.hasty_share must be in 0..1, received 1.5"),
    (Multiplication, {"train_size": 0}, "task.train_size must be at least 1"),
    (Multiplication, {"eval_size": 0}, "task.eval_size must be at least 1"),
    (Multiplication, {"hold_out": 1}, "task.hold_out must be at least 2"),
    (SumToTen, {"train_size": 0}, "task.train_size must be at least 1"),
    (SumToTen, {"hold_out": 1}, "task.hold_out must be at least 2"),
    (Coin, {"heads": 1.5}, "task.heads is a share"),
    (Coin, {"eval_size": 0}, "task.eval_size must be at least 1"),
]


@pytest.mark.parametrize(("cls", "fields", "words"), REFUSED)
def test_refused(cls: type, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        cls(**fields)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "task",
    [Multiplication(digits=[1, 1]), SumToTen(train_size=600), SumToTen(eval_size=300)],
    ids=["products", "pool", "held out"],
)
def test_too_few_problems(task: Any) -> None:
    with pytest.raises(ConfigError, match=r"only \d+ training and \d+ held-out.*lower") as refusal:
        task.pool()
    assert "\n" not in str(refusal.value)


def test_the_compact_template_is_the_default() -> None:
    assert all(isinstance(task.template, Compact) for task in TASKS.values())


# --- what a digest of prompts sees ----------------------------------------------------------------

ONE = Prompt(text="Q1", item=0, problem="1", difficulty=1, answer="a")
TWO = Prompt(text="Q2", item=1, problem="2", difficulty=1, answer="b")
OTHERS: dict[str, list[Prompt]] = {
    "text": [dataclasses.replace(ONE, text="Q1 "), TWO],
    "answer": [dataclasses.replace(ONE, answer="c"), TWO],
    "type of the answer": [dataclasses.replace(ONE, answer=1), TWO],
    "text of a number": [dataclasses.replace(ONE, answer="1"), TWO],
    "problem": [dataclasses.replace(ONE, problem="2"), TWO],
    "difficulty": [dataclasses.replace(ONE, difficulty=2), TWO],
    "part of a mixture": [dataclasses.replace(ONE, part="coin"), TWO],
    "number": [dataclasses.replace(ONE, item=1), TWO],
    "order": [TWO, ONE],
    "fewer": [ONE],
    # Once both were written as "Q1\ta\nQ2\tb".
    "tabs and line breaks": [dataclasses.replace(ONE, answer="a\nQ2\tb")],
    "tab in the text": [dataclasses.replace(ONE, text="Q1\ta\nQ2", answer="b")],
    "half a character": [dataclasses.replace(ONE, text="\ud800"), TWO],
}


def test_a_digest_sees_all_that_decides_a_number() -> None:
    digests = {name: sets.digest(prompts) for name, prompts in OTHERS.items()}
    assert len({sets.digest([ONE, TWO]), *digests.values()}) == 1 + len(OTHERS)


@pytest.mark.parametrize(
    "answer", [Fraction(1, 3), (1, 2), {"b": 1, "a": 2}, Level.EASY, Compact()]
)
def test_answers_of_many_kinds_have_a_digest(answer: Any) -> None:
    equal = copy.deepcopy(answer)
    made, again = (sets.digest([dataclasses.replace(ONE, answer=a)]) for a in (answer, equal))
    assert made == again != sets.digest([ONE])


@pytest.mark.parametrize(
    "answer", [object(), {"a", "b"}, [len, lambda x: x], {(1, 2): 3}], ids=type
)
def test_an_answer_that_is_another_in_each_process_is_refused(answer: Any) -> None:
    with pytest.raises(ContractError, match=r"answer of prompt 'Q1' must be plain data") as caught:
        sets.digest([dataclasses.replace(ONE, answer=answer)])
    assert "\n" not in str(caught.value)
