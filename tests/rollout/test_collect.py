"""What a step samples: plans carried out by the real engine, on a hardly trained base."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config import Grading
from harness.distributed.sharding import Layout
from harness.learner.policy import Policy
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rollout.collect import Collector
from harness.rollout.collected import Collected
from harness.rollout.engine import Request, Stream
from harness.rollout.grading import Grader
from harness.rollout.metrics import Clock
from harness.rollout.reference import MOST_SAMPLES, ReferenceScores, Samples, _row
from harness.rollout.transformers import Transformers, TransformersEngine
from harness.tasks.countdown import Countdown
from harness.types import Graded, Prompt, Rollout, RolloutPlan, Sampling, Scores

SEED, WINDOW, STEP = 5, 24, 2
SETTINGS = Transformers(max_new_tokens=WINDOW)
STREAM = Stream(seed=SEED, name="rollout", step=STEP)
SAMPLED = Sampling(max_new_tokens=WINDOW)


class Length:
    """Rewards the length: every response has a score of its own."""

    def score(self, graded: Graded) -> Scores:
        return Scores(rewards=graded.rollout.lengths_B.double() / 100)


@pytest.fixture
def base(source: Source) -> Policy:
    return Policy(source.model(), 1.0, Layout(500))


@pytest.fixture
def policy(source: Source) -> Policy:
    """Another model than the base."""
    model = source.model()
    with torch.no_grad():
        model.model.norm.weight.mul_(0.8)
    return Policy(model, 1.0, Layout(500))


@pytest.fixture
def collector(
    source: Source, tokens: Tokens, task: Countdown, base: Policy, policy: Policy, tmp_path: Path
) -> Collector:
    engine = TransformersEngine(source.model(), tokens, 16, max_rows=512)
    engine.load_weights(policy.weights())
    return collector_of(engine, task, base, policy, tmp_path)


def collector_of(
    engine: TransformersEngine, task: Countdown, base: Policy, policy: Policy, folder: Path
) -> Collector:
    grader = Grader(task=task, limits=Grading(), folder=folder)
    reference = ReferenceScores(
        engine=engine,
        rollout=SETTINGS,
        grader=grader,
        reward=Length(),
        to_base=lambda: engine.load_weights(base.weights()),
        to_policy=lambda: engine.load_weights(policy.weights()),
        folder=folder,
        identity="any",
    )
    return Collector(
        engine=engine,
        rollout=SETTINGS,
        grader=grader,
        reward=Length(),
        reference=reference,
        seed=SEED,
    )


def drawing(task: Countdown) -> Any:
    """Prompts in the order of the pool, as a curriculum would give them."""
    cursor = count()
    return lambda n: [task.pool()[next(cursor)] for _ in range(n)]


def collected(collector: Collector, task: Countdown, plan: RolloutPlan, groups: int) -> Collected:
    return collector(drawing(task), groups, plan, WINDOW, STEP, Clock())


def requests(prompts: Sequence[Prompt], size: int) -> list[Request]:
    return [
        Request(prompt=prompt, items=tuple(range(size * i, size * (i + 1))))
        for i, prompt in enumerate(prompts)
    ]


def test_a_group_per_prompt(collector: Collector, task: Countdown) -> None:
    made = collected(collector, task, RolloutPlan(group_size=3), 4)
    by_hand = collector.engine.generate(requests(task.pool()[:4], 3), SAMPLED, STREAM)
    assert made.rollout.texts == by_hand.texts
    assert made.rollout.group_B.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert made.tokens == int(by_hand.mask_BT.sum())
    assert made.prompts == 4
    assert torch.equal(made.scores.rewards, by_hand.lengths_B.double() / 100)
    assert dict(made.columns) == {}


def test_a_greedy_response_more_per_prompt(collector: Collector, task: Countdown) -> None:
    made = collected(collector, task, RolloutPlan(group_size=2, greedy=True), 3)
    greedy = collector.engine.generate(
        requests(task.pool()[:3], 1), replace(SAMPLED, temperature=0.0), STREAM
    )
    expected = (greedy.lengths_B.double() / 100).repeat_interleave(2)
    assert torch.equal(made.columns["greedy_scores_B"], expected)
    plain = collected(collector, task, RolloutPlan(group_size=2), 3)
    assert made.rollout.texts == plain.rollout.texts
    assert made.tokens == plain.tokens + int(greedy.mask_BT.sum())


def test_scores_of_the_base_are_the_bases(
    collector: Collector, task: Countdown, source: Source, tokens: Tokens, policy: Policy
) -> None:
    plan = RolloutPlan(group_size=2, reference_samples=3)
    made = collected(collector, task, plan, 4)
    engine = TransformersEngine(source.model(), tokens, 16, max_rows=512)
    asked = [
        Request(prompt=p, items=tuple(p.item * MOST_SAMPLES + j for j in range(3)))
        for p in task.pool()[:4]
    ]
    by_hand = engine.generate(asked, SAMPLED, Stream(seed=SEED, name="reference", step=0))
    scores_PN = by_hand.lengths_B.double().reshape(4, 3) / 100
    assert torch.equal(made.columns["reference_scores_BN"], scores_PN[[0, 0, 1, 1, 2, 2, 3, 3]])
    assert made.metrics["reference/hit_rate"] == 0.0
    # The engine has the policy's weights again.
    plain = collected(collector, task, RolloutPlan(group_size=2), 4)
    assert made.rollout.texts == plain.rollout.texts
    assert made.tokens == plain.tokens + int(by_hand.mask_BT.sum())


def test_scores_of_the_base_are_drawn_once_and_charged_to_everyone(
    collector: Collector, task: Countdown, base: Policy, policy: Policy
) -> None:
    plan = RolloutPlan(group_size=2, reference_samples=3)
    first = collected(collector, task, plan, 4)
    again = collected(collector, task, plan, 4)
    assert torch.equal(again.columns["reference_scores_BN"], first.columns["reference_scores_BN"])
    assert again.metrics["reference/charged_tokens"] == 0.0  # this trial has paid
    folder = collector.reference.folder
    assert len(list(folder.glob("any_s5.jsonl"))) == 1
    engine: Any = collector.engine
    other = collected(collector_of(engine, task, base, policy, folder), task, plan, 5)
    assert other.metrics["reference/hit_rate"] == 0.8
    assert torch.equal(
        other.columns["reference_scores_BN"][:8], first.columns["reference_scores_BN"]
    )
    fifth = other.metrics["reference/sampled_tokens"]
    paid = first.metrics["reference/charged_tokens"]
    assert other.metrics["reference/charged_tokens"] == paid + fifth


def test_fewer_samples_are_the_first_of_more_and_a_torn_line_is_drawn_again(
    collector: Collector, task: Countdown, base: Policy, policy: Policy
) -> None:
    more = collected(collector, task, RolloutPlan(group_size=2, reference_samples=4), 2)
    fewer = collected(collector, task, RolloutPlan(group_size=2, reference_samples=2), 2)
    four, two = more.columns["reference_scores_BN"], fewer.columns["reference_scores_BN"]
    assert torch.equal(two, four[:, :2])
    file = next(collector.reference.folder.glob("*.jsonl"))
    file.write_text(file.read_text()[:-5])  # killed in the middle of a line
    engine: Any = collector.engine
    resumed = collector_of(engine, task, base, policy, collector.reference.folder)
    resumed.reference.load_state_dict(collector.reference.state_dict())
    made = collected(resumed, task, RolloutPlan(group_size=2, reference_samples=4), 2)
    assert torch.equal(made.columns["reference_scores_BN"], four)
    assert made.metrics["reference/hit_rate"] == 0.5
    assert made.metrics["reference/charged_tokens"] == 0.0


def test_another_seed_has_other_responses_and_a_shared_one_the_same(
    collector: Collector, task: Countdown
) -> None:
    own = collected(collector, task, RolloutPlan(group_size=2, reference_samples=4), 6)
    collector.reference.known.clear()
    shared = collected(
        collector, task, RolloutPlan(group_size=2, reference_samples=4, reference_seed=0), 6
    )
    a, b = own.columns["reference_scores_BN"], shared.columns["reference_scores_BN"]
    assert not torch.equal(a, b)
    names = sorted(path.name for path in collector.reference.folder.glob("*.jsonl"))
    assert names == ["any_s0.jsonl", "any_s5.jsonl"]


def from_item(first: int, made: Collected) -> Tensor:
    return torch.tensor([prompt.item >= first for prompt in made.rollout.prompts])


def test_rejected_groups_are_replaced_and_charged(collector: Collector, task: Countdown) -> None:
    """Items 0 to 5 are rejected: 4 + 4 + 4 prompts give 6 groups, of which 4 are wanted."""
    plan = RolloutPlan(group_size=2, accept=partial(from_item, 6), max_batches=5)
    made = collected(collector, task, plan, 4)
    assert [p.item for p in made.rollout.prompts] == [6, 6, 7, 7, 8, 8, 9, 9]
    assert len(made.rollout.group_B.unique()) == 4
    assert made.metrics["rollout/batches"] == 3.0
    assert made.metrics["rollout/accepted"] == 0.5
    assert made.prompts == 12
    parts = [
        collector.engine.generate(
            requests(task.pool()[4 * i : 4 * i + 4], 2),
            SAMPLED,
            Stream(seed=SEED, name=f"rollout/{i}" if i else "rollout", step=STEP),
        )
        for i in range(3)
    ]
    assert made.rollout.texts == (*parts[1].texts[4:], *parts[2].texts[:4])
    assert made.tokens == sum(int(part.mask_BT.sum()) for part in parts)
    assert torch.equal(made.scores.rewards, made.rollout.lengths_B.double() / 100)
    assert_whole(made.rollout, collector)


def assert_whole(rollout: Rollout, collector: Collector) -> None:
    """Rows from rollouts of different widths still read as their own texts."""
    (end,) = collector.engine.tokens.ends  # type: ignore[attr-defined]
    for tokens_T, mask_T, text in zip(
        rollout.tokens_BT, rollout.mask_BT, rollout.texts, strict=True
    ):
        ids = [i for i in tokens_T[mask_T].tolist() if i != end]
        assert collector.engine.tokens.tokenizer.decode(ids) == text  # type: ignore[attr-defined]


def test_too_few_accepted_groups_make_a_smaller_step(collector: Collector, task: Countdown) -> None:
    plan = RolloutPlan(group_size=2, accept=partial(from_item, 7), max_batches=2)
    made = collected(collector, task, plan, 4)
    assert [p.item for p in made.rollout.prompts] == [7, 7]
    assert made.metrics["rollout/accepted"] == 1 / 8


def test_without_any_accepted_group_the_last_rollout_is_used(
    collector: Collector, task: Countdown
) -> None:
    plan = RolloutPlan(group_size=2, accept=partial(from_item, 99), max_batches=2)
    made = collected(collector, task, plan, 4)
    assert [p.item for p in made.rollout.prompts] == [4, 4, 5, 5, 6, 6, 7, 7]
    assert made.metrics["rollout/accepted"] == 0.0


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "null", "[]", "3", "{}", "\ufffd\ufffd", "[" * 9999),
        '{"key": "k", "scores": 1, "tokens": [2]}',
        '{"key": "k", "scores": ["x"], "tokens": [2]}',
        '{"key": "k", "scores": [1.0, 0.0], "tokens": [2]}',
    ],
)
def test_a_damaged_line_of_kept_scores_is_drawn_again(line: str) -> None:
    assert _row(line) is None
    assert _row('{"key": "k", "scores": [1.0], "tokens": [2]}') == ("k", Samples((1.0,), (2,)))


class Numbering:
    """Rewards nothing, and notes what random numbers it might have drawn."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int]] = []

    def score(self, graded: Graded) -> Scores:
        rows = range(graded.first, graded.first + len(graded.grades))
        self.rows += [(graded.seed, graded.step, row) for row in rows]
        return Scores(rewards=torch.zeros(len(graded.grades), dtype=torch.float64))


def test_no_two_responses_share_the_random_numbers_of_a_reward(
    collector: Collector, task: Countdown
) -> None:
    """Three rollouts of 4 x 2 sampled and 4 greedy responses, 2 of the base for each prompt.

    Shared, a random reward of one response per prompt is its greedy baseline's: no gradient at all.
    """
    noted = Numbering()
    plan = RolloutPlan(
        group_size=2,
        greedy=True,
        reference_samples=2,
        accept=partial(from_item, 99),
        max_batches=3,
    )
    reference = copy.copy(collector.reference)
    reference.reward = noted
    numbered = replace(collector, reward=noted, reference=reference)
    collected(numbered, task, plan, 4)
    assert len(noted.rows) == 3 * 4 * (2 + 1 + 2)
    assert len(set(noted.rows)) == len(noted.rows)
    steps = [step for _, step, _ in noted.rows]
    assert (steps.count(STEP), steps.count(0)) == (36, 24)
