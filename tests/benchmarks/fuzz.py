"""The long fuzzing of the Countdown grader: `python -m tests.benchmarks fuzz MINUTES`.

The property and the responses are those of tests/commands/test_audit.py, which the tests run
for half a minute. The numbers of the last long run are in tests/README.md.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness.tasks.oracle import right
from tests.commands.test_audit import PROMPT, RESPONSES, TAGGED

ROUND = 2_000


@dataclass
class Found:
    """Counts of a run."""

    responses: int = 0
    characters: int = 0
    correct: int = 0
    formatted: int = 0
    differing: int = 0
    slowest_s: float = 0.0

    def count(self, response: str, finished: bool) -> None:
        """Grade one response, by the grader and by the oracle."""
        begun = time.process_time()
        grade = TAGGED.grade(PROMPT, response, finished)
        self.slowest_s = max(self.slowest_s, time.process_time() - begun)
        self.responses += 1
        self.characters += len(response)
        self.correct += grade.correct
        self.formatted += grade.formatted
        self.differing += grade.correct != right(TAGGED, PROMPT.answer, response, finished)


def main(arguments: Sequence[str]) -> int:
    """Fuzz for so many minutes; returns the exit code."""
    minutes = float(arguments[0]) if arguments else 10.0
    found, begun, rounds = Found(), time.monotonic(), 0
    while time.monotonic() - begun < 60 * minutes:
        run = settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(response=RESPONSES, finished=st.booleans())(found.count))
        seed(rounds)(run)()
        rounds += 1
    print(found)
    return 1 if found.differing else 0
