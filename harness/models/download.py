"""A download from the hub, shown as a wait like all others."""

import io
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from harness.machine.progress import Unit, waiting

BYTE = "B"


class Download(tqdm):  # type: ignore[misc]
    """The hub's bar for a file: it draws nothing by itself and passes on what was received."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})
        self.open = ExitStack()
        self.wait = None
        if options.get("unit") == BYTE and self.total:
            words = f"{self.desc}, {self.total / 1e9:.1f} GB"
            self.wait = self.open.enter_context(
                waiting(Unit.BYTES, "downloading", words, self.total)
            )

    def update(self, n: float | None = 1) -> bool | None:
        if self.wait is not None and self.total:
            self.wait.total = self.total  # of several files it grows
            self.wait.advance(n or 0)
        drawn: bool | None = super().update(n)
        return drawn

    def close(self) -> None:
        self.open.close()
        super().close()
