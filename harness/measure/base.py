"""The base model's evaluation, made once for all trials that would make the same.

Variants at one seed begin with one model, and what is measured of it before training is the same to
the last bit. It is made in pieces, each kept on disk with who made it. Trials that want the same at
the same time make different pieces of it. None waits for another: waiting would hold a slot for as
long as making takes, and may have no end. What is left when all else is being made is made twice,
and the first one's counts.
"""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config import digest
from harness.distributed.ranks import Ranks
from harness.machine import files, shown
from harness.machine.progress import Unit, advance, say, spoken, warn
from harness.tracking.record import LOCK, inside

# Where evaluations of base models are kept, in the runs folder.
HOME = "base_evaluations"
# The metric that says what of an evaluation others had made, and the fact that says who.
SHARED_S, FACT = "timing_s/testing_shared", "base_evaluation"
# The lock is held while a file is written.
LOCK_WAIT_S = 30.0

Content = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of an evaluation that is made on its own.

    Attributes:
        name: within the evaluation.
        prompts: that it is about.
        responses: how much work it is.
        make: makes it: plain data, `metrics` and `table` of all prompts or `right` of each.
    """

    name: str
    prompts: int
    responses: int
    make: Callable[[], Content]

    def fits(self, content: Any) -> bool:
        """Whether that may be what was made."""
        if not isinstance(content, dict):
            return False
        metrics, table = content.get("metrics", {}), content.get("table", {})
        columns = [content["right"]] if "right" in content else []
        if not isinstance(metrics, dict) or not isinstance(table, dict):
            return False
        columns += table.values()
        numbers = all(type(x) in (int, float) and math.isfinite(x) for x in metrics.values())
        whole = all(isinstance(c, list) and len(c) == self.prompts for c in columns)
        return numbers and whole and bool(columns)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A piece as it is kept.

    Attributes:
        key: of the evaluation; piece: name of the part.
        trial, record: who made it, and the id of its record.
        seconds: that it took.
    """

    key: str
    piece: str
    trial: str
    record: str
    seconds: float
    content: Content


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The pieces of one evaluation on disk.

    Attributes:
        runs: the runs folder.
        key: digest of all that the evaluation's numbers depend on.
        trial, record: who asks, and the id of its record.
        learn: told where the numbers come from.
    """

    runs: Path
    key: str
    trial: str
    record: str
    ranks: Ranks
    learn: Callable[[Mapping[str, str]], None]

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.runs / HOME / self.key[:16]

    def made(self, pieces: Sequence[Piece]) -> tuple[dict[str, Content], float]:
        """All pieces by name, in their order, and the seconds that others spent on them.

        Those that are not there, or not as they were written, are made; all ranks call it.
        """
        left, found = {piece.name: piece for piece in pieces}, dict[str, Made]()
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
        while left:
            name = self.ranks.agreed(self._next(list(left)) if self.ranks.first else "")
            found[name] = self._had(left.pop(name))
        others = [made for made in found.values() if made.record != self.record]
        shared = math.fsum(made.seconds for made in others)
        if others and self.ranks.first:
            names = sorted({shown.line(made.trial) for made in others})
            say(
                f"the base's evaluation: {len(others)} of {len(found)} parts are those of "
                f"{', '.join(names)}, which took {spoken(shared)}"
            )
        self.learn({FACT: json.dumps({"key": self.key, "made_by": _makers(found.values())})})
        return {piece.name: found[piece.name].content for piece in pieces}, shared

    def _next(self, names: Sequence[str]) -> str:
        """The first that nobody is making; else the first."""
        return next((name for name in names if not files.held(self._claim(name))), names[0])

    def _had(self, piece: Piece) -> Made:
        """The piece as it is on disk, where it is now put if it was not there."""
        there = self.ranks.agreed(self._read(piece) if self.ranks.first else None)
        if there is not None:
            advance(Unit.RESPONSES, piece.responses)
            return there
        began = time.perf_counter()
        with _claimed(self._claim(piece.name)) if self.ranks.first else nullcontext():
            content = piece.make()
        made = Made(
            key=self.key,
            piece=piece.name,
            trial=self.trial,
            record=self.record,
            seconds=time.perf_counter() - began,
            content=content,
        )
        return self.ranks.agreed(self._written(piece, made) if self.ranks.first else made)

    def _read(self, piece: Piece) -> Made | None:
        """What is kept of a piece; None, and a line that says why, where that is not sound."""
        made, reason = self._kept(piece)
        if reason:
            path = self._path(piece.name)
            warn(f"{path} {reason}: this part of the base's evaluation is made again")
        return made

    def _kept(self, piece: Piece) -> tuple[Made | None, str]:
        """What is kept of a piece; None where nothing is, or, with the reason, nothing sound."""
        path = self._path(piece.name)
        if not os.path.lexists(path):
            return None, ""
        made, reason = _sound(path, self.folder)
        if made is not None and (made.key, made.piece) != (self.key, piece.name):
            reason = "is another evaluation's"
        elif made is not None and not piece.fits(made.content):
            reason = "does not hold what it should"
        return (None if reason else made), reason

    def _written(self, piece: Piece, made: Made) -> Made:
        """Keep a piece, unless somebody has done so meanwhile; what is kept then counts."""
        path, plain = self._path(piece.name), asdict(made)
        text = json.dumps({**plain, "sha256": digest(plain)})
        with files.locked(self.folder / LOCK, LOCK_WAIT_S):
            there, _ = self._kept(piece)
            if there is not None:
                return there
            if path.is_dir():  # which no file replaces
                files.remove(path)
            files.write(path, text.encode())
        # As JSON gives it back: what is made now and what is found later are the same.
        return Made(**json.loads(json.dumps(plain)))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _claim(self, name: str) -> Path:
        return self.folder / f"{name}.lock"


def _makers(found: Iterable[Made]) -> list[dict[str, Any]]:
    """Who made how many of some pieces, and how long that took."""
    by: dict[tuple[str, str], list[float]] = {}
    for made in found:
        by.setdefault((made.trial, made.record), []).append(made.seconds)
    return [
        {"trial": trial, "record": record, "parts": len(s), "seconds": round(math.fsum(s), 3)}
        for (trial, record), s in sorted(by.items())
    ]


def _sound(path: Path, folder: Path) -> tuple[Made | None, str]:
    """What a file holds, or why it cannot be what was written."""
    if not inside(path, folder):
        return None, "is no file of its folder"
    try:
        plain = json.loads(path.read_bytes())
        written = plain.pop("sha256")
        made = Made(**plain)
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None, "cannot be read"  # cut, no JSON, or that of something else
    words = (made.key, made.piece, made.trial, made.record)
    typed = type(made.seconds) is float and all(type(word) is str for word in words)
    if digest(plain) != written or not typed:
        return None, "is not what was written"
    return made, ""


@contextmanager
def _claimed(lock: Path) -> Iterator[None]:
    """Tell others that this is being made; the lock ends with the process, however it ends."""
    with lock.open("w") as handle:
        with suppress(BlockingIOError):  # whoever makes it as well
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    lock.unlink(missing_ok=True)
