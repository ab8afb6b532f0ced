"""Evaluation: aggregates of hand-made rollouts, pass@k by enumeration, the order of prompts."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import Grading
from harness.curricula.order import next_prompts
from harness.distributed.sharding import Layout
from harness.learner.policy import Policy
from harness.machine import progress
from harness.machine.progress import Wait
from harness.measure.evaluation import (
    AT_AN_END,
    Evaluator,
    _by_kind,
    _lengths,
    _table,
    kinds,
    pass_at_k,
)
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.rollout.grading import Grader
from harness.rollout.transformers import Transformers, TransformersEngine
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.types import Grade, Prompt, Rollout, Sampling

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def made_rollout(texts: list[str], finished: list[bool]) -> Rollout:
    """One token per character and an end token; all ask for 12 from 7, 8 and 3."""
    answer = CountdownAnswer((7, 8, 3), 12)
    prompts = tuple(
        Prompt(text="Q7 8 3=12?", item=10 + i, problem="3 7 8=12", difficulty=3, answer=answer)
        for i in range(len(texts))
    )
    lengths = [len(text) + done for text, done in zip(texts, finished, strict=True)]
    mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Rollout(
        prompts=prompts,
        prompt_ids=((1,),) * len(texts),
        group_B=torch.arange(len(texts)),
        tokens_BT=mask_BT.long(),
        mask_BT=mask_BT,
        logprobs_BT=torch.zeros(mask_BT.shape),
        finished_B=torch.tensor(finished),
        texts=tuple(texts),
    )


def graded(task: Any, rollout: Rollout) -> tuple[Grade, ...]:
    return Grader(task=task, limits=Grading(), folder=Path())(rollout)


HAND_MADE = made_rollout(
    [
        "7+8=15-3=12!A7+8-3",  # right; 1 attempt, 1 hit
        "7-8=-1+3=2;7+8=15+3=18;A7+8+3",  # wrong; 2 attempts, 2 misses, gives up
        "7+8=14-3=11;7+8=15-3=12!A7+8-3",  # right; the first attempt is computed wrongly
        "7-8=-1+",  # cut in its first attempt
        "A7+8-3",  # right, without an attempt
    ],
    [True, True, True, False, True],
)


def test_pass_at_k_by_enumeration() -> None:
    for n in range(1, 7):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            chosen = list(itertools.combinations([i < c for i in range(n)], k))
            expected = sum(any(one) for one in chosen) / len(chosen)
            assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-12), (n, c, k)


def test_grades_see_text_prompt_and_end() -> None:
    grades = graded(Countdown(), HAND_MADE)
    assert [g.correct for g in grades] == [True, False, True, False, True]
    assert [g.formatted for g in grades] == [True, True, True, False, True]
    cut = made_rollout(list(HAND_MADE.texts), [False] * 5)
    assert not any(g.formatted for g in graded(Countdown(), cut))


def test_accuracy_by_difficulty_and_part() -> None:
    prompts = [
        dataclasses.replace(HAND_MADE.prompts[0], difficulty=difficulty, part=part)
        for difficulty, part in ((3, "a"), (4, "b"), (4, "a"), (3, "b"), (3, "b"))
    ]
    correct_B = torch.tensor([True, False, True, True, False])
    # difficulty 3: rows 0 3 4, two right; 4: rows 1 2, one; part a: rows 0 2; b: rows 1 3 4
    assert _by_kind(prompts, correct_B) == {
        "eval/accuracy/difficulty_3": pytest.approx(2 / 3),
        "eval/accuracy/difficulty_4": 0.5,
        "eval/accuracy/part_a": 1.0,
        "eval/accuracy/part_b": pytest.approx(1 / 3),
    }
    assert set(kinds(prompts)) == set(_by_kind(prompts, correct_B))
    assert kinds(HAND_MADE.prompts) == {}  # one difficulty, no mixture: nothing to compare


def test_lengths_by_class() -> None:
    lengths_B, right_B = torch.tensor([4.0, 7.0, 9.0]), torch.tensor([True, False, True])
    assert _lengths(lengths_B, right_B) == {
        "eval/response_length/mean": pytest.approx(20 / 3),
        "eval/response_length/right": 6.5,
        "eval/response_length/wrong": 7.0,
    }
    none_right = _lengths(lengths_B, torch.zeros(3, dtype=torch.bool))
    assert "eval/response_length/right" not in none_right
    assert none_right["eval/response_length/wrong"] == pytest.approx(20 / 3)


def test_table_has_one_row_per_response() -> None:
    table = _table(HAND_MADE, graded(Countdown(), HAND_MADE))
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    assert len(rows) == 5
    assert rows[3] == {
        "item": 13,
        "problem": "3 7 8=12",
        "difficulty": 3,
        "part": "",
        "prompt": "Q7 8 3=12?",
        "response": "7-8=-1+",
        "correct": False,
        "formatted": False,
        "error": "",
        "length": 7,
        "truncated": True,
    }
    assert rows[0]["length"] == 19  # 18 characters and the end token


# --- the evaluator on the real engine -------------------------------------------------------------


class Alternating:
    """Countdown whose grades do not need a model that can solve anything."""

    early_stop = ("=", "1")

    def __init__(self, task: Countdown) -> None:
        self.task = task

    def __getattr__(self, name: str) -> Any:
        if name == "__setstate__":  # asked of one that has no task yet, when it is unpickled
            raise AttributeError(name)
        return getattr(self.task, name)

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Any:
        answer = f"A{'+'.join(map(str, prompt.answer.numbers))}"
        total = sum(prompt.answer.numbers)
        answered = CountdownAnswer(prompt.answer.numbers, total if len(response) % 3 else -1)
        asked = Prompt(text="", item=0, problem="", difficulty=3, answer=answered)
        return self.task.grade(asked, answer, finished)


@pytest.fixture(scope="module")
def evaluator(source: Source, engine: TransformersEngine, task: Countdown) -> Evaluator:
    other = source.model()
    with torch.no_grad():
        other.model.norm.weight.mul_(1.2)
    task_: Any = Alternating(task)
    return Evaluator(
        engine=engine,
        rollout=Transformers(max_new_tokens=20),
        task=task_,
        grader=Grader(task=task_, limits=Grading(), folder=Path()),
        policy=Policy(source.model(), 1.0, Layout(2_000)),
        reference=Policy(other, 1.0, Layout(2_000)),
        temperature=0.8,
        pass_k=3,
        seed=21,
    )


def test_sampled_metrics_follow_from_the_table(evaluator: Evaluator, task: Countdown) -> None:
    metrics, table = evaluator.sampled(2)
    assert table["item"] == list(range(64))
    assert table["prompt"] == [p.text for p in task.held_out()]
    right = [length for length, c in zip(table["length"], table["correct"], strict=True) if c]
    wrong = [length for length, c in zip(table["length"], table["correct"], strict=True) if not c]
    assert right
    assert wrong
    assert metrics["eval/accuracy"] == pytest.approx(len(right) / 64)
    assert metrics["eval/truncated"] == pytest.approx(sum(table["truncated"]) / 64)
    assert metrics["eval/response_length/mean"] == pytest.approx(sum(table["length"]) / 64)
    assert metrics["eval/response_length/right"] == pytest.approx(sum(right) / len(right))
    assert metrics["eval/response_length/wrong"] == pytest.approx(sum(wrong) / len(wrong))


def test_distance_and_entropy_are_token_means(evaluator: Evaluator, task: Countdown) -> None:
    metrics, table = evaluator.sampled(2)
    requests = [Request(prompt=p, items=(p.item,)) for p in task.held_out()]
    sampling = Sampling(max_new_tokens=20, temperature=0.8)
    rollout = evaluator.engine.generate(requests, sampling, Stream(seed=21, name="eval", step=2))
    assert table["response"] == list(rollout.texts)
    logprobs_BT, entropy_BT = evaluator.policy.score(rollout)
    ref_BT, _ = evaluator.reference.score(rollout)
    log_q = (ref_BT - logprobs_BT)[rollout.mask_BT].double()
    k3 = log_q.exp() - log_q - 1
    assert metrics["eval/kl"] == pytest.approx(k3.mean().item(), rel=1e-4)
    assert metrics["eval/kl"] > 1e-3
    entropy = entropy_BT[rollout.mask_BT].double().mean().item()
    assert metrics["eval/entropy"] == pytest.approx(entropy, rel=1e-5)


def test_what_is_measured_at_an_end(evaluator: Evaluator, task: Countdown) -> None:
    metrics, table = evaluator.measured(5, at_an_end=True)
    held_out = task.held_out()

    def right(name: str, samples: int, sampling: Sampling) -> list[bool]:
        requests = [
            Request(prompt=p, items=tuple(p.item * samples + i for i in range(samples)))
            for p in held_out
        ]
        stream = Stream(seed=21, name=name, step=5)
        made = evaluator.engine.generate(requests, sampling, stream)
        return [g.correct for g in graded(evaluator.task, made)]

    plain = Sampling(max_new_tokens=20, temperature=0.8)
    greedy = right("eval/greedy", 1, Sampling(max_new_tokens=20, temperature=0.0))
    many = right("eval/pass", 3, plain)
    patient = right(
        "eval/no_early_stop",
        1,
        Sampling(max_new_tokens=20, temperature=0.8, forbidden_after=(("=", "1"),)),
    )
    solved = [any(many[i : i + 3]) for i in range(0, len(many), 3)]
    assert {key: metrics[key] for key in AT_AN_END} == {
        "eval/greedy_accuracy": pytest.approx(sum(greedy) / 64),
        "eval/pass_at_k": pytest.approx(sum(solved) / 64),
        "eval/avg_at_k": pytest.approx(sum(many) / 192),
        "eval/accuracy_no_early_stop": pytest.approx(sum(patient) / 64),
    }
    assert sum(many) / len(many) < metrics["eval/pass_at_k"] < 1
    assert {key: table[key] for key in ("samples", "samples_right")} == {
        "samples": [3] * 64,
        "samples_right": [sum(many[i : i + 3]) for i in range(0, len(many), 3)],
    }


# --- the order of training prompts ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_an_end", "words", "keys", "total"),
    [
        # each response is sampled, and one per prompt is read by policy and reference: 64 x (1 + 2)
        (False, "64 prompts x 1 response", "task.eval_size, rollout.max_new_tokens", 192),
        # one sampled, one greedy, three of pass@3, one that may not stop early: 64 x (6 + 2)
        (
            True,
            "64 prompts x 6 responses",
            "task.eval_size, evaluation.pass_k, rollout.max_new_tokens",
            512,
        ),
    ],
)
def test_an_evaluation_is_one_wait_that_is_over_at_its_end(
    evaluator: Evaluator,
    monkeypatch: pytest.MonkeyPatch,
    at_an_end: bool,
    words: str,
    keys: str,
    total: float,
) -> None:
    seen: list[Wait] = []
    monkeypatch.setattr(progress, "BAR_S", 0.0)
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    monkeypatch.setattr(progress, "_look", lambda wait, now: seen.append(wait))
    metrics, table = evaluator.measured(2, at_an_end)
    assert (seen[0].words, seen[0].keys) == (f"evaluating {words}", keys)
    assert seen[0].total == total
    assert seen[0].done == pytest.approx(total)
    assert ("eval/pass_at_k" in metrics) is at_an_end
    assert ("samples_right" in table) is at_an_end


def test_each_pass_shows_every_prompt_once(task: Countdown) -> None:
    pool = task.pool()
    passes = [next_prompts(pool, 3, start, 64) for start in (0, 64, 128)]
    for one in passes:
        assert sorted(p.item for p in one) == list(range(64))
    assert len({tuple(p.item for p in one) for one in passes}) == 3


@SETTINGS
@given(st.lists(st.integers(1, 150), min_size=1, max_size=5), st.integers(0, 2**63 - 1))
def test_consecutive_calls_tile_one_sequence(task: Countdown, counts: list[int], seed: int) -> None:
    pool, cursor, shown = task.pool()[:40], 0, []
    for count in counts:
        shown += next_prompts(pool, seed, cursor, count)
        cursor += count
    assert shown == next_prompts(pool, seed, 0, cursor)
    assert len(shown) == sum(counts)


def test_order_depends_on_the_seed(task: Countdown) -> None:
    orders = {
        tuple(p.item for p in next_prompts(task.pool(), seed, 0, 64)) for seed in (0, 1, 2**32)
    }
    assert len(orders) == 3
