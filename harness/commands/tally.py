"""What an audit counts."""

from dataclasses import dataclass, field

from harness.tasks.adversarial import CORRECT


@dataclass
class Tally:
    """What happened to the responses of one category."""

    cases: int = 0
    accepted: int = 0
    failures: list[str] = field(default_factory=list)

    def count(self, verdict: str, failure: str) -> None:
        self.cases += 1
        self.accepted += verdict == CORRECT
        if failure:
            self.failures.append(failure)
