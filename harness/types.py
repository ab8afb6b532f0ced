"""Data that flows between the stages. Frozen, keyword-only; shapes stand beside each field.

Shapes: `P` prompts, `G` samples per prompt, `B = P*G` responses, `L` prompt tokens,
`T` response tokens, `V` vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.errors import ContractError
from harness.tensor_ops import Reduction


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One question.

    Example: Prompt(text="Q7 8 3=4?", item=17, problem="3 7 8=4", difficulty=3,
                    answer=CountdownAnswer((7, 8, 3), 4))
    """

    text: str
    """What the model reads, template applied."""
    item: int
    """Position in its split: the number by which its random streams are named."""
    problem: str
    """Cluster of the prompt: orderings of one problem share it."""
    difficulty: int
    answer: Any
    """What the task's grader needs."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What a task says about one response."""

    correct: bool
    """Exactly right: the only thing that `eval/accuracy` counts."""
    formatted: bool
    """An answer is marked and closed as the template asks."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Counts read from one response by the task's own parse."""

    attempts: int
    computed_rightly: int
    hits: int
    misses: int
    give_ups: int
    """Misses after which the response answers at once."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How responses are drawn. `stop` strings end a response and stay in it."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_new_tokens: int = 0
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    forbidden_after: tuple[tuple[str, str], ...] = ()
    """Pairs (previous token, token): the second may not directly follow the first."""


@dataclass(frozen=True, kw_only=True)
class RolloutPlan:
    """What a step asks the rollout for: the algorithm's to say."""

    group_size: int
    temperature: float | None = None
    """None: the rollout's own temperature. 0: greedy."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Sampled responses, B rows."""

    prompts: tuple[Prompt, ...]
    """B entries, the prompt of each row."""
    prompt_ids: tuple[tuple[int, ...], ...]
    """B entries, unpadded prompt tokens."""
    group_B: Tensor
    """int64 (B,), equal number = same prompt of this step."""
    tokens_BT: Tensor
    """int64 (B,T), right-padded."""
    mask_BT: Tensor
    """bool (B,T), true up to and including the end token."""
    logprobs_BT: Tensor
    """float32 (B,T), log-prob under the distribution that was sampled from."""
    finished_B: Tensor
    """bool (B,), false when the window cut the response."""
    texts: tuple[str, ...]
    """B entries, the response without its end token."""

    @property
    def lengths_B(self) -> Tensor:
        """int64 (B,), response tokens of each row, end token included."""
        return self.mask_BT.long().sum(-1)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a reward makes of a rollout."""

    rewards: Tensor
    """float64 (B,) per response or (B,T) per token."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Named parts (B,), for the records."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The whole batch of a step, as `advantages` sees it."""

    group_B: Tensor
    mask_BT: Tensor
    rewards_BT: Tensor
    """Token-level rewards; a response's reward stands on its last token."""
    budget: int
    """The maximum response budget C in tokens, whatever the window is."""
    columns: Mapping[str, Tensor]
    """The columns that the algorithm declares, each (B,T)."""

    @property
    def scores_B(self) -> Tensor:
        """(B,), the reward of each response."""
        return self.rewards_BT.sum(-1)

    def __getitem__(self, name: str) -> Tensor:
        """A declared column.

        Raises:
            ContractError: the algorithm does not declare it.
        """
        return _column(self.columns, name)


@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """Rows of one backward pass, as `loss` sees them."""

    logprobs_BT: Tensor
    """Log-probs of the sampled tokens under the current policy, with gradient."""
    advantages_BT: Tensor
    mask_BT: Tensor
    budget: int
    columns: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """A declared column.

        Raises:
            ContractError: the algorithm does not declare it.
        """
        return _column(self.columns, name)


def _column(columns: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in columns:
        raise ContractError(
            f"column {name!r} is not declared by the algorithm; add it to `columns` "
            f"(declared: {', '.join(sorted(columns)) or 'none'})"
        )
    return columns[name]


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One unreduced term. Only the core divides."""

    name: str
    """policy, value, entropy or kl."""
    values: Tensor
    """(B,T) per token or (B,) per response."""
    reduction: Reduction
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Terms to descend on and per-token diagnostics, reduced by the core to a token mean."""

    terms: tuple[LossTerm, ...]
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step did, for the controllers."""

    lengths_B: Tensor
    """int64 (B,), response tokens."""
    correct_B: Tensor
    """bool (B,)."""
    progress: float
    """Share of the budget that is used now."""

    @classmethod
    def of(cls, rollout: Rollout, grades: tuple[Grade, ...], progress: float) -> "Outcome":
        """The outcome of a step whose responses were graded by the task."""
        correct_B = torch.tensor([grade.correct for grade in grades])
        return cls(lengths_B=rollout.lengths_B, correct_B=correct_B, progress=progress)
