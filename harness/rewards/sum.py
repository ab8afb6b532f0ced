"""A weighted sum of rewards, each part recorded on its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.maths.tensor_ops import on_last_token
from harness.schema import Metric
from harness.types import Graded, Scores


@dataclass(frozen=True)
class Sum:
    """Σ weight x reward.

    Where one part stands on tokens, the others go on each response's last token.

    Attributes:
        parts: rewards by name.
        weights: by the same names; 1 where none is given.
    """

    parts: dict[str, Any]
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ", ".join(sorted(self.parts))
        if not self.parts:
            raise ConfigError(
                "reward.parts is empty; add rewards such as +reward@reward.parts.correct=binary"
            )
        for name, part in self.parts.items():
            if not hasattr(part, "score"):
                raise ConfigError(
                    f"reward.parts.{name} must be a reward, received {part!r}; "
                    f"write +reward@reward.parts.{name}=binary"
                )
        for name in self.weights:
            if name not in self.parts:
                raise ConfigError(f"reward.weights.{name} names no part; valid: {known}")

    @property
    def METRICS(self) -> Mapping[str, Metric]:
        return {
            f"reward/part/{name}": Metric("reward", f"weighted part {name!r}, mean over responses")
            for name in self.parts
        }

    def score(self, graded: Graded) -> Scores:
        scored = {name: part.score(graded) for name, part in self.parts.items()}
        weighted = {
            name: self.weights.get(name, 1.0) * scores.rewards for name, scores in scored.items()
        }
        parts = {
            name: self.weights.get(name, 1.0) * scores.per_response_B
            for name, scores in scored.items()
        }
        if any(rewards.dim() == 2 for rewards in weighted.values()):
            mask_BT = graded.rollout.mask_BT
            weighted = {
                name: rewards if rewards.dim() == 2 else on_last_token(rewards, mask_BT)
                for name, rewards in weighted.items()
            }
        first, *others = weighted.values()
        return Scores(rewards=sum(others, start=first), parts=parts)
