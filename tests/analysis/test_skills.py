"""The gain's four parts: what is planted in one of them is found there, and nowhere else."""

import dataclasses
from functools import cache

import pytest
import searching
from searching import TASK, Searchers

from analysis import skills
from analysis.skills import (
    ARITHMETIC,
    FORMAT,
    PARTS,
    PATIENCE,
    PROPOSALS,
    Read,
    gain,
    searches,
)
from harness.tasks.courses import Try, course

BASE = Searchers()
N = 2000


@cache
def played(who: Searchers, broken: int = 0, seed: int = 1) -> tuple[Read, ...]:
    """What a policy that plays these searchers exactly would be read as.

    Args:
        broken: of every ten responses, so many lose their answer.
    """
    found = []
    for i, (prompt, response) in enumerate(searching.played(who, N, seed)):
        right = TASK.grade(prompt, response, True).correct and i % 10 >= broken
        made = course(response, prompt.answer.numbers)
        found.append(Read(made, prompt.answer.target, right, prompt.difficulty))
    return tuple(found)


def accuracy(reads: tuple[Read, ...]) -> float:
    return sum(read.correct for read in reads) / len(reads)


PLANTED = {
    PATIENCE: {"patient": 1.0},
    PROPOSALS: {"near": 1.0, "far": 0.0},
    ARITHMETIC: {"careless": 0.0},
}


@pytest.mark.parametrize("part", PLANTED)
@pytest.mark.parametrize("backwards", [False, True], ids=["gained", "lost"])
def test_a_skill_that_alone_changes_is_the_gain(part: str, backwards: bool) -> None:
    ends = (played(BASE), played(dataclasses.replace(BASE, **PLANTED[part])))
    found = gain(*(ends[::-1] if backwards else ends))
    total = found.after - found.before
    assert abs(total) > 0.03
    for name in PARTS:
        share = found.parts[name] / total
        assert share > 0.8 if name == part else abs(share) < 0.1, (name, share)


def test_answers_that_get_lost_are_format() -> None:
    found = gain(played(BASE, broken=5), played(BASE))
    assert found.parts[FORMAT] / (found.after - found.before) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_parts_add_up_to_the_measured_gain(seed: int) -> None:
    better = Searchers(patient=1.0, near=0.7, far=0.0, careless=0.1, slip=0.1, attempts=8)
    before, after = played(BASE, 2, seed), played(better, 0, seed)
    found = gain(before, after)
    # Rates of the same responses give their accuracy back exactly.
    assert found.before == pytest.approx(accuracy(before), abs=1e-9)
    assert found.after == pytest.approx(accuracy(after), abs=1e-9)
    assert sum(found.parts.values()) == pytest.approx(found.after - found.before, abs=1e-9)
    assert all(share > 0 for share in found.parts.values())


def test_skills_that_need_each_other_interact() -> None:
    # Nobody hits (no proposals reach) and nobody goes on: neither alone brings anything.
    miss, hit = Try(True, 1, 2, 0, False, True), Try(True, 9, 2, 0, True, False)
    before = [Read((miss._replace(goes_on=False),), 9, False, 3)] * 40
    after = [Read((miss, hit), 9, True, 3)] * 40
    found = gain(before, after)
    assert (found.before, found.after) == (0.0, 1.0)
    # Patience alone opens a second attempt, at which the base never was: the other's rates there.
    assert found.alone[PATIENCE] == pytest.approx(1.0)
    assert found.alone[PROPOSALS] == 0.0
    assert found.parts[PATIENCE] == pytest.approx(1.0)


def test_policies_that_are_equal_gain_nothing() -> None:
    found = gain(played(BASE), played(BASE))
    assert found.after == found.before
    # Rare steps are taken from both policies in a counterfactual, which is not quite the same.
    assert all(abs(share) < 0.003 for share in found.parts.values())


def test_responses_without_an_attempt_end_nowhere_else() -> None:
    found = gain([Read((), 9, False, 3)] * 30, [Read((), 9, True, 3)] * 30)
    assert (found.before, found.after) == (0.0, 1.0)
    assert found.parts[FORMAT] == pytest.approx(1.0)


def test_courses_longer_than_are_told_apart_lose_little() -> None:
    miss = Try(True, 1, 2, 0, False, True)
    deep = (*[miss] * (skills.DEEPEST + 5), Try(True, 9, 2, 0, True, False))
    found = gain([Read((miss,), 9, False, 3)] * 30, [Read(deep, 9, True, 3)] * 30)
    assert 0.0 <= found.after <= 1.0


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("harness.tasks.countdown.Countdown", True),
        ("harness.tasks.countdown_search.CountdownSearch", True),
        ("harness.tasks.multiplication.Multiplication", False),
    ],
)
def test_responses_of_these_tasks_are_searches(task: str, expected: bool) -> None:
    compact = {"_target_": "harness.tasks.templates.Compact"}
    assert searches({"task": {"_target_": task, "template": compact}}) is expected
    assert not searches({"task": {"_target_": task, "template": {"_target_": "other"}}})
