"""Checkpoints of a trial: `step_N` to resume from, `best` and `final` to use.

Each is a folder in Hugging Face format with the tokenizer, written under a temporary name and
renamed; `step_N` holds the trainer's state as well. A truncated one is skipped on resume.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from harness.files import replacing

STATE, DIGEST, RESULT = "state.pt", "state.sha256", "result.json"


def save(folder: Path, model: Any, tokenizer: Any, state: dict[str, Any] | None = None) -> None:
    """Write one checkpoint atomically; with `state` it can be resumed from."""
    with replacing(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if state is not None:
            torch.save(state, temporary / STATE)
            (temporary / DIGEST).write_text(_sha256(temporary / STATE))


def save_final(folder: Path, model: Any, tokenizer: Any, result: dict[str, float]) -> None:
    """Write `final`: its presence says that the trial is finished."""
    with replacing(folder / "final") as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True))


def final_result(folder: Path) -> dict[str, float] | None:
    """Last metrics of a finished trial, or None when it is not finished."""
    path = folder / "final" / RESULT
    return json.loads(path.read_text()) if path.is_file() else None


def latest(folder: Path) -> dict[str, Any] | None:
    """State of the newest whole `step_N`, or None when there is none."""
    for path in reversed(_steps(folder)):
        state, written = path / STATE, path / DIGEST
        if not (state.is_file() and written.is_file()):
            continue
        if written.read_bytes() == _sha256(state).encode():
            loaded: dict[str, Any] = torch.load(state, weights_only=True)
            return loaded
    return None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` of `step_N`."""
    for path in _steps(folder)[:-keep]:
        shutil.rmtree(path)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*"), key=lambda path: int(path.name.removeprefix("step_")))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
