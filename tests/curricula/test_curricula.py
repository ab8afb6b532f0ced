"""Curricula: which level a step draws from, and that the answer survives a resume."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.curricula.none import NoCurriculum
from harness.curricula.schedule import Schedule
from harness.curricula.success import Success
from harness.errors import ConfigError
from harness.launch import run_trial
from harness.types import Outcome, Prompt
from tests.conftest import SMALL

POOL = tuple(
    Prompt(text=f"{d}/{i}", item=i, problem=f"{d}/{i}", difficulty=d, answer=None)
    for d in (5, 3, 4)
    for i in range(10)
)


def outcome(right: int, wrong: int) -> Outcome:
    correct_B = torch.tensor([True] * right + [False] * wrong)
    return Outcome(lengths_B=torch.ones(right + wrong), correct_B=correct_B, progress=0.0)


def difficulties(prompts: list[Prompt]) -> set[int]:
    return {prompt.difficulty for prompt in prompts}


@pytest.mark.parametrize(
    ("progress", "difficulty"),
    # 250 steps of the seed: 80 very easy, 100 easy, 40 medium; the pool has no fourth level.
    [(0.0, 3), (79 / 250, 3), (0.32, 4), (179 / 250, 4), (0.72, 5), (0.88, 5), (0.99, 5)],
)
def test_a_schedule_is_a_function_of_progress(progress: float, difficulty: int) -> None:
    curriculum = Schedule()
    assert difficulties(curriculum.prompts(POOL, 0, progress, 8)) == {difficulty}
    assert curriculum.metrics() == {"curriculum/level": float(difficulty - 3)}


def test_each_level_is_seen_in_whole_passes_of_its_own() -> None:
    curriculum = Schedule(boundaries=[0.5])
    first = curriculum.prompts(POOL, 0, 0.0, 7)
    other = curriculum.prompts(POOL, 0, 0.6, 4)
    rest = curriculum.prompts(POOL, 0, 0.0, 3)
    assert len({p.text for p in first + rest}) == 10
    assert difficulties(other) == {4}


def test_success_moves_up_when_a_level_is_mastered_and_starts_its_average_anew() -> None:
    curriculum = Success(threshold=0.7, smoothing=0.5, min_steps=2)
    steps = [
        # rights of 4, then level drawn from and average by hand
        (4, 0, 1.0),  # the first average is the first accuracy; one step is too few
        (2, 0, 0.75),  # 0.5 * 1.0 + 0.5 * 0.5 = 0.75 >= 0.7 after two steps: up
        (1, 1, 0.25),  # anew
        (4, 1, 0.625),  # 0.5 * 0.25 + 0.5 * 1 = 0.625 < 0.7: stays
        (4, 1, 0.8125),  # 0.5 * 0.625 + 0.5 = 0.8125: up
        (4, 2, 1.0),
        (4, 2, 1.0),  # the hardest level is the last
        (4, 2, 1.0),
    ]
    for right, level, rate in steps:
        before = curriculum.level
        assert difficulties(curriculum.prompts(POOL, 0, 0.0, 4)) == {3 + level}
        curriculum.observe(outcome(right, 4 - right))
        shown = curriculum.metrics()
        assert shown["curriculum/level"] == level == before
        moved = curriculum.level > before
        assert shown["curriculum/success_rate"] == (0.0 if moved else rate)


@pytest.mark.parametrize("make", [NoCurriculum, Schedule, Success])
def test_a_resumed_curriculum_draws_what_the_uninterrupted_one_draws(
    make: Callable[[], Any],
) -> None:
    whole, part = make(), make()
    for step in range(9):
        progress = step / 9
        for curriculum in (whole, part):
            drawn = curriculum.prompts(POOL, 7, progress, 6)
            curriculum.observe(outcome(3 + step % 2, 1))
        state = part.state_dict()
        part = make()
        part.load_state_dict(state)
        assert part.prompts(POOL, 7, progress, 6) == whole.prompts(POOL, 7, progress, 6)
        assert drawn


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="one difficulty only"):
        Schedule().prompts(POOL[:10], 0, 0.0, 4)
    with pytest.raises(ConfigError, match="must rise between 0 and 1"):
        Schedule(boundaries=[0.5, 0.4])
    with pytest.raises(ConfigError, match=r"curriculum\.threshold is a share"):
        Success(threshold=1.5)


@pytest.mark.commands
def test_a_trial_follows_its_schedule_also_over_a_crash(
    work: Path, composed: Callable[..., Any]
) -> None:
    overrides = (*SMALL, "tracking=none", "task.counts=[2,3]", "task.train_size=96")
    own = (f"runs={work / 'runs'}", "curriculum=schedule", "curriculum.boundaries=[0.5]")
    config = composed(*overrides, *own)
    levels: dict[int, float] = {}

    def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
        if step:
            levels[step] = metrics["curriculum/level"]
        if step == 6 and "crash" not in levels_seen:
            levels_seen.append("crash")
            raise RuntimeError("planted")

    levels_seen: list[str] = []
    with pytest.raises(RuntimeError, match="planted"):
        run_trial(config, observe)
    run_trial(config, observe)
    assert levels == {1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1, 7: 1, 8: 1}
    assert json.dumps(dataclasses.asdict(config.curriculum)["drawn"]) == "{}", "a config stays put"
