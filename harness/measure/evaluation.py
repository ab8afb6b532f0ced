"""Evaluation on the held-out set: exact accuracy, behaviour, distance from the base model."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import torch
from torch import Tensor

from harness.learner.policy import Policy
from harness.machine.progress import Unit, waiting
from harness.maths.tensor_ops import KL, kl_estimate, masked_mean
from harness.measure.behaviour import behaviour_metrics
from harness.measure.planted import planted
from harness.protocols import Task
from harness.rollout.engine import Request, RolloutConfig, Sampler, Stream
from harness.rollout.grading import Grader
from harness.schema import Metric, of_kind
from harness.types import Grade, Prompt, Rollout, Sampling

# Each sampled response is read by policy and reference, which takes about as long as sampling it.
SCORED = 2
# What is measured at both ends of training only (`Evaluator.at_an_end`), the last of them only for
# a task with an early stop.
AT_AN_END = (
    *("eval/greedy_accuracy", "eval/pass_at_k", "eval/avg_at_k"),
    "eval/accuracy_no_early_stop",
)


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Measures a policy on the held-out prompts, always with the full response budget."""

    engine: Sampler
    rollout: RolloutConfig
    task: Task
    grader: Grader
    policy: Policy
    reference: Policy
    temperature: float
    pass_k: int
    seed: int
    samples: int | None = None
    """Samples per prompt of which pass@k is estimated; None: as many as k."""

    def measured(self, step: int, at_an_end: bool) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """All metrics of an evaluation, shown as one wait, and the table of `sampled`.

        Args:
            at_an_end: whether training begins or ends here, and pass_k asks for more.
        """
        prompts, samples, keys = len(self.task.held_out()), 1, "task.eval_size"
        if at_an_end:
            samples += 1 + self.pass_k + (self.task.early_stop is not None)
            keys += ", evaluation.pass_k"
        words = f"{prompts} prompts x {samples} response{'s' if samples > 1 else ''}"
        total = prompts * (samples + SCORED)
        keys += ", rollout.max_new_tokens"
        with waiting(Unit.RESPONSES, "evaluating", words, total, keys):
            metrics, table = self.sampled(step)
            if at_an_end:
                more, counts = self.at_an_end(step)
                metrics, table = metrics | more, table | counts
        return metrics, table

    def sampled(self, step: int) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """Metrics of one sample per prompt, and the table of all responses."""
        rollout, grades = self._graded("eval", step, 1, self._sampling(self.temperature))
        correct_B = torch.tensor([grade.correct for grade in grades])
        logprobs_BT, entropy_BT = self.policy.score(rollout)
        ref_logprobs_BT = self.reference.logprobs(rollout)
        kl_BT = kl_estimate(logprobs_BT, ref_logprobs_BT, KL.K3)
        searchers, who = planted(self.task, rollout, step)
        metrics = {
            "eval/accuracy": correct_B.float().mean().item(),
            **_by_kind(rollout.prompts, correct_B),
            "eval/error_rate": sum(bool(grade.error) for grade in grades) / len(grades),
            "eval/kl": masked_mean(kl_BT, rollout.mask_BT).item(),
            "eval/entropy": masked_mean(entropy_BT, rollout.mask_BT).item(),
            "eval/truncated": (~rollout.finished_B).float().mean().item(),
            **_lengths(rollout.lengths_B.float(), correct_B),
            **behaviour_metrics(self.task, rollout, grades),
            **searchers,
        }
        return metrics, _table(rollout, grades) | who

    def at_an_end(self, step: int) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """What is measured at both ends of training only: greedy, pass@k, patience forced.

        Returns:
            Metrics; and per prompt, `samples` of pass@k and how many of them are right: from one
            response per prompt, chance cannot be told from what a seed finds hard.
        """
        metrics = {}
        _, greedy = self._graded("eval/greedy", step, 1, self._sampling(0.0))
        metrics["eval/greedy_accuracy"] = _accuracy(greedy)
        n = self.samples or self.pass_k
        _, many = self._graded("eval/pass", step, n, self._sampling(self.temperature))
        right = [sum(grade.correct for grade in many[i : i + n]) for i in range(0, len(many), n)]
        metrics["eval/pass_at_k"] = sum(pass_at_k(n, c, self.pass_k) for c in right) / len(right)
        metrics["eval/avg_at_k"] = _accuracy(many)
        if self.task.early_stop is not None:
            patient = dataclasses.replace(
                self._sampling(self.temperature),
                forbidden_after=(self.task.early_stop,),
            )
            _, grades = self._graded("eval/no_early_stop", step, 1, patient)
            metrics["eval/accuracy_no_early_stop"] = _accuracy(grades)
        return metrics, {"samples": [n] * len(right), "samples_right": right}

    def _sampling(self, temperature: float) -> Sampling:
        return self.rollout.sampling(self.rollout.max_new_tokens, temperature)

    def _graded(
        self, name: str, step: int, samples: int, sampling: Sampling
    ) -> tuple[Rollout, tuple[Grade, ...]]:
        requests = [
            Request(prompt=p, items=tuple(range(p.item * samples, (p.item + 1) * samples)))
            for p in self.task.held_out()
        ]
        stream = Stream(seed=self.seed, name=name, step=step)
        rollout = self.engine.generate(requests, sampling, stream)
        return rollout, self.grader(rollout)


def kinds(prompts: Sequence[Prompt]) -> dict[str, Metric]:
    """Accuracy of each difficulty and each part of a mixture, where there are several."""
    return {key: of_kind(what) for key, what, _ in _kinds(prompts)}


def _kinds(prompts: Sequence[Prompt]) -> list[tuple[str, str, list[int]]]:
    """Metric, its meaning and the rows that it is about."""
    found = []
    for name in ("difficulty", "part"):
        of = [getattr(prompt, name) for prompt in prompts]
        values = sorted(set(of))
        for value in values if len(values) > 1 else []:
            rows = [i for i, other in enumerate(of) if other == value]
            found.append((f"eval/accuracy/{name}_{value}", f"{name} {value}", rows))
    return found


def _by_kind(prompts: Sequence[Prompt], correct_B: Tensor) -> dict[str, float]:
    return {key: correct_B[rows].float().mean().item() for key, _, rows in _kinds(prompts)}


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that one of k samples is right when c of n are (arXiv 2107.03374 eq. 1)."""
    return 1.0 - comb(n - c, k) / comb(n, k)


def _accuracy(grades: Sequence[Grade]) -> float:
    return sum(grade.correct for grade in grades) / len(grades)


def _lengths(lengths_B: Tensor, correct_B: Tensor) -> dict[str, float]:
    """Mean lengths; a class without a response has none and is left out."""
    parts = {"mean": lengths_B, "right": lengths_B[correct_B], "wrong": lengths_B[~correct_B]}
    return {
        f"eval/response_length/{name}": part.mean().item()
        for name, part in parts.items()
        if len(part)
    }


def _table(rollout: Rollout, grades: Sequence[Grade]) -> dict[str, list[Any]]:
    """Per-prompt results, so that variants can be compared prompt by prompt."""
    prompts: tuple[Prompt, ...] = rollout.prompts
    return {
        "item": [p.item for p in prompts],
        "problem": [p.problem for p in prompts],
        "difficulty": [p.difficulty for p in prompts],
        "part": [p.part for p in prompts],
        "prompt": [p.text for p in prompts],
        "response": list(rollout.texts),
        "correct": [grade.correct for grade in grades],
        "formatted": [grade.formatted for grade in grades],
        "error": [grade.error for grade in grades],
        "length": rollout.lengths_B.tolist(),
        "truncated": (~rollout.finished_B).tolist(),
    }
