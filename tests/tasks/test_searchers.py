"""The dish: who writes its traces, and whose a response is said to be."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.prompts import Prompt
from harness.tasks.countdown_search import CountdownSearch
from harness.tasks.courses import course
from harness.tasks.searchers import MARKS, Searchers, SearcherWriter, Space, slipped, unmarked
from harness.tasks.strategies import Response, mixture, strategies
from harness.tasks.templates import FewShot

SKILLED = Searchers(
    toward_share=0.25,
    away_share=0.15,
    patient_share=0.7,
    patient_stop=0.05,
    impatient_stop=0.5,
)
N = 1000


@pytest.fixture(scope="module")
def task() -> CountdownSearch:
    return CountdownSearch(train_size=400, eval_size=64, persona=SKILLED)


def played(task: CountdownSearch, count: int) -> list[tuple[Prompt, str]]:
    by_text = {prompt.text: prompt for prompt in task.pool()}
    return [(by_text[text], response) for text, response in task.traces(5, range(count))]


# --- the searchers ---------------------------------------------------------------------------


def test_an_expression_is_drawn_by_how_its_steps_lead() -> None:
    # Target 5 from 2: up is toward it. At 5 both ways are alike; from 9 down is.
    space = Space([("2+3-4", "2+3=5-4=1", 1), ("2+7-4", "2+7=9-4=5", 5)])
    assert space.values.tolist() == [1, 5]
    assert space.weights(5, 0.9).tolist() == pytest.approx([0.9 * 0.5, 0.9 * 0.9])
    assert space.weights(5, 0.1).tolist() == pytest.approx([0.1 * 0.5, 0.1 * 0.1])
    assert space.weights(5, 0.5).tolist() == pytest.approx([0.25, 0.25])


def test_products_lead_up_and_quotients_down() -> None:
    space = Space([("6*2", "6*2=12", 12), ("6/2", "6/2=3", 3)])
    assert space.weights(10, 0.8).tolist() == pytest.approx([0.8, 0.2])


def test_traces_say_how_they_propose_try_no_result_twice_and_stop_at_the_hit(
    task: CountdownSearch,
) -> None:
    for prompt, response in played(task, 200):
        made = course(response, prompt.answer.numbers)
        values = [attempt.value for attempt in made]
        assert response[0] in MARKS.values()
        assert all(attempt.whole for attempt in made)
        assert None not in values
        assert len(set(values)) == len(values) <= SKILLED.max_attempts
        assert [attempt.goes_on for attempt in made] == [True] * (len(made) - 1) + [False]


def test_traces_are_repeatable_item_by_item(task: CountdownSearch) -> None:
    assert task.traces(5, range(20))[7:9] == task.traces(5, range(7, 9))
    assert task.traces(6, range(20)) != task.traces(5, range(20))


def test_what_it_says_is_what_it_does(task: CountdownSearch) -> None:
    """Of each sign's traces, how often they solve: toward before random before away."""
    solved: dict[str, list[bool]] = {mark: [] for mark in MARKS.values()}
    for prompt, response in played(task, 600):
        solved[response[0]].append(task.grade(prompt, response, True).correct)
    toward, random, away = (float(np.mean(solved[mark])) for mark in MARKS.values())
    assert toward > random + 0.15
    assert random > away + 0.15


def test_the_best_searcher_is_better_than_the_mixture(task: CountdownSearch) -> None:
    rows = played(task, 300)
    mixed = sum(task.grade(p, response, True).correct for p, response in rows) / 300
    assert task.best_searcher() > mixed + 0.2


def test_what_can_be_tried_is_listed_once_for_all_writers_of_the_same_operators() -> None:
    """A base asks for the same 495 sets hundreds of times, each time through another writer."""
    first, second = SearcherWriter("+-", Searchers()), SearcherWriter("+-", Searchers())
    space = first.space([1, 2, 3, 4])
    assert second.space([4, 3, 2, 1]) is space
    assert len(space.expressions) == 24 * 8
    others = SearcherWriter("+*", Searchers()).space([1, 2, 3, 4])
    assert others is not space
    assert others.expressions != space.expressions


def test_a_writer_reads_as_many_numbers_as_it_says() -> None:
    # 4! orders of 2^3 signs; who it is, 8 chances to give up; how it proposes.
    assert SearcherWriter("+-", SKILLED).draws((1, 2, 3, 4)) == 24 * 8 + 1 + 8 + 1


def test_a_slip_by_hand() -> None:
    # 7+8 is 15, written 16; the rest goes on from there.
    assert slipped("7+8=15-3=12", [1, 0]) == ("7+8=16-3=13", 13)
    assert slipped("7+8=15-3=12", [0, -1]) == ("7+8=15-3=11", 11)
    assert slipped("7+8=15-3=12", [0, 0]) == ("7+8=15-3=12", 12)
    # 5*3 is 15, written 16, of which there is no fifth.
    assert slipped("5*3=15/5=3", [1, 0]) is None
    # A fifth of all, and of these a quarter each.
    off = [Searchers(slip=0.2).slips(u) for u in (0.0, 0.04, 0.06, 0.11, 0.16, 0.2, 0.9)]
    assert off == [1, 1, -1, 2, -2, 0, 0]


@pytest.mark.parametrize("operators", ["+-", "+-*/"])
def test_slips_are_planted_and_read_back(task: CountdownSearch, operators: str) -> None:
    """Who slips believes what it wrote: it passes hits over, and takes misses for one."""
    slipping = dataclasses.replace(SKILLED, slip=0.1)
    careless = dataclasses.replace(task, persona=slipping, operators=operators)
    rows = played(careless, N)
    found = careless.strategies([p for p, _ in rows], [response for _, response in rows]).shares
    # With divisions some attempts could not be worked out after a slip, and then have none.
    assert found["slips"] == pytest.approx(0.1, abs=0.01 if operators == "+-" else 0.03)
    planted = {"toward": 0.25, "random": 0.6, "away": 0.15, "patient": 0.7}
    assert {name: found[name] for name in planted} == pytest.approx(planted, abs=0.05)
    taken = [r for p, r in rows if course(r, p.answer.numbers)[-1].declared]
    solved = [r for p, r in rows if careless.grade(p, r, True).correct]
    assert len(set(taken) - set(solved)) > 5
    assert len(solved) < sum(careless.grade(p, r, True).correct for p, r in played(task, N)) - 50
    assert task.strategies([p for p, _ in rows], [""] * N).shares["slips"] == 0.0


@pytest.mark.parametrize("counts", [[4], [3, 4]])
def test_a_slip_is_the_items_own(task: CountdownSearch, counts: list[int]) -> None:
    """Whatever is written beside it: sets of unlike numbers have unlike many expressions."""
    slipping = dataclasses.replace(SKILLED, slip=0.3)
    careless = dataclasses.replace(task, persona=slipping, counts=counts, operators="+-*/")
    together = careless.traces(5, range(60))
    assert together[:20] == [careless.traces(5, range(i, i + 1))[0] for i in range(20)]


def test_without_slips_no_number_is_drawn_for_them(task: CountdownSearch) -> None:
    numbers = (1, 2, 3, 4)
    plain, slipping = SearcherWriter("+-", SKILLED), SearcherWriter("+-", Searchers(slip=0.1))
    assert slipping.draws(numbers) - SearcherWriter("+-", Searchers()).draws(numbers) == 8 * 3
    uniforms = np.linspace(0.01, 0.99, plain.draws(numbers)).tolist()
    assert "=" in plain.write(numbers, 10, uniforms)[0]


def test_the_sign_is_no_part_of_the_search(task: CountdownSearch) -> None:
    assert unmarked(">7-8=-1+3=2!A7-8+3") == "7-8=-1+3=2!A7-8+3"
    assert unmarked("7-8=-1+3=2!A7-8+3") == "7-8=-1+3=2!A7-8+3"
    assert course("~7-8=-1+3=2!A7-8+3", (3, 7, 8)) == course("7-8=-1+3=2!A7-8+3", (3, 7, 8))
    prompt, response = next((p, r) for p, r in played(task, 100) if task.grade(p, r, True).correct)
    read = task.behaviour(prompt, response)
    assert read is not None
    assert (read.hits, read.checked) == (1, 1)
    assert read.attempts == len(course(response, prompt.answer.numbers))


# --- whose they are --------------------------------------------------------------------------


def test_planted_shares_are_read_back(task: CountdownSearch) -> None:
    rows = played(task, N)
    silent = [(p, unmarked(response)) for p, response in rows]  # by what they do alone
    found = task.strategies([p for p, _ in silent], [response for _, response in silent])
    planted = {"toward": 0.25, "random": 0.6, "away": 0.15, "patient": 0.7}
    assert found.shares == pytest.approx(planted | {"slips": 0.0}, abs=0.05)
    assert len(found.proposals) == N


@pytest.mark.parametrize("way", MARKS)
def test_one_way_alone_is_told_from_the_others(task: CountdownSearch, way: str) -> None:
    shares = {"toward_share": float(way == "toward"), "away_share": float(way == "away")}
    persona = dataclasses.replace(SKILLED, **shares)
    rows = played(dataclasses.replace(task, persona=persona), 300)
    found = task.strategies([p for p, _ in rows], [response for _, response in rows])
    assert found.shares[way] > 0.9
    assert Counter(found.proposals)[way] > 260


def test_what_it_does_outweighs_what_it_says(task: CountdownSearch) -> None:
    """Who steers away and says that it steers toward is seen through."""
    persona = dataclasses.replace(SKILLED, toward_share=0.0, away_share=1.0, patient_share=1.0)
    rows = played(dataclasses.replace(task, persona=persona), 200)
    liars = [(p, MARKS["toward"] + unmarked(response)) for p, response in rows]
    found = task.strategies([p for p, _ in liars], [response for _, response in liars])
    assert Counter(found.proposals)["toward"] < 20


def test_mixture_shares_by_hand() -> None:
    # Three of four responses can only be the first kind's, one only the second's.
    shares, posterior = mixture(_logs([1, 1, 1, 0]))
    assert shares.tolist() == pytest.approx([0.75, 0.25])
    assert posterior.argmax(axis=1).tolist() == [0, 0, 0, 1]


def _logs(first: list[int]) -> NDArray[np.float64]:
    return np.array([[0.0, -50.0] if one else [-50.0, 0.0] for one in first])


def test_a_response_that_shows_nothing_leaves_the_shares_alone(task: CountdownSearch) -> None:
    rows = played(task, 300)
    read = [
        Response(r[0], course(r, p.answer.numbers), p.answer.numbers, p.answer.target)
        for p, r in rows
    ]
    silent = [Response("", (), p.answer.numbers, p.answer.target) for p, _ in rows]
    one = strategies(read, task.writer()).shares
    assert strategies(read + silent, task.writer()).shares == pytest.approx(one, abs=1e-3)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"toward_share": 0.7, "away_share": 0.4}, "toward_share and away_share are shares of one"),
        ({"steering": 0.5}, "task.persona.steering must be above 0.5"),
        ({"steering": 1.0}, "task.persona.steering must be above 0.5"),
        ({"patient_share": -0.1}, "task.persona.patient_share"),
        ({"slip": 1.5}, "task.persona.slip"),
    ],
)
def test_searchers_that_cannot_be_are_refused(bad: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Searchers(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [{"counts": [5]}, {"source": "x.parquet"}, {"template": FewShot()}])
def test_what_the_dish_is_not_made_for_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=re.escape("task=countdown")):
        CountdownSearch(**bad)  # type: ignore[arg-type]
