"""Write a trial's record: every step is seen to the disk before the next one is made."""

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.machine import files, shown
from harness.tracking.record import RECORD, TABLES, Status, read


class Writer:
    """Appends to a trial's record; its owner holds the trial's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / RECORD
        if path.exists():  # a line that a kill cut off
            whole = path.read_bytes().rpartition(b"\n")
            os.truncate(path, len(whole[0]) + len(whole[1]))
        before = read(folder)
        self.id = before.id if before else secrets.token_hex(8)
        self.last = before.last if before else -1
        self.warned = set(before.warnings) if before else set()

    def start(self, facts: Mapping[str, str], seal: str) -> None:
        """An attempt begins, planned by the manifest of that seal."""
        self._append("start", id=self.id, seal=seal, facts=dict(facts))

    def learn(self, facts: Mapping[str, str]) -> None:
        """What was found out of where the numbers come from, beside the attempt's own facts."""
        self._append("facts", facts=dict(facts))

    def step(self, step: int, metrics: Mapping[str, float]) -> int:
        """One step, all or nothing; returns its time in ms since 1970."""
        time_ms = self._append("step", step=step, metrics=dict(metrics))
        self.last = step
        return time_ms

    def warn(self, step: int, sign: str, words: str) -> bool:
        """A sign that something is wrong, which is kept once; whether it is new."""
        if sign in self.warned:
            return False
        self._append("warning", step=step, sign=sign, words=words)
        self.warned.add(sign)
        return True

    def end(self, status: Status, error: str = "") -> None:
        """The attempt ends."""
        line = " ".join(error.split())
        self._append("end", status=status.value, error=line, last=self.last)

    def accept(self, identity: str, changes: Sequence[str]) -> None:
        """A finished result is kept although what it was made of has changed."""
        self._append("accept", identity=identity, changes=list(changes))

    def table(self, step: int, table: Mapping[str, Sequence[Any]]) -> None:
        """Per-prompt results of an evaluation; the table of a step is written before the step."""
        columns = list(table)
        rows = [[_storable(x) for x in row] for row in zip(*table.values(), strict=True)]
        name = f"{TABLES}/step_{step:06d}.json"
        self.text(name, json.dumps({"columns": columns, "data": rows}))

    def text(self, name: str, text: str) -> None:
        """A file of the record, whole or not at all."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        files.write(path, text.encode(errors="backslashreplace"))

    def _append(self, event: str, **content: Any) -> int:
        time_ms = int(time.time() * 1000)
        line = json.dumps({"event": event, "time_ms": time_ms, **content})
        files.append(self.folder / RECORD, line.encode() + b"\n")
        return time_ms


def _storable(value: Any) -> Any:
    """A cell that every file and frame can hold."""
    return shown.storable(value) if isinstance(value, str) else value
