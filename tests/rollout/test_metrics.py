"""Metrics of a step, computed by hand for a rollout of four responses."""

import dataclasses
import math
import statistics

import pytest
import torch

from harness.rollout.collected import Collected
from harness.rollout.metrics import Clock, mean_of, spread, step_metrics
from harness.schema import METRICS, check_declared
from harness.types import Batch, Grade, Prompt, Rollout, Scores

RIGHT = Grade(correct=True, formatted=True)
WRONG = Grade(correct=False, formatted=True)
# Lengths 2, 3, 1 and 3; the last response is cut. Two groups.
MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]], dtype=torch.bool)
SAMPLER = torch.tensor(
    [[-1.0, -2.0, 9.0], [-1.0, -1.0, -1.0], [-3.0, 9.0, 9.0], [-1.0, -1.0, -1.0]]
)
TRAINER = torch.tensor(
    [[-1.0, -2.5, 0.0], [-1.0, -1.0, -1.25], [-3.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]
)
ADVANTAGES = torch.tensor([[1.0, 1.0, 7.0], [-1.0, -1.0, -1.0], [0.5, 7.0, 7.0], [0.0, 0.0, 0.0]])


def hand_made() -> Rollout:
    prompt = Prompt(text="Q?", item=0, problem="", difficulty=3, answer=None)
    return Rollout(
        prompts=(prompt,) * 4,
        prompt_ids=((1, 2), (1, 2), (1, 2, 3, 4), (1, 2, 3, 4)),
        group_B=torch.tensor([0, 0, 1, 1]),
        tokens_BT=MASK.long(),
        mask_BT=MASK,
        logprobs_BT=SAMPLER,
        finished_B=torch.tensor([True, True, True, False]),
        texts=("a", "bb", "", "ccc"),
    )


def batch_with(scores: list[float]) -> Batch:
    """Each reward stands on the last token of its response."""
    rewards_BT = torch.zeros(4, 3, dtype=torch.float64)
    for i, (score, last) in enumerate(zip(scores, (1, 2, 0, 2), strict=True)):
        rewards_BT[i, last] = score
    return Batch(
        group_B=torch.tensor([0, 0, 1, 1]),
        mask_BT=MASK,
        rewards_BT=rewards_BT,
        budget=8,
        columns={"old_logprobs_BT": TRAINER},
    )


def metrics_of(scores: list[float]) -> dict[str, float]:
    parts = {"format": torch.tensor([1.0, 1.0, 0.0, 0.0])}
    rewards = Scores(rewards=torch.tensor(scores, dtype=torch.float64), parts=parts)
    grades = (RIGHT, WRONG, WRONG, WRONG)
    made = sampled(hand_made(), grades, rewards)
    return step_metrics(made, batch_with(scores), ADVANTAGES, 6, (TRAINER, MASK))


def sampled(rollout: Rollout, grades: tuple[Grade, ...], scores: Scores) -> Collected:
    return Collected(
        rollout=rollout, grades=grades, scores=scores, columns={}, tokens=9, prompts=2, metrics={}
    )


def test_step_metrics_by_hand() -> None:
    assert metrics_of([1.0, 0.0, 0.5, 0.5]) == pytest.approx(
        {
            "critic/score/mean": 0.5,  # (1 + 0 + 0.5 + 0.5) / 4
            "critic/score/max": 1.0,
            "critic/score/min": 0.0,
            "critic/rewards/mean": 0.5,
            "critic/rewards/max": 1.0,
            "critic/rewards/min": 0.0,
            "critic/advantages/mean": -0.5 / 9,  # (2 * 1 - 3 * 1 + 0.5 + 3 * 0) / 9 tokens
            "critic/advantages/max": 1.0,
            "critic/advantages/min": -1.0,
            "response_length/mean": 2.25,  # (2 + 3 + 1 + 3) / 4
            "response_length/max": 3,
            "response_length/min": 1,
            "prompt_length/mean": 3.0,  # (2 + 2 + 4 + 4) / 4
            "prompt_length/max": 4,
            "prompt_length/min": 2,
            "response_length/clip_ratio": 0.25,
            "response_length/empty": 0.25,  # the third
            "reward/accuracy": 0.25,
            "reward/error_rate": 0.0,
            "reward/no_signal_groups": 0.5,  # the second group's rewards are equal
            "reward/part/format": 0.5,
            "window/current": 6.0,
            "rollout/mismatch/mean": 0.75 / 9,  # |-2 + 2.5| + |-1 + 1.25| over 9 tokens
            "rollout/mismatch/max": 0.5,
            # mean of w - 1 - d with d = -1/2 and -1/4, 0 for the other seven
            "rollout/mismatch/k3": (math.exp(-0.5) + math.exp(-0.25) - 1.25) / 9,
            "rollout/mismatch/ess": (7 + math.exp(-0.5) + math.exp(-0.25)) ** 2
            / (9 * (7 + math.exp(-1.0) + math.exp(-0.5))),
            "rollout/mismatch/correlation": statistics.correlation(
                SAMPLER[MASK].double().exp().tolist(), TRAINER[MASK].double().exp().tolist()
            ),
            "perf/total_num_tokens": 21.0,  # 12 of prompts, 9 of responses
        },
        rel=1e-9,
    )


@pytest.mark.parametrize(
    ("scores", "share"),
    [
        ([1.0, 0.0, 1.0, 0.0], 0.0),
        ([1.0, 1.0, 1.0, 0.0], 0.5),
        ([0.1, 0.1, 0.7, 0.7], 1.0),  # whatever the rounding of their mean
    ],
)
def test_groups_without_signal(scores: list[float], share: float) -> None:
    assert metrics_of(scores)["reward/no_signal_groups"] == share


def test_every_step_metric_is_declared() -> None:
    made = metrics_of([1.0, 0.0, 0.5, 0.5])
    check_declared([key for key in made if not key.startswith("reward/part/")], METRICS)


def test_values_under_the_mask_are_no_part_of_a_metric() -> None:
    rollout = hand_made()
    junk = dataclasses.replace(
        rollout, logprobs_BT=torch.where(MASK, rollout.logprobs_BT, float("nan"))
    )
    scores = [1.0, 0.0, 0.5, 0.5]
    made = step_metrics(
        sampled(junk, (RIGHT, WRONG, WRONG, WRONG), Scores(rewards=torch.tensor(scores))),
        batch_with(scores),
        torch.where(MASK, ADVANTAGES, float("nan")),
        window=6,
        trainer=(TRAINER, MASK),
    )
    expected = metrics_of(scores)
    del expected["reward/part/format"]
    assert made == expected


def test_spread_of_integers_is_exact() -> None:
    # As float32, 2^24 and 2^24 + 1 would be equal.
    assert spread("x", torch.tensor([2**24, 2**24 + 1])) == {
        "x/mean": 2**24 + 0.5,
        "x/max": 2**24 + 1,
        "x/min": 2**24,
    }


def test_updates_are_averaged_but_for_the_last_rate() -> None:
    updates = [
        {"actor/pg_loss": 1.0, "actor/lr": 1e-4},
        {"actor/pg_loss": 2.0, "actor/lr": 2e-4},
        {"actor/pg_loss": 6.0, "actor/lr": 3e-4},
    ]
    assert mean_of(updates) == {"actor/pg_loss": 3.0, "actor/lr": 3e-4}
    assert updates[2]["actor/pg_loss"] == 6.0  # what was given stays as it was


def test_clock_names_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([11.0, 13.5, 14.0, 14.25, 20.0])
    monkeypatch.setattr("harness.rollout.metrics.time.perf_counter", lambda: next(ticks))
    clock = Clock(started=10.0)
    with clock("gen"):
        pass
    with clock("adv"):
        pass
    # 13.5 - 11, 14.25 - 14 and 20 - 10.
    assert clock.stages == {"timing_s/gen": 2.5, "timing_s/adv": 0.25}
    assert clock.elapsed() == 10.0
