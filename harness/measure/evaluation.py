"""Evaluation on the held-out set: exact accuracy, behaviour, distance from the base model."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, comb
from typing import Any

import torch
from torch import Tensor

from harness.config import TrialConfig
from harness.learner.policy import Policy
from harness.machine.progress import Unit, waiting
from harness.maths.tensor_ops import KL, kl_estimate, masked_mean
from harness.measure.base import SHARED_S, Content, Kept, Piece
from harness.measure.behaviour import behaviour_metrics
from harness.measure.planted import planted
from harness.protocols import Task
from harness.rollout.engine import Request, RolloutConfig, Sampler, Stream
from harness.rollout.grading import Grader
from harness.schema import Metric, of_kind
from harness.types import Grade, Prompt, Rollout, Sampling

# Each sampled response is read by policy and reference, which takes about as long as sampling it.
SCORED = 2
# Pieces of an evaluation; those that count what is right are numbered.
SAMPLED, GREEDY, PASS, PATIENT = "sampled", "greedy", "pass", "no_early_stop"
# What is measured at both ends of training only (`Evaluator.measured`), the last of them only for
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
    kept: Kept | None = None
    """Where the evaluation of the base, which is that of step 0, is shared; None: nowhere."""

    @classmethod
    def of(
        cls,
        config: TrialConfig,
        engine: Sampler,
        grader: Grader,
        policy: Policy,
        reference: Policy,
        **more: Any,
    ) -> "Evaluator":
        """As a config says; `more` are attributes that it does not."""
        return cls(
            engine=engine,
            rollout=config.rollout,
            task=config.task,
            grader=grader,
            policy=policy,
            reference=reference,
            temperature=config.evaluation.temperature,
            pass_k=config.evaluation.pass_k,
            seed=config.seed,
            **more,
        )

    def measured(self, step: int, at_an_end: bool) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """All metrics of an evaluation, shown as one wait, and the table of `sampled`.

        At an end there are also greedy decoding, pass@k and forced patience; and in the table, of
        how many `samples` of each prompt how many are right: from one response per prompt, chance
        cannot be told from what a seed finds hard.

        Args:
            at_an_end: whether training begins or ends here, and pass_k asks for more.
        """
        prompts, samples, keys = len(self.task.held_out()), 1, "task.eval_size"
        if at_an_end:
            samples += 1 + self.pass_k + (self.task.early_stop is not None)
            keys += ", evaluation.pass_k"
        words = f"{prompts} prompts x {samples} response{'s' if samples > 1 else ''}"
        keys += ", rollout.max_new_tokens"
        pieces = self._pieces(step, at_an_end)
        total, shared = sum(piece.responses for piece in pieces), {}
        with waiting(Unit.RESPONSES, "evaluating", words, total, keys):
            if self.kept is not None and step == 0:
                made, seconds = self.kept.made(pieces)
                shared = {SHARED_S: seconds}
            else:
                made = {piece.name: piece.make() for piece in pieces}
        first = made.pop(SAMPLED)
        metrics, counts = self._ends(made) if at_an_end else ({}, {})
        return first["metrics"] | metrics | shared, first["table"] | counts

    def sampled(self, step: int) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """Metrics of one sample per prompt, and the table of all responses."""
        sampling = self._sampling(self.temperature)
        rollout, grades = self._graded("eval", step, 1, sampling, self.task.held_out())
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

    def _pieces(self, step: int, at_an_end: bool) -> list[Piece]:
        """What an evaluation is made of; see `measured`."""
        count = len(self.task.held_out())

        def sampled() -> Content:
            metrics, table = self.sampled(step)
            return {"metrics": metrics, "table": table}

        work = count * (1 + SCORED)
        found = [Piece(name=SAMPLED, prompts=count, responses=work, make=sampled)]
        if at_an_end:
            plain, n = self._sampling(self.temperature), self.samples or self.pass_k
            found += self._counted(GREEDY, step, 1, self._sampling(0.0))
            found += self._counted(PASS, step, n, plain)
            if (stop := self.task.early_stop) is not None:
                patient = dataclasses.replace(plain, forbidden_after=(stop,))
                found += self._counted(PATIENT, step, 1, patient)
        return found

    def _counted(self, name: str, step: int, samples: int, sampling: Sampling) -> list[Piece]:
        """Pieces that find how many samples of each prompt are right.

        Where the engine cuts a call into batches anyway, each piece is such a batch.
        """
        held_out, rows = self.task.held_out(), self.rollout.batch_rows
        count = 1
        if rows is not None:
            fitting = max(1, rows // samples) * self.policy.layout.ranks.count
            count = ceil(len(held_out) / fitting)
        ends = [len(held_out) * i // count for i in range(count + 1)]

        def right(prompts: Sequence[Prompt]) -> Content:
            _, grades = self._graded(f"eval/{name}", step, samples, sampling, prompts)
            each = [grades[i : i + samples] for i in range(0, len(grades), samples)]
            return {"right": [sum(grade.correct for grade in of_one) for of_one in each]}

        parts = [held_out[start:end] for start, end in itertools.pairwise(ends)]
        return [
            Piece(
                name=f"{name}_{i}",
                prompts=len(part),
                responses=len(part) * samples,
                make=partial(right, part),
            )
            for i, part in enumerate(parts)
        ]

    def _ends(self, made: Mapping[str, Content]) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """Metrics and columns of what is measured at both ends of training only."""

        def right(name: str) -> list[int]:
            own = (content for key, content in made.items() if key.rpartition("_")[0] == name)
            return [count for content in own for count in content["right"]]

        n, many, greedy = self.samples or self.pass_k, right(PASS), right(GREEDY)
        metrics = {
            "eval/greedy_accuracy": sum(greedy) / len(greedy),
            "eval/pass_at_k": sum(pass_at_k(n, c, self.pass_k) for c in many) / len(many),
            "eval/avg_at_k": sum(many) / (n * len(many)),
        }
        if patient := right(PATIENT):
            metrics["eval/accuracy_no_early_stop"] = sum(patient) / len(patient)
        return metrics, {"samples": [n] * len(many), "samples_right": many}

    def _sampling(self, temperature: float) -> Sampling:
        return self.rollout.sampling(self.rollout.max_new_tokens, temperature)

    def _graded(
        self,
        name: str,
        step: int,
        samples: int,
        sampling: Sampling,
        prompts: Sequence[Prompt],
    ) -> tuple[Rollout, tuple[Grade, ...]]:
        requests = [
            Request(prompt=p, items=tuple(range(p.item * samples, (p.item + 1) * samples)))
            for p in prompts
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
