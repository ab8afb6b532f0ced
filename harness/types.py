"""Data that flows between the stages. Frozen, keyword-only; shapes stand beside each field.

Shapes: `P` prompts, `G` samples per prompt, `B = P*G` responses, `L` prompt tokens,
`T` response tokens, `V` vocabulary, `N` responses of the base per prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.errors import ContractError
from harness.maths.tensor_ops import Reduction
from harness.prompts import Behaviour as Behaviour
from harness.prompts import Grade as Grade
from harness.prompts import Prompt as Prompt


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How responses are drawn. `stop` strings end a response and stay in it."""

    temperature: float = 1.0
    """Logits are divided by it; 0 is greedy."""
    top_p: float = 1.0
    """Share of the probability that is sampled from; 1: all of it."""
    top_k: int = 0
    """Number of the likeliest tokens that are sampled from; 0: all."""
    min_new_tokens: int = 0
    """Tokens before which no end token is drawn."""
    max_new_tokens: int
    """Tokens at which a response is cut."""
    stop: tuple[str, ...] = ()
    """Texts that end a response."""
    forbidden_after: tuple[tuple[str, str], ...] = ()
    """Pairs (previous token, token): the second may not directly follow the first."""


@dataclass(frozen=True, kw_only=True)
class RolloutPlan:
    """What a step asks the rollout for: the algorithm's to say."""

    group_size: int
    """G, responses per prompt."""
    temperature: float | None = None
    """None: the rollout's own temperature. 0: greedy."""
    greedy: bool = False
    """One more, greedy response per prompt; its reward is the column `greedy_scores_B`."""
    reference_samples: int = 0
    """N responses of the base per prompt, kept; rewards are the column `reference_scores_BN`."""
    reference_seed: int | None = None
    """Seed of those responses; None: the trial's own."""
    accept: Callable[[Any], Tensor] | None = None
    """Of a rollout.collected.Collected, bool (B,): rows of the groups to train on; None: all."""
    max_batches: int = 1
    """Rollouts that a step may take to find as many as it should have."""


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

    def rows(self, rows_B: Tensor) -> "Rollout":
        """Some of the rows, in the order of their numbers `rows_B`."""
        chosen = rows_B.tolist()
        return Rollout(
            prompts=tuple(self.prompts[i] for i in chosen),
            prompt_ids=tuple(self.prompt_ids[i] for i in chosen),
            group_B=self.group_B[rows_B],
            tokens_BT=self.tokens_BT[rows_B],
            mask_BT=self.mask_BT[rows_B],
            logprobs_BT=self.logprobs_BT[rows_B],
            finished_B=self.finished_B[rows_B],
            texts=tuple(self.texts[i] for i in chosen),
        )

    @classmethod
    def joined(cls, parts: Sequence["Rollout"]) -> "Rollout":
        """One rollout after the other; their groups stay apart."""
        width = max(part.mask_BT.shape[1] for part in parts)
        sizes = [int(part.group_B.max()) + 1 for part in parts]
        return cls(
            prompts=tuple(p for part in parts for p in part.prompts),
            prompt_ids=tuple(ids for part in parts for ids in part.prompt_ids),
            group_B=torch.cat([p.group_B + sum(sizes[:i]) for i, p in enumerate(parts)]),
            tokens_BT=torch.cat([widened(part.tokens_BT, width) for part in parts]),
            mask_BT=torch.cat([widened(part.mask_BT, width) for part in parts]),
            logprobs_BT=torch.cat([widened(part.logprobs_BT, width) for part in parts]),
            finished_B=torch.cat([part.finished_B for part in parts]),
            texts=tuple(text for part in parts for text in part.texts),
        )


def widened(x_BT: Tensor, width: int) -> Tensor:
    """(B,T) -> (B,width), zeros on the right."""
    return torch.nn.functional.pad(x_BT, (0, width - x_BT.shape[1]))


@dataclass(frozen=True, kw_only=True)
class Graded:
    """A rollout and what the task says of it: all that a reward sees."""

    rollout: Rollout
    """What was sampled."""
    grades: tuple[Grade, ...]
    """B entries."""
    budget: int
    """The maximum response budget C in tokens, whatever the window is."""
    seed: int
    """The trial's."""
    step: int
    """Of the trial, from 1."""
    first: int
    """Number of the first row; no other response of the seed and step has a row's number.

    The three name the random numbers of a reward: what is graded apart, such as a greedy baseline,
    is rewarded by numbers of its own.
    """


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a reward makes of a rollout."""

    rewards: Tensor
    """float64 (B,) per response or (B,T) per token."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Named parts (B,), for the records: metric `reward/part/<name>`, declared in METRICS."""

    @property
    def per_response_B(self) -> Tensor:
        """(B,), the sum over tokens where rewards stand on them."""
        return self.rewards if self.rewards.dim() == 1 else self.rewards.sum(-1)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The whole batch of a step, as `advantages` sees it."""

    group_B: Tensor
    """int64 (B,), equal number = same prompt."""
    mask_BT: Tensor
    """bool (B,T), true up to and including the end token."""
    rewards_BT: Tensor
    """Token-level rewards; a response's reward stands on its last token."""
    budget: int
    """The maximum response budget C in tokens, whatever the window is."""
    columns: Mapping[str, Tensor]
    """The columns that the algorithm declares; the end of a name says the shape."""
    progress: float = 0.0
    """Share of the budget that was used when the step began."""
    kl_coefficient: float = 0.0
    """Coefficient of a KL in the reward, as its controller has it in this step."""

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
    """What `advantages` made of these rows; constant in the loss."""
    mask_BT: Tensor
    """bool (B,T), true up to and including the end token."""
    budget: int
    """As in Batch."""
    columns: Mapping[str, Tensor]
    """These rows of the batch's columns."""
    progress: float = 0.0
    """As in Batch."""

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
class Estimates:
    """Advantages together with what else an algorithm reads off the whole batch."""

    advantages_BT: Tensor
    """(B,T), 0 where the mask is false."""
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """More columns for its loss."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Keys are declared in METRICS."""


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One unreduced term. Only the core divides."""

    name: str
    """policy, value, entropy or kl."""
    values: Tensor
    """(B,T) per token or (B,) per response."""
    reduction: Reduction
    """How the core makes one number of the values."""
    weight: float = 1.0
    """What the term counts in the sum."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Terms to descend on and per-token diagnostics, reduced by the core to a token mean."""

    terms: tuple[LossTerm, ...]
    """Their weighted sum is descended on."""
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    """(B,T) by name; names are the core's or declared in METRICS."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step did, for the controllers."""

    lengths_B: Tensor
    """int64 (B,), response tokens."""
    correct_B: Tensor
    """bool (B,)."""
    progress: float
    """Share of the budget that is used now."""
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """Those of the batch."""
