"""Which job is started next: fresh ones in their order, failed ones again after a while.

    wait before the k-th retry of a job = min(retry_seconds 2^(k-1), RETRY_LIMIT_S)

A failure that is certain to come again is not retried: a trial repeats itself to the last bit.
Clocks are monotonic.
"""

import time
from collections import deque
from dataclasses import dataclass, field

from harness.config import RETRY_LIMIT_S
from harness.errors import (
    CollapsedError,
    ConfigError,
    ContractError,
    DivergedError,
    PlugInError,
)

# What a trial does again on the same numbers. What a plug-in raises may be of another cause.
CERTAIN = (ConfigError, ContractError, DivergedError, CollapsedError)


@dataclass(frozen=True)
class Failure:
    """A trial that failed for good."""

    trial: str
    reason: str


@dataclass(frozen=True)
class Start:
    """A job to be started.

    Attributes:
        wait_s: before it begins.
        attempt: from 1.
    """

    job: int
    wait_s: float
    attempt: int


@dataclass(frozen=True)
class _Again:
    """A failed job that waits."""

    job: int
    due: float


@dataclass
class Retries:
    """The jobs of a sweep that are not yet done with.

    Attributes:
        count: of jobs.
        most: retries of each.
        first_s: wait before a job's first retry.
        fail_fast: nothing is started any more once a job has failed for good.
    """

    count: int
    most: int
    first_s: float
    fail_fast: bool = False
    stopped: bool = False
    fresh: deque[int] = field(init=False)
    again: list[_Again] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)
    open: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.fresh = deque(range(self.count))
        self.open = set(range(self.count))

    @property
    def over(self) -> bool:
        """Whether there is nothing to start now, and will be nothing."""
        return self.stopped or not self.open

    def next(self) -> Start | None:
        """A failed job that is due, else a fresh one, else a failed one that has to wait."""
        if self.over:
            return None
        now = time.monotonic()
        first = min(self.again, key=lambda again: again.due, default=None)
        if first is not None and (first.due <= now or not self.fresh):
            self.again.remove(first)
            wait_s = max(0.0, first.due - now)
            return Start(first.job, wait_s, self.failures[first.job] + 1)
        return Start(self.fresh.popleft(), 0.0, 1) if self.fresh else None

    def finished(self, job: int) -> None:
        """A job has come to its end."""
        self.open.discard(job)

    def failed(self, job: int, certain: bool) -> float | None:
        """Seconds after which a job that has failed is started again; None: it has for good."""
        count = self.failures[job] = self.failures.get(job, 0) + 1
        if certain or count > self.most:
            self.open.discard(job)
            self.stopped |= self.fail_fast
            return None
        wait_s = min(self.first_s * 2.0 ** (count - 1), RETRY_LIMIT_S)
        self.again.append(_Again(job, time.monotonic() + wait_s))
        return wait_s


def certain(error: BaseException | None) -> bool:
    """Whether a trial that is started again would fail in the same way."""
    return isinstance(error, CERTAIN) and not isinstance(error, PlugInError)
