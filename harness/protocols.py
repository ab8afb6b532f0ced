"""What the core asks of each kind of plug-in."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from harness.types import (
    Batch,
    Behaviour,
    Estimates,
    Grade,
    Graded,
    Loss,
    Minibatch,
    Outcome,
    Prompt,
    RolloutPlan,
    Scores,
)


class Algorithm(Protocol):
    """Rollout plan + advantage + loss: a frozen dataclass of hyper-parameters."""

    @property
    def columns(self) -> frozenset[str]:
        """Columns that `advantages` and `loss` read.

        Before the first update: old_logprobs_BT, ref_logprobs_BT, rollout_logprobs_BT,
        old_values_BT. In the loss, moving with the policy and with gradient: entropy_BT,
        kl_full_BT, values_BT. What the rollout plan brings, greedy_scores_B and
        reference_scores_BN, is there without being declared.
        """
        ...

    def rollout_plan(self, progress: float) -> RolloutPlan:
        """What to sample when the share `progress` of the budget is used."""
        ...

    def advantages(self, batch: Batch) -> Tensor | Estimates:
        """(B,T) advantages of the whole batch, 0 where the mask is 0."""
        ...

    def loss(self, minibatch: Minibatch) -> Loss:
        """Unreduced loss of some rows; no statistics over rows."""
        ...


class Controller(Protocol):
    """State that moves with training: window, KL coefficient, curriculum."""

    def observe(self, outcome: Outcome) -> None:
        """Take in what a step did."""
        ...

    def metrics(self) -> dict[str, float]:
        """What it says of the step that it has just observed; keys are declared in METRICS."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state_dict."""
        ...


class Window(Controller, Protocol):
    """The response budget of a step and what moves it."""

    def window(self, seed: int) -> int:
        """Response budget of the next rollout, in tokens; `seed` names what it may draw."""
        ...


class Curriculum(Controller, Protocol):
    """Which part of the pool a step draws from."""

    def prompts(
        self, pool: Sequence[Prompt], seed: int, progress: float, count: int
    ) -> list[Prompt]:
        """The next `count` prompts; moves its own cursor."""
        ...


class Reward(Protocol):
    """Scores a batch of responses."""

    def score(self, graded: Graded) -> Scores:
        """Rewards (B,) or (B,T) of a rollout whose B responses were graded by the task."""
        ...


class Task(Protocol):
    """Data + grader. Pool and held-out set are constants of the task."""

    @property
    def digest(self) -> str:
        """sha256 over the prompts and answers of both sets."""
        ...

    @property
    def early_stop(self) -> tuple[str, str] | None:
        """Tokens (after a miss, answer) whose succession is giving up; None without such."""
        ...

    def pool(self) -> tuple[Prompt, ...]:
        """The training prompts."""
        ...

    def held_out(self) -> tuple[Prompt, ...]:
        """The held-out prompts, none of whose problems is in the pool."""
        ...

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        """Grade one response exactly."""
        ...

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        """How the response searched; None when the task reads no search."""
        ...
