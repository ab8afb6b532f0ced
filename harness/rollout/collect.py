"""What a step samples: the responses that the algorithm's plan asks for, graded and rewarded."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contract import accepted, scored
from harness.machine.progress import Unit, Wait, waiting
from harness.protocols import Reward
from harness.rollout.collected import Collected
from harness.rollout.engine import Request, RolloutConfig, Sampler, Stream
from harness.rollout.grading import Grader
from harness.rollout.metrics import Clock
from harness.rollout.reference import ReferenceScores
from harness.types import (
    Grade,
    Graded,
    Prompt,
    Rollout,
    RolloutPlan,
    Scores,
    widened,
)

Draw = Callable[[int], Sequence[Prompt]]


@dataclass(frozen=True)
class _Attempt:
    """One of the rollouts that a step may take."""

    step: int
    number: int
    clock: Clock

    @property
    def stream(self) -> str:
        """Name of the random stream."""
        return f"rollout/{self.number}" if self.number else "rollout"


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Carries out rollout plans."""

    engine: Sampler
    rollout: RolloutConfig
    grader: Grader
    reward: Reward
    reference: ReferenceScores
    seed: int

    def __call__(
        self, draw: Draw, groups: int, plan: RolloutPlan, window: int, step: int, clock: Clock
    ) -> Collected:
        """The responses of a step.

        Where the plan accepts only some groups, more prompts are drawn until there are `groups`
        accepted ones, or `plan.max_batches` rollouts were made; then those that there are make the
        step, and the last rollout as it is if there are none.

        Args:
            draw: the next prompts, so many.
            groups: prompts of a step.
            window: response budget, in tokens.
            clock: takes the seconds of the stages `gen` and `reward`.
        """
        made = [self._sampled(draw(groups), plan, window, _Attempt(step, 0, clock))]
        if plan.accept is None:
            return made[0]
        when = f"at step {step}"
        kept = [_rows(made[0], accepted(plan.accept, made[0], when))]
        while sum(map(_groups, kept)) < groups and len(made) < plan.max_batches:
            made.append(self._sampled(draw(groups), plan, window, _Attempt(step, len(made), clock)))
            kept.append(_rows(made[-1], accepted(plan.accept, made[-1], when)))
        share = sum(map(_groups, kept)) / sum(map(_groups, made))
        whole = _joined([part for part in kept if part.grades] or made[-1:])
        first = torch.unique_consecutive(whole.rollout.group_B)[:groups]
        return dataclasses.replace(
            _rows(whole, torch.isin(whole.rollout.group_B, first)),
            tokens=sum(part.tokens for part in made),
            prompts=sum(part.prompts for part in made),
            metrics={
                **made[-1].metrics,
                "rollout/batches": float(len(made)),
                "rollout/accepted": share,
            },
        )

    def _sampled(
        self, prompts: Sequence[Prompt], plan: RolloutPlan, window: int, attempt: "_Attempt"
    ) -> Collected:
        """One rollout, all of it."""
        stream = Stream(seed=self.seed, name=attempt.stream, step=attempt.step)
        size = plan.group_size
        first = attempt.number * len(prompts) * (size + plan.greedy)
        requests = [
            Request(prompt=prompt, items=tuple(range(i * size, (i + 1) * size)))
            for i, prompt in enumerate(prompts)
        ]
        sampling = self.rollout.sampling(window, plan.temperature)
        with attempt.clock("gen"), _shown(len(prompts) * size):
            rollout = self.engine.generate(requests, sampling, stream)
        columns: dict[str, Tensor] = {}
        tokens = int(rollout.mask_BT.sum())
        metrics: dict[str, float] = {}
        if plan.greedy:
            single = [Request(prompt=prompt, items=(i,)) for i, prompt in enumerate(prompts)]
            with attempt.clock("gen"):
                greedy = self.engine.generate(single, self.rollout.sampling(window, 0.0), stream)
            beside = first + len(prompts) * size
            scores_P = self._rewarded(greedy, attempt, beside)[1].per_response_B
            columns["greedy_scores_B"] = scores_P[rollout.group_B]
            tokens += int(greedy.mask_BT.sum())
        if plan.reference_samples:
            seed = self.seed if plan.reference_seed is None else plan.reference_seed
            with attempt.clock("reference"):
                found = self.reference(prompts, plan.reference_samples, seed)
            columns["reference_scores_BN"] = found.scores_PN[rollout.group_B]
            tokens += found.charged
            metrics |= found.metrics
        grades, scores = self._rewarded(rollout, attempt, first)
        return Collected(
            rollout=rollout,
            grades=grades,
            scores=scores,
            columns=columns,
            tokens=tokens,
            prompts=len(prompts),
            metrics=metrics,
        )

    def _rewarded(
        self, rollout: Rollout, attempt: "_Attempt", first: int
    ) -> tuple[tuple[Grade, ...], Scores]:
        with attempt.clock("reward"):
            grades = self.grader(rollout)
            graded = Graded(
                rollout=rollout,
                grades=grades,
                budget=self.rollout.max_new_tokens,
                seed=self.seed,
                step=attempt.step,
                first=first,
            )
            return grades, scored(self.reward, graded, f"at step {attempt.step}")


def _shown(count: int) -> AbstractContextManager[Wait]:
    return waiting(Unit.RESPONSES, "sampling", f"{count} responses", count)


def _groups(part: Collected) -> int:
    return len(set(part.rollout.group_B.tolist()))


def _rows(part: Collected, keep_B: Tensor) -> Collected:
    """The rows that are kept, everything else as it is."""
    rows_B = keep_B.nonzero()[:, 0]
    return dataclasses.replace(
        part,
        rollout=part.rollout.rows(rows_B),
        grades=tuple(part.grades[i] for i in rows_B.tolist()),
        scores=Scores(
            rewards=part.scores.rewards[rows_B],
            parts={name: x_B[rows_B] for name, x_B in part.scores.parts.items()},
        ),
        columns={name: x[rows_B] for name, x in part.columns.items()},
    )


def _joined(parts: Sequence[Collected]) -> Collected:
    """One after the other."""
    first, rollout = parts[0], Rollout.joined([part.rollout for part in parts])
    rewards = [part.scores.rewards for part in parts]
    if rewards[0].dim() == 2:
        rewards = [widened(rewards_BT, rollout.mask_BT.shape[1]) for rewards_BT in rewards]
    names = first.scores.parts
    return dataclasses.replace(
        first,
        rollout=rollout,
        grades=tuple(grade for part in parts for grade in part.grades),
        scores=Scores(
            rewards=torch.cat(rewards),
            parts={name: torch.cat([part.scores.parts[name] for part in parts]) for name in names},
        ),
        columns={name: torch.cat([part.columns[name] for part in parts]) for name in first.columns},
    )
