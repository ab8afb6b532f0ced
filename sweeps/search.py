"""One variant's search: what is tried next, and what became of it. Knows nothing of Ray.

The journal and the trials' own records are all that there is to know, so that a search continues
from them as if it had never stopped: proposals that have ended stay as they are, failed ones too
(values that do not train are an answer), and those under way are begun again, which resumes them
from their checkpoints.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError, Stopped
from harness.machine import files
from harness.stages import Goal
from harness.tracking import Names, Tracking, record
from harness.tracking.record import LOCK, Record, Status
from harness.tracking.writer import Writer
from harness.trial import LOCK_WAIT_S, clear
from sweeps.journal import Attempt, Ended, Journal, Proposed, State
from sweeps.outcome import original, unnamed
from sweeps.proposals import Known, known_to, proposal
from sweeps.space import Dimension

NOT_TOLD = "its process ended by itself or was killed"


def by_scheduler(progress: float) -> str:
    """Why a trial ended early."""
    return f"by the scheduler at {progress:.0%} of the budget"


@dataclass
class Search:
    """The trials of one variant.

    Attributes:
        compose: values -> the trial's config.
        runs: absolute output folder.
        started: number -> config, of the trials that this process has begun.
    """

    journal: Journal
    variant: str
    space: Sequence[Dimension]
    compose: Callable[[Mapping[str, str]], TrialConfig]
    runs: Path
    tracking: Tracking
    started: dict[int, TrialConfig] = field(default_factory=dict)

    @property
    def attempt(self) -> Attempt:
        """The newest attempt."""
        return self.journal.attempts[-1]

    @property
    def left(self) -> list[int]:
        """Numbers of the trials that have neither ended nor been begun by this process."""
        ended = {number for variant, number in self.attempt.ended if variant == self.variant}
        return [
            n for n in range(self.attempt.opened.trials) if n not in ended and n not in self.started
        ]

    def next(self) -> int | None:
        """The trial to begin now; its config is in `started`.

        Returns:
            None where there is none, or none yet: TPE may have to wait for the trials before it.
        """
        for number in self.left:
            key = self.variant, number
            if key not in self.attempt.proposed and not self._propose(number):
                return None
            made = self.attempt.proposed[key]
            if self.attempt.first(made.trial) != key:
                self._ended(number, State.REPEATED, None, "")
                continue
            try:
                self.started[number] = self.compose(made.values)
            except ConfigError as error:  # each value is valid, all of them together are not
                self._ended(number, State.FAILED, None, str(error))
                continue
            if self.started[number].fresh:
                clear(self.started[number])
            return number
        return None

    def stop(self, number: int) -> None:
        """The scheduler ends a trial now; written down before the trial is told."""
        self._ended(number, State.STOPPED, self.record(number), "")

    def end(self, number: int, failed: bool) -> None:
        """A trial's process has ended; one that was only interrupted is left for the next time."""
        found = self.record(number)
        if (self.variant, number) in self.attempt.ended:
            return
        if failed:
            self._ended(number, State.FAILED, found, (found and found.error) or NOT_TOLD)
        elif found is not None and found.finished:
            self._ended(number, State.FINISHED, found, "")

    def settle(self) -> None:
        """Complete what trials could not write whose processes were ended: reason and copy.

        Tune ends a stopped trial's process soon after it is told; several ranks are killed.
        """
        for (variant, number), made in self.attempt.proposed.items():
            found = self.record(number) if variant == self.variant else None
            if found is None:
                continue
            ended = self.attempt.ended.get((variant, number))
            with files.locked(found.folder / LOCK, LOCK_WAIT_S):
                if ended and ended.state is State.STOPPED and found.status is not Status.KILLED:
                    reason = f"{Stopped.__name__}: {by_scheduler(ended.progress)}"
                    Writer(found.folder).end(Status.KILLED, reason)
                names = Names(made.trial, variant, self.journal.path.parent.name)
                self.tracking.publish(found.folder, self.runs, names)

    def record(self, number: int) -> Record | None:
        """The record of a trial that was proposed."""
        made = self.attempt.proposed[self.variant, number]
        return record.read(self.runs / "checkpoints" / made.trial)

    def evaluations(self, number: int) -> list[tuple[float, float]]:
        """(share of the budget, primary metric) of a trial's evaluations so far."""
        found = self.record(number)
        return [] if found is None else list(evaluations(found, self.attempt.opened.metric))

    def _propose(self, number: int) -> bool:
        """Write the next proposal down; False while a trial that it has to know is under way."""
        opened = self.attempt.opened
        known = []
        for earlier in range(known_to(number, opened.searcher, opened.at_once)):
            ended = original(self.attempt, (self.variant, earlier))
            if ended is None:
                return False
            if (ended.variant, ended.number) == (self.variant, earlier):  # no repetition
                values = self.attempt.proposed[self.variant, earlier].values
                result = None if ended.value is None else float(ended.value)
                known.append(Known(values, ended.state, result, ended.progress))
        args = (self.space, opened.searcher, opened.goal, opened.seed, number, known)
        values = proposal(*args)
        self.journal.add(Proposed(self.variant, number, values, self._name(number, values)))
        return True

    def _name(self, number: int, values: Mapping[str, str]) -> str:
        """Of the trial; one that cannot be composed has none."""
        try:
            return trial_name(self.compose(values))
        except ConfigError:
            return unnamed(self.variant, number)

    def _ended(self, number: int, state: State, found: Record | None, reason: str) -> None:
        opened = self.attempt.opened
        seen = [] if found is None else list(evaluations(found, opened.metric))
        progress, value = seen[-1] if seen else (0.0, None)
        if opened.best and seen:
            pick = max if opened.goal is Goal.MAX else min
            progress, value = pick(seen, key=lambda each: each[1])
        last = found.steps[found.last].metrics if found is not None and found.steps else {}
        self.journal.add(
            Ended(
                variant=self.variant,
                number=number,
                state=state,
                value=value,
                progress=progress,
                updates=last.get("budget/updates", 0.0),
                tokens=last.get("budget/tokens", 0.0),
                reason=reason,
            )
        )


def evaluations(found: Record, metric: str) -> Iterator[tuple[float, float]]:
    """(share of the budget, value) of each trained step at which a metric was finite."""
    budget = found.config.get("budget", {})
    unit, amount = f"budget/{budget.get('unit')}", float(budget.get("amount", math.inf))
    for step, made in sorted(found.steps.items()):
        value = made.metrics.get(metric, math.nan)
        if step > 0 and math.isfinite(value):
            yield min(1.0, made.metrics.get(unit, 0.0) / amount), value
