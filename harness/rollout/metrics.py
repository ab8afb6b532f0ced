"""Numbers of a step, from the data that flowed through it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.machine.stall import within
from harness.maths.tensor_ops import group_center
from harness.rollout.collected import Collected
from harness.rollout.mismatch import mismatch
from harness.types import Batch


@dataclass
class Clock:
    """Wall seconds of the stages of a step."""

    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begun, key = time.perf_counter(), f"timing_s/{stage}"
        with within(stage):
            yield
        self.stages[key] = self.stages.get(key, 0.0) + time.perf_counter() - begun

    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.perf_counter() - self.started


def spread(prefix: str, x: Tensor) -> dict[str, float]:
    """Mean, largest and smallest value."""
    x = x.double()
    return {
        f"{prefix}/mean": x.mean().item(),
        f"{prefix}/max": x.max().item(),
        f"{prefix}/min": x.min().item(),
    }


def step_metrics(
    sampled: Collected,
    batch: Batch,
    advantages_BT: Tensor,
    window: int,
    trainer: tuple[Tensor, Tensor],
) -> dict[str, float]:
    """What a rollout and its rewards look like; names as in verl where verl has one.

    Args:
        trainer: (B,T) log-probs of its own, and the tokens that have one.
    """
    rollout, grades = sampled.rollout, sampled.grades
    scores_B = batch.scores_B
    prompt_lengths = torch.tensor([len(ids) for ids in rollout.prompt_ids])
    no_signal_B = group_center(scores_B, batch.group_B).abs() < 1e-12  # rounding of a mean
    groups = torch.unique(batch.group_B)
    silent = [bool(no_signal_B[batch.group_B == g].all()) for g in groups]
    return {
        **spread("critic/score", scores_B),
        **spread("critic/rewards", scores_B),
        **spread("critic/advantages", advantages_BT[rollout.mask_BT]),
        **spread("response_length", rollout.lengths_B),
        **spread("prompt_length", prompt_lengths),
        "response_length/clip_ratio": (~rollout.finished_B).double().mean().item(),
        "response_length/empty": sum(not text.strip() for text in rollout.texts) / len(grades),
        "reward/accuracy": sum(grade.correct for grade in grades) / len(grades),
        "reward/error_rate": sum(bool(grade.error) for grade in grades) / len(grades),
        "reward/no_signal_groups": sum(silent) / len(silent),
        **{
            f"reward/part/{name}": part.double().mean().item()
            for name, part in sampled.scores.parts.items()
        },
        **sampled.metrics,
        "window/current": float(window),
        **mismatch(rollout.logprobs_BT, *trainer),
        "perf/total_num_tokens": float(prompt_lengths.sum() + rollout.lengths_B.sum()),
    }


def mean_of(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over the optimizer steps of a rollout; the learning rate is the last one's."""
    last = updates[-1]
    means = {key: sum(update[key] for update in updates) / len(updates) for key in last}
    return {**means, "actor/lr": last["actor/lr"]}
