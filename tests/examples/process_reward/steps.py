"""A process reward from a small reward model: every attempt of a search is scored as it ends."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from harness.tasks.search import HIT, MISS
from harness.types import Graded, Scores

BUCKETS = 256


def features(step: str) -> Tensor:
    """Counts of pairs of characters, float64 (BUCKETS,)."""
    pairs = [(ord(a) * 31 + ord(b)) % BUCKETS for a, b in pairwise(step)]
    return torch.bincount(torch.tensor(pairs, dtype=torch.int64), minlength=BUCKETS).double()


@dataclass(frozen=True)
class Steps:
    """1 for a correct response on its last token, and on the last of each attempt its score.

    Attributes:
        labelled: .jsonl of {"step": text, "good": true or false} that the model is fitted to.
        weight: of a step that is surely good.
    """

    labelled: str
    weight: float = 0.1

    @cached_property
    def model(self) -> Tensor:
        """Weights of a logistic regression; begun at 0, so that nothing in it is random."""
        rows = [json.loads(line) for line in Path(self.labelled).read_text().splitlines()]
        x = torch.stack([features(row["step"]) for row in rows])
        y = torch.tensor([float(row["good"]) for row in rows], dtype=torch.float64)
        weights = torch.zeros(BUCKETS, dtype=torch.float64)
        for _ in range(200):  # steps of gradient ascent on the likelihood
            weights += 0.1 * x.T @ (y - torch.sigmoid(x @ weights)) / len(rows)
        return weights

    def score(self, graded: Graded) -> Scores:
        rewards_BT = torch.zeros(graded.rollout.mask_BT.shape, dtype=torch.float64)
        rows = zip(graded.rollout.texts, graded.rollout.lengths_B.tolist(), strict=True)
        for i, (text, length) in enumerate(rows):
            for end in (at for at, character in enumerate(text) if character in (MISS, HIT)):
                step = text[:end].replace(HIT, MISS).rpartition(MISS)[2] + text[end]
                good = torch.sigmoid(features(step) @ self.model)
                # A token is a character to model=tiny; elsewhere this is the nearest token.
                rewards_BT[i, end * length // max(len(text), length)] += self.weight * good
            rewards_BT[i, max(length - 1, 0)] += float(graded.grades[i].correct)
        return Scores(rewards=rewards_BT)
