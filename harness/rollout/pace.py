"""How much of a call's responses is sampled: told block by block, as one call may take minutes."""

from collections.abc import Sequence
from typing import Any

import torch

from harness.machine.progress import Unit, advance


class Pace:
    """Counts the positions that pass through a model's blocks, and reports them as responses.

    A call is planned with all responses at full length; what ends early is done at once. Of a
    model that does not name its blocks a call is reported as a whole.
    """

    def __init__(self, blocks: Sequence[torch.nn.Module]) -> None:
        self.blocks = len(blocks)
        self.each = 0.0
        self.open = 0.0
        for block in blocks:
            block.register_forward_hook(self._passed)

    def plan(self, responses: int, prompts: int, response: int) -> None:
        """The next call samples so many responses.

        Args:
            prompts, response: positions that are read of prompts, and written at most.
        """
        self.open = float(responses)
        self.each = responses / (prompts + response)

    def spare(self, positions: int) -> None:
        """So many positions will not be needed."""
        self._report(positions * self.each)

    def finish(self) -> None:
        """Every response has ended."""
        self._report(self.open)
        self.each = 0.0

    def _passed(self, block: torch.nn.Module, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        self._report(hidden.shape[0] * hidden.shape[1] * self.each / self.blocks)

    def _report(self, responses: float) -> None:
        responses = min(responses, self.open)
        self.open -= responses
        advance(Unit.RESPONSES, responses)
