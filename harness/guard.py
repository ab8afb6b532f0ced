"""When a trial is warned of, or ended, before its budget is spent."""

from dataclasses import dataclass
from enum import Enum

from harness import checks


class OnCollapse(Enum):
    """What is done about a trial that has nothing left to learn from."""

    WARN = "warn"
    STOP = "stop"
    OFF = "off"


@dataclass(frozen=True)
class Guard:
    """When a trial is warned of, or ended, before its budget is spent. It changes no number.

    Attributes:
        stall_seconds: a trial in which nothing gets on for so long (nothing sampled, graded, learnt
            or loaded) is ended with the place where it stands; null never does.
        collapse: warn, once for each sign in trial.log, record and terminal; stop ends the trial as
            failed; off.
        collapse_steps: that a sign must last.
        entropy_floor: nats per token; below it the policy says one thing only.
    """

    stall_seconds: float | None = 1800.0
    collapse: OnCollapse = OnCollapse.WARN
    collapse_steps: int = 10
    entropy_floor: float = 0.001

    def __post_init__(self) -> None:
        checks.above("guard.stall_seconds", self.stall_seconds, 0)
        checks.seconds("guard.stall_seconds", self.stall_seconds)
        checks.at_least("guard.collapse_steps", self.collapse_steps, 1)
        checks.at_least("guard.entropy_floor", self.entropy_floor, 0)
