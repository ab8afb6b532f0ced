"""Countdown in which search is learnt: searchers with skills of known shares wrote the traces.

Beside harness.tasks.countdown it changes who writes the warm-up traces.
"""

from dataclasses import dataclass, field

from harness.tasks.countdown import Countdown
from harness.tasks.searchers import Searchers, SearcherWriter


@dataclass(frozen=True)
class CountdownSearch(Countdown):
    """Countdown problems whose warm-up traces are written by a mixture of searchers.

    Attributes:
        persona: the searchers and their shares.
    """

    persona: Searchers = field(default_factory=Searchers)

    def writer(self) -> SearcherWriter:
        return SearcherWriter(self.operators, self.persona)
