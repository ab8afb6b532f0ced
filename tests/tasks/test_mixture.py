"""Mixtures: exact shares, prompts that keep their part, and grading by it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.tasks import sets
from harness.tasks.coin import Coin
from harness.tasks.countdown import Countdown
from harness.tasks.mixture import Mixture, _shares
from harness.tasks.multiplication import Multiplication
from harness.tasks.templates import TinyZeroBase

TASKS = {"countdown": Countdown(), "products": Multiplication(), "coin": Coin()}
WEIGHTS = {"countdown": 2.0, "products": 1.0, "coin": 1.0}
MIXTURE = Mixture(tasks=TASKS, weights=WEIGHTS, train_size=90, eval_size=18)


def test_shares_are_exact_to_one_prompt() -> None:
    # 90 * 2/4 = 45, 22.5, 22.5: the remainder goes to the first by name
    assert _shares(WEIGHTS, 90) == {"coin": 23, "countdown": 45, "products": 22}
    assert _shares({"a": 1000.0, "b": 1.0}, 10) == {"a": 9, "b": 1}  # never none
    assert _shares({"a": 1.0, "b": 1.0, "c": 1.0}, 3) == {"a": 1, "b": 1, "c": 1}


def test_both_sets_have_the_shares_and_no_problem_in_common() -> None:
    pool, held_out = MIXTURE.pool(), MIXTURE.held_out()
    assert Counter(p.part for p in pool) == {"coin": 23, "countdown": 45, "products": 22}
    # 18: 9, 4.5, 4.5
    assert Counter(p.part for p in held_out) == {"coin": 5, "countdown": 9, "products": 4}
    assert not {p.problem for p in pool} & {p.problem for p in held_out}
    for part in (pool, held_out):
        assert [p.item for p in part] == list(range(len(part)))
    # Mixed, not one task after the other.
    assert len({p.part for p in pool[:12]}) == 3
    assert MIXTURE.digest == sets.digest([*pool, *held_out])
    other = Mixture(tasks=TASKS, weights={**WEIGHTS, "coin": 2.0}, train_size=90, eval_size=18)
    assert other.digest != MIXTURE.digest


def test_prompts_are_those_of_the_parts_and_graded_by_them() -> None:
    countdown = Countdown(train_size=45, eval_size=9)
    mine = {p.text for p in MIXTURE.pool() if p.part == "countdown"}
    assert mine == {p.text for p in countdown.pool()}
    product = next(p for p in MIXTURE.pool() if p.part == "products")
    flip = next(p for p in MIXTURE.pool() if p.part == "coin")
    assert MIXTURE.grade(product, f"A{product.answer}", True).correct
    assert MIXTURE.grade(flip, "A1", True).correct is (flip.answer == "heads")
    assert not MIXTURE.grade(flip, f"A{product.answer}", True).formatted
    search = next(p for p in MIXTURE.pool() if p.part == "countdown")
    assert MIXTURE.behaviour(search, "A1") is not None
    assert MIXTURE.behaviour(flip, "A1") is None


def test_one_template_for_all_parts() -> None:
    tagged = Mixture(
        tasks=TASKS, weights=WEIGHTS, template=TinyZeroBase(), train_size=30, eval_size=6
    )
    assert all(p.text.startswith("A conversation between User") for p in tagged.pool())


def test_traces_follow_the_weights_and_are_graded_by_their_part() -> None:
    prompts = {p.text: p for p in MIXTURE.pool()}
    traces = MIXTURE.traces(0, range(800))
    parts = Counter(prompts[q].part for q, _ in traces)
    # 400, 200, 200 expected; standard deviations 14, 12, 12
    assert abs(parts["countdown"] - 400) < 50
    assert abs(parts["coin"] - 200) < 45
    graded = [MIXTURE.grade(prompts[q], response, True) for q, response in traces]
    assert all(grade.formatted for grade in graded)
    assert MIXTURE.traces(0, range(10, 20)) == traces[10:20]


def test_an_early_stop_is_kept_where_all_parts_have_it() -> None:
    assert MIXTURE.early_stop is None
    two = Mixture(
        tasks={"a": Countdown(), "b": Countdown(counts=[2])},
        weights={"a": 1.0, "b": 1.0},
        train_size=20,
        eval_size=4,
    )
    assert two.early_stop == Countdown().early_stop


def test_it_composes_and_takes_one_more(composed: Callable[..., Any]) -> None:
    task = composed(
        "task=mixture", "+task@task.tasks.coin=coin", "+task.weights.coin=2", "task.train_size=80"
    ).task
    assert Counter(p.part for p in task.pool()) == {
        "coin": 40,
        "countdown": 20,
        "multiplication": 20,
    }


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tasks": {"a": Coin()}, "weights": {"a": 1.0}}, "two tasks at least, received a"),
        ({"weights": {"countdown": 1.0, "products": 1.0}}, "task.weights.coin is not set"),
        ({"weights": {**WEIGHTS, "x": 1.0}}, "names no task; valid: coin, countdown, products"),
        ({"weights": {**WEIGHTS, "coin": 0.0}}, "task.weights.coin must be above 0"),
        ({"train_size": 2}, "task.train_size must be at least 3"),
    ],
)
def test_wrong_mixtures_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        Mixture(**{"tasks": TASKS, "weights": WEIGHTS, **wrong})
    assert "\n" not in str(refusal.value)


def test_a_part_that_has_too_few_problems_says_which_sizes_to_lower() -> None:
    tiny = Mixture(
        tasks={"a": Multiplication(digits=[1, 1]), "b": Coin()},
        weights={"a": 1.0, "b": 1.0},
        train_size=400,
        eval_size=20,
    )
    with pytest.raises(ConfigError, match=r"lower task\.train_size"):
        tiny.pool()


@dataclass(frozen=True)
class Bare:
    """A task of someone else's."""


def test_a_task_without_sizes_cannot_be_a_part() -> None:
    with pytest.raises(ConfigError, match="Bare has no eval_size, template, train_size"):
        Mixture(tasks={"a": Bare(), "b": Coin()}, weights={"a": 1.0, "b": 1.0})
