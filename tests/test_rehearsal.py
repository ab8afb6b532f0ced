"""Graders and rewards of one's own: tried on a real prompt before anything is made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import ConfigError, ContractError
from harness.rehearsal import rehearse
from harness.rewards.function import Function
from harness.trial import prepare
from harness.types import Grade, Graded, Prompt
from tests.conftest import Here
from tests.rollout.test_grader import rollout_of

MINE = """
import os, sys, time
import numpy as np

def right(response, answer): return response.strip() == answer
def numpy_bool(response, answer): return np.bool_(response == answer)
def a_float(response, answer): return 1.0
def a_zero(response, answer): return 0
def nothing(response, answer): pass
def one_argument(response): return True
def raises(response, answer): raise ValueError("no number")
def picky(response, answer): return int(response) == int(answer)
def leaves(response, answer): os._exit(0)
def exits(response, answer): sys.exit(0)
def hangs(response, answer): time.sleep(60)

def closeness(prompt, response, answer, correct): return 1.0 if correct else len(response) / 10
def a_whole(prompt, response, answer, correct): return int(correct)
def a_text(prompt, response, answer, correct): return "1"
def a_nan(prompt, response, answer, correct): return float("nan")
def an_array(prompt, response, answer, correct): return np.ones(2)
def three(prompt, response, answer): return 1.0
"""


@pytest.fixture
def own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, composed: Callable[..., Any]
) -> Callable[..., Any]:
    """A trial on a file of additions, with functions of the module `mine_to_try`."""
    (tmp_path / "mine_to_try.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    sums = [(a, b) for a in range(8) for b in range(8)]
    rows = [json.dumps({"prompt": f"Q{a} {b}?", "answer": str(a + b)}) for a, b in sums]
    (tmp_path / "q.jsonl").write_text("\n".join(rows))

    def build(grader: str, *overrides: str) -> Any:
        task = ("task=jsonl", "task.path=q.jsonl", f"task.grader=mine_to_try.{grader}")
        return composed(*task, "task/template=plain", "grading.wall_seconds=1", *overrides)

    return build


@pytest.mark.parametrize("grader", ["right", "numpy_bool"])
def test_a_grader_that_says_yes_or_no_may_go_on(own: Callable[..., Any], grader: str) -> None:
    rehearse(own(grader))


@pytest.mark.parametrize(
    ("grader", "words"),
    [
        ("a_float", ["True or False, returned 1.0", "reward=function"]),
        ("a_zero", ["True or False, returned 0"]),
        ("nothing", ["True or False, returned None"]),
        ("one_argument", ["takes 1 positional argument but 2 were given"]),
        ("raises", ["ValueError: no number", "'Q"]),
        ("picky", ["with the response ''", "int()"]),
        ("leaves", ["ended its process with exit code 0"]),
        ("exits", ["SystemExit: 0"]),
        ("hangs", ["killed: more than 1 s"]),
    ],
)
def test_a_wrong_grader_is_one_line_and_nothing_is_made(
    own: Callable[..., Any], tmp_path: Path, grader: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        prepare(own(grader))
    line = str(refused.value)
    assert "\n" not in line
    assert f"mine_to_try.{grader}" in line
    assert "nothing was made yet" in line
    for word in words:
        assert word in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("reward", ["closeness", "a_whole"])
def test_a_reward_may_be_any_number(own: Callable[..., Any], reward: str) -> None:
    rehearse(own("right", "reward=function", f"reward.function=mine_to_try.{reward}"))


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("a_text", "must return a finite number, returned '1'"),
        ("a_nan", "must return a finite number, returned nan"),
        ("an_array", "must return a finite number, returned array"),
        ("three", "takes 3 positional arguments but 4 were given"),
        ("absent", "reward.function: cannot import 'mine_to_try.absent'"),
    ],
)
def test_a_wrong_reward_is_one_line_and_nothing_is_made(
    own: Callable[..., Any], tmp_path: Path, reward: str, words: str
) -> None:
    config = own("right", "reward=function", f"reward.function=mine_to_try.{reward}")
    with pytest.raises(ConfigError) as refused:
        prepare(config)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_a_reward_is_tried_with_a_task_of_the_harness_and_in_a_sum(
    own: Callable[..., Any], composed: Callable[..., Any]
) -> None:
    function = ("reward=function", "reward.function=mine_to_try.a_text")
    with pytest.raises(ContractError, match="finite number"):
        rehearse(composed("task=coin", *function))
    parts = ("+reward@reward.parts.mine=function", "reward.parts.mine.function=mine_to_try.a_text")
    with pytest.raises(ContractError, match="finite number"):
        rehearse(composed("reward=sum", *parts))


def test_what_a_function_is_given_and_what_it_scores(own: Callable[..., Any]) -> None:
    """Of a right response 1, of a wrong one a tenth of its length: "good" 1.0, "bad" 0.3."""
    rollout = rollout_of("good", "bad")
    grades = tuple(Grade(correct=c, formatted=True) for c in (True, False))
    graded = Graded(rollout=rollout, grades=grades, budget=8, seed=0, step=0, first=0)
    scores = Function("mine_to_try.closeness").score(graded)
    assert scores.rewards.tolist() == [1.0, 0.3]
    assert scores.rewards.dtype == torch.float64


def test_each_part_of_a_mixture_is_tried() -> None:
    """A grader of the second part is called as well."""
    from harness.rehearsal import _rows

    class Mixed:
        def pool(self) -> tuple[Prompt, ...]:
            base = {"problem": "p", "difficulty": 1, "answer": "7"}
            return tuple(
                Prompt(text=f"Q{i}", item=i, part=part, **base)
                for i, part in enumerate(["a", "a", "b"])
            )

    rows: Any = list(_rows(Mixed()))  # type: ignore[arg-type]
    assert [(prompt.text, response) for prompt, response, _ in rows] == [
        ("Q2", "7"), ("Q2", ""), ("Q0", "7"), ("Q0", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "task.grader=mine_to_try.absent",
        "task.grader=mine_to_try.one_argument",
        "task.grader=mine_to_try.a_float",
        "task.grader=mine_to_try.raises",
        "task.grader=mine_to_try.right reward=function reward.function=mine_to_try.three",
        "task.grader=mine_to_try.right reward=function reward.function=mine_to_try.a_text",
        "-m task.grader=mine_to_try.a_float",
        "-m task.grader=mine_to_try.right reward=function reward.function=mine_to_try.three",
    ],
)
def test_a_wrong_function_is_a_wrong_request(
    own: Callable[..., Any], here: Here, words: str
) -> None:
    """Exit code 2 and one line, as for any other bad value; `own` wrote the module."""
    task = ("task=jsonl", "task.path=q.jsonl", "task/template=plain", "tracking=none")
    done = here(*words.split(), *task, "grading.wall_seconds=1")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
