"""Countdown in which search is learnt: searchers with skills of known shares wrote the traces.

Beside harness.tasks.countdown it changes who writes the warm-up traces, and reads back from
responses whose they are.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import ConfigError
from harness.maths import streams
from harness.prompts import Behaviour, Prompt
from harness.tasks.countdown import Countdown
from harness.tasks.courses import course
from harness.tasks.searchers import Searchers, SearcherWriter, marked, unmarked
from harness.tasks.strategies import Response, Strategies, strategies
from harness.tasks.templates import Compact

# All expressions over so many numbers are listed: 1,536 over four, 737,280 over six.
MOST_NUMBERS = 4


@dataclass(frozen=True)
class CountdownSearch(Countdown):
    """Countdown problems whose warm-up traces are written by a mixture of searchers.

    Attributes:
        persona: the searchers and their shares.
    """

    counts: list[int] = field(default_factory=lambda: [4])
    target_low: int = 8
    target_high: int = 30
    train_size: int = 8000
    persona: Searchers = field(default_factory=Searchers)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.template, Compact):
            raise ConfigError(
                f"task=countdown_search is written in task/template=compact, received "
                f"{type(self.template).__name__}; other templates: task=countdown"
            )
        if self.source is not None or max(self.counts) > MOST_NUMBERS:
            raise ConfigError(
                f"task=countdown_search makes its own problems of at most {MOST_NUMBERS} numbers, "
                f"received task.counts={self.counts} task.source={self.source}; others: "
                f"task=countdown"
            )

    def writer(self) -> SearcherWriter:
        return SearcherWriter(self.operators, self.persona)

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        return super().behaviour(prompt, unmarked(response))

    def strategies(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Strategies:
        """Which of the planted searchers wrote these responses, by what they say and do."""
        rows = [(p.answer, text) for p, text in zip(prompts, responses, strict=True)]
        read = [
            Response(marked(text), course(text, own.numbers), own.numbers, own.target)
            for own, text in rows
        ]
        return strategies(read, self.writer())

    def best_searcher(self) -> float:
        """Share of the held-out prompts that the best searcher solves, played exactly.

        That is a patient one who steers toward the target and makes no slips.
        """
        best = dataclasses.replace(
            self.persona, patient_share=1.0, toward_share=1.0, away_share=0.0, slip=0.0
        )
        prompts = self.held_out()
        writer = SearcherWriter(self.operators, best)
        draws = max(writer.draws(prompt.answer.numbers) for prompt in prompts)
        items = range(len(prompts))
        u_NK = streams.uniforms(0, "countdown_search/best", 0, items, draws).tolist()
        solved = 0
        for prompt, u_K in zip(prompts, u_NK, strict=True):
            work = writer.write(prompt.answer.numbers, prompt.answer.target, u_K)
            solved += self.grade(prompt, self.template.response(*work), True).correct
        return solved / len(prompts)
