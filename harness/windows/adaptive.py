"""The success window: responses get about as much room as successful ones need.

At every `update_frequency`-th step, with r the success rate's EMA before this step, and L the mean
length of successful responses so far:

    shrink       r >= target + margin and window - L > tolerance
    grow         r <= target - margin
    hold-growth  r >= target, |window - L| <= tolerance, and no change for `hold_steps` steps

In between it stays (a dead band). As in the adaptive seed (Raj-08/TinyZero, adaptive_window.py),
its EMA's correction by the number of samples included. Otherwise than there, an exploring step has
the maximum window and the next one is back; success is exact correctness, whatever the reward is.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from harness import checks
from harness.errors import ConfigError
from harness.maths import streams
from harness.schema import Metric
from harness.types import Outcome


class Mode(Enum):
    """Which successful responses L is taken of."""

    BASIC = "basic"
    ROLLING = "rolling"
    EMA = "ema"


@dataclass
class Adaptive:
    """The controller.

    Attributes:
        initial: first window, in tokens.
        minimum: the shortest window, in tokens.
        maximum: the longest window, in tokens.
        warmup_steps: steps without a decision; after them the window is L, if there is one.
        min_samples: successful responses without which nothing is decided.
        update_frequency: steps between decisions.
        min_change: smaller changes are not made.
        target: success rate that is aimed at.
        margin: half of the dead band around it.
        success_beta: weight of the past in the success rate's EMA.
        growth: tokens by which it is made longer at a time.
        shrink: tokens by which it is made shorter at a time.
        tolerance: distance from L that is no distance.
        hold_steps: steps without a change after which a good window grows.
        mode: L over all (basic), the last `rolling_window` (rolling), or an EMA over steps (ema).
        rolling_window: successful responses that rolling looks back on.
        ema_beta: weight of the past in the EMA of L.
        ema_correction: divide that EMA by 1 - ema_beta^samples.
        epsilon: chance that a step explores with the maximum window.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = {
        "window/success_rate": Metric("1", "share of correct responses in this step"),
        "window/success_rate_ema": Metric("1", "its EMA, this step included"),
        "window/mean_success_length": Metric("tokens", "mean length of successful responses (L)"),
        "window/median_success_length": Metric("tokens", "their median length"),
        "window/std_success_length": Metric("tokens", "standard deviation of their lengths"),
        "window/p95_success_length": Metric("tokens", "their 95th percentile"),
        "window/num_success": Metric("responses", "successful responses that L is taken of"),
        "window/explored": Metric("1", "1 when this step explored with the maximum window"),
    }

    initial: int = 64
    minimum: int = 20
    maximum: int = 128
    warmup_steps: int = 0
    min_samples: int = 10
    update_frequency: int = 5
    min_change: int = 5
    target: float = 0.7
    margin: float = 0.05
    success_beta: float = 0.9
    growth: int = 8
    shrink: int = 8
    tolerance: int = 4
    hold_steps: int = 20
    mode: Mode = Mode.BASIC
    rolling_window: int = 100
    ema_beta: float = 0.98
    ema_correction: bool = True
    epsilon: float = 0.0

    current: int = field(default=0, init=False)
    steps: int = field(default=0, init=False)
    last_change: int = field(default=0, init=False)
    rate_ema: float | None = field(default=None, init=False)
    lengths: list[int] = field(default_factory=list, init=False)
    ema_mean: float = field(default=0.0, init=False)
    ema_variance: float = field(default=0.0, init=False)
    seen: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        checks.at_least("window.minimum", self.minimum, 1)
        checks.at_least("window.update_frequency", self.update_frequency, 1)
        checks.at_least("window.min_samples", self.min_samples, 1)
        checks.at_least("window.rolling_window", self.rolling_window, 1)
        for name in ("warmup_steps", "min_change", "margin", "tolerance", "hold_steps"):
            checks.at_least(f"window.{name}", getattr(self, name), 0)
        checks.at_least("window.growth", self.growth, 0)
        checks.at_least("window.shrink", self.shrink, 0)
        checks.part("window.target", self.target)
        checks.decay("window.success_beta", self.success_beta)
        checks.decay("window.ema_beta", self.ema_beta)
        if not self.minimum <= self.initial <= self.maximum:
            raise ConfigError(
                f"window.initial must be in window.minimum..window.maximum = "
                f"{self.minimum}..{self.maximum}, received {self.initial}"
            )
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"window.epsilon must be in 0..1, received {self.epsilon}")
        self.current = self.initial

    def window(self, seed: int) -> int:
        return self.maximum if self._explores(seed) else self.current

    def _explores(self, seed: int) -> bool:
        u = streams.uniforms(seed, "window/explore", self.steps, [0], 1)[0, 0]
        explores = bool(u < self.epsilon)
        self.seen["window/explored"] = float(explores)
        return explores

    def observe(self, outcome: Outcome) -> None:
        self.steps += 1
        found = outcome.lengths_B[outcome.correct_B].tolist()
        self._remember(found)
        kept = self.lengths[-self.rolling_window :] if self.mode is Mode.ROLLING else self.lengths
        if kept:
            mean, deviation = self._spread(kept)
            self._decide(mean, len(kept))
            self.seen |= {
                "window/mean_success_length": mean,
                "window/std_success_length": deviation,
                "window/median_success_length": float(statistics.median(kept)),
                "window/p95_success_length": _percentile(kept, 0.95),
            }
        rate = len(found) / len(outcome.lengths_B)
        past = self.rate_ema
        self.rate_ema = (
            rate if past is None else self.success_beta * past + (1 - self.success_beta) * rate
        )
        self.seen |= {
            "window/num_success": float(len(kept)),
            "window/success_rate": rate,
            "window/success_rate_ema": self.rate_ema,
        }

    def _remember(self, found: list[int]) -> None:
        if found:
            mean, variance = statistics.fmean(found), statistics.pvariance(found)
            past = self.ema_beta if self.lengths else 0.0
            self.ema_mean = past * self.ema_mean + (1 - past) * mean
            self.ema_variance = past * self.ema_variance + (1 - past) * variance
        self.lengths += found

    def _spread(self, kept: list[int]) -> tuple[float, float]:
        """Mean and standard deviation of the successful lengths."""
        if self.mode is not Mode.EMA:
            return statistics.fmean(kept), statistics.pstdev(kept)
        correction = 1 - self.ema_beta ** len(self.lengths) if self.ema_correction else 1.0
        return self.ema_mean / correction, (self.ema_variance / correction) ** 0.5

    def _decide(self, mean: float, samples: int) -> None:
        if self.warmup_steps and self.steps == self.warmup_steps:
            self.current = round(min(max(mean, self.minimum), self.maximum))
            self.last_change = self.steps
        due = self.steps > self.warmup_steps and self.steps % self.update_frequency == 0
        if not due or samples < self.min_samples or self.rate_ema is None:
            return
        new = min(max(self._wanted(mean, self.rate_ema), self.minimum), self.maximum)
        if abs(new - self.current) >= self.min_change:
            self.current, self.last_change = new, self.steps

    def _wanted(self, mean: float, rate: float) -> int:
        gap = self.current - mean
        if rate >= self.target + self.margin and gap > self.tolerance:
            return self.current - self.shrink
        if rate <= self.target - self.margin:
            return self.current + self.growth
        held = self.steps - self.last_change >= self.hold_steps
        if rate >= self.target and abs(gap) <= self.tolerance and held:
            return self.current + self.growth
        return self.current

    def metrics(self) -> dict[str, float]:
        return dict(self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {
            "current": self.current,
            "steps": self.steps,
            "last_change": self.last_change,
            "rate_ema": self.rate_ema,
            "lengths": list(self.lengths),
            "ema_mean": self.ema_mean,
            "ema_variance": self.ema_variance,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)


def _percentile(values: list[int], share: float) -> float:
    """Linear between the two nearest."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
