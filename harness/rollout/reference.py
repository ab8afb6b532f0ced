"""Rewards of the base model's own responses: what V* is computed from.

The base does not change, so its responses to a prompt are drawn once and kept on disk, for every
trial with the same base, task, reward, sampling and seed. What they cost is charged in full to
each trial that uses them, whether they were drawn now or lay there.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.contract import scored
from harness.distributed.ranks import ALONE, Ranks
from harness.machine.progress import Unit, waiting
from harness.protocols import Reward
from harness.rollout.engine import Request, RolloutConfig, Sampler, Stream
from harness.rollout.grading import Grader
from harness.schema import Metric
from harness.types import Graded, Prompt

# Responses per prompt that streams have room for: numbers do not move when more are asked for.
MOST_SAMPLES = 1 << 16
# What a fault of the reward was seen on.
OF_BASE = "of the base's own"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Scores of some prompts."""

    scores_PN: Tensor
    """float64 (P,N)."""
    charged: int
    """Response tokens of those prompts that this trial had not paid for."""
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Samples:
    """Kept responses of the base to one prompt: reward and tokens of each."""

    scores: tuple[float, ...]
    tokens: tuple[int, ...]


@dataclass(kw_only=True)
class ReferenceScores:
    """Draws, keeps and reads them.

    Attributes:
        to_base, to_policy: give the engine the base's weights, and the policy's again.
        folder: where they are kept, in a file of JSON lines, one prompt each.
        identity: digest of all that the scores depend on, beside the seed; names the file.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = {
        "reference/hit_rate": Metric(
            "1", "share of the step's prompts whose base responses were on disk", clock=True
        ),
        "reference/sampled_tokens": Metric(
            "tokens", "tokens of base responses that were drawn in this step", clock=True
        ),
        "reference/charged_tokens": Metric(
            "tokens", "tokens of base responses that this step was charged with"
        ),
    }

    engine: Sampler
    rollout: RolloutConfig
    grader: Grader
    reward: Reward
    to_base: Callable[[], object]
    to_policy: Callable[[], object]
    folder: Path
    identity: str
    ranks: Ranks = ALONE
    known: dict[str, Samples] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)

    def __call__(self, prompts: Sequence[Prompt], samples: int, seed: int) -> Found:
        """Rewards of `samples` responses of the base to each prompt."""
        self._read(seed)
        keys = [_key(prompt, seed) for prompt in prompts]
        missing = [
            prompt
            for prompt, key in zip(prompts, keys, strict=True)
            if key not in self.known or len(self.known[key].scores) < samples
        ]
        drawn = self._draw(missing, samples, seed) if missing else 0
        charged = 0
        for key in keys:
            charged += sum(self.known[key].tokens[self.paid.get(key, 0) : samples])
            self.paid[key] = max(samples, self.paid.get(key, 0))
        scores = [self.known[key].scores[:samples] for key in keys]
        return Found(
            scores_PN=torch.tensor(scores, dtype=torch.float64),
            charged=charged,
            metrics={
                "reference/hit_rate": 1 - len(missing) / len(prompts),
                "reference/sampled_tokens": float(drawn),
                "reference/charged_tokens": float(charged),
            },
        )

    def state_dict(self) -> dict[str, Any]:
        """What the trial has paid for."""
        return {"paid": dict(self.paid)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state_dict."""
        self.paid = dict(state["paid"])

    def _draw(self, prompts: Sequence[Prompt], samples: int, seed: int) -> int:
        """Sample, score and keep; returns how many tokens that took."""
        requests = [
            Request(
                prompt=p,
                items=tuple(range(p.item * MOST_SAMPLES, p.item * MOST_SAMPLES + samples)),
            )
            for p in prompts
        ]
        self.to_base()
        count = len(prompts) * samples
        with waiting(Unit.RESPONSES, "sampling", f"{count} responses of the base", count):
            rollout = self.engine.generate(
                requests,
                self.rollout.sampling(self.rollout.max_new_tokens),
                Stream(seed=seed, name="reference", step=0),
            )
        self.to_policy()
        lines = []
        for i, prompt in enumerate(prompts):
            rows = rollout.rows(torch.arange(i * samples, (i + 1) * samples))
            graded = Graded(
                rollout=rows,
                grades=self.grader(rows),
                budget=self.rollout.max_new_tokens,
                seed=seed,
                step=0,  # no step of a trial's own
                first=prompt.item * MOST_SAMPLES,  # whoever else is asked
            )
            scores = scored(self.reward, graded, OF_BASE).per_response_B.tolist()
            tokens = rows.lengths_B.tolist()
            key = _key(prompt, seed)
            self.known[key] = Samples(tuple(scores), tuple(tokens))
            lines.append(json.dumps({"key": key, "scores": scores, "tokens": tokens}) + "\n")
        if self.ranks.first:
            with self._file(seed).open("a") as file:
                file.write("".join(lines))
        return int(rollout.mask_BT.sum())

    def _file(self, seed: int) -> Path:
        return self.folder / f"{self.identity}_s{seed}.jsonl"

    def _read(self, seed: int) -> None:
        """Take in what lies on disk; a line that was cut by a kill, or is none, is drawn again."""
        file = self._file(seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        if self.known:
            return
        text = self.ranks.agreed(file.read_text(errors="replace") if file.is_file() else "")
        for line in text.splitlines():
            if (row := _row(line)) is None:
                continue
            key, samples = row
            known = self.known.get(key)
            if known is None or len(known.scores) < len(samples.scores):
                self.known[key] = samples


def _row(line: str) -> tuple[str, Samples] | None:
    """The key and the samples of a line; None where it holds something else."""
    try:
        row = json.loads(line)
        key, scores, tokens = str(row["key"]), tuple(row["scores"]), tuple(row["tokens"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    numbers = all(type(x) in (int, float) and math.isfinite(x) for x in (*scores, *tokens))
    return (key, Samples(scores, tokens)) if numbers and len(scores) == len(tokens) else None


def _key(prompt: Prompt, seed: int) -> str:
    return f"{seed}/{prompt.item}/{hashlib.sha256(prompt.text.encode()).hexdigest()[:16]}"
