"""Checkpoints of a trial: `step_N` to resume from, `best` and `final` to use.

`step_N` is in the format of torch.distributed.checkpoint: every rank writes its own shards, and
any number of ranks can read them. `best` and `final` are in Hugging Face format, with the
tokenizer. Each is written under a temporary name and renamed; a damaged `step_N` is passed over.
"""

import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException

from harness.distributed.ranks import Ranks
from harness.errors import CheckpointError
from harness.learner.policy import Policy
from harness.machine.files import replacing, temporary_name

STATE, DIGESTS, RESULT = "state.pt", "digests.json", "result.json"
# What writing can raise: the disk, torch's writers, the collective one, safetensors.
FAILURES = (OSError, RuntimeError, CheckpointException, SafetensorError)


def save(folder: Path, tensors: Mapping[str, Any], plain: Mapping[str, Any], ranks: Ranks) -> None:
    """Write one checkpoint to resume from; all ranks call it.

    Args:
        tensors: nested dictionaries of this rank's shards.
        plain: what else the next step depends on; the first rank's is written.

    Raises:
        CheckpointError: it could not be written; those that there are, are as they were.
    """
    with _written(folder, ranks) as temporary:
        with _no_word_of_one_rank():
            state_dict_saver.save(dict(tensors), checkpoint_id=temporary, no_dist=ranks.count == 1)
        if ranks.first:
            buffer = io.BytesIO()
            torch.save(dict(plain), buffer)
            (temporary / STATE).write_bytes(buffer.getvalue())
        digests = _digests(temporary, ranks)
        if ranks.first:
            (temporary / DIGESTS).write_text(json.dumps(digests))


def export(
    folder: Path, policy: Policy, tokenizer: Any, result: Mapping[str, float] | None = None
) -> None:
    """Write the policy in Hugging Face format; all ranks call it.

    Args:
        result: last metrics of the trial, for `final`: their presence says that it is finished.

    Raises:
        CheckpointError: it could not be written.
    """
    ranks = policy.layout.ranks
    with _written(folder, ranks) as temporary:
        policy.export(temporary)
        if ranks.first:
            tokenizer.save_pretrained(temporary)
            if result is not None:
                (temporary / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True))


def final_result(folder: Path) -> dict[str, float] | None:
    """Last metrics of a finished trial, or None when it is not finished."""
    path = folder / "final" / RESULT
    return json.loads(path.read_text()) if path.is_file() else None


def latest(folder: Path, ranks: Ranks) -> Path | None:
    """The newest whole `step_N`, or None when there is none; all ranks call it."""
    for path in reversed(ranks.agreed(_steps(folder))):
        if _whole(path, ranks):
            return path
    return None


def load(path: Path, tensors: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Fill `tensors` from a checkpoint, in place; returns its plain state.

    Raises:
        CheckpointError: it is of another model.
    """
    try:
        with _no_word_of_one_rank():
            state_dict_loader.load(tensors, checkpoint_id=path, no_dist=ranks.count == 1)
    except (CheckpointException, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {path} does not fit this model ({_reason(error)}); it is another model's: "
            f"start over with fresh=true"
        ) from error
    plain: dict[str, Any] = torch.load(path / STATE, weights_only=True)
    return plain


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` of `step_N`."""
    for path in _steps(folder)[:-keep]:
        shutil.rmtree(path)


@contextmanager
def _written(folder: Path, ranks: Ranks) -> Iterator[Path]:
    """A temporary folder for all ranks that replaces `folder` if the block ends well on each."""
    replaced = replacing(folder) if ranks.first else nullcontext(temporary_name(folder))
    with _named(folder), replaced as temporary:
        ranks.agreed(None)  # the folder is there
        failure = None
        try:
            yield temporary
        except FAILURES as error:
            failure = error
        reasons = ranks.gathered(None if failure is None else _reason(failure))
        found = [f"rank {i}: {reason}" for i, reason in enumerate(reasons) if reason]
        if found:
            raise _UnwrittenError("; ".join(found)) from failure
    ranks.agreed(None)  # it is in its place


@contextmanager
def _no_word_of_one_rank() -> Iterator[None]:
    """torch warns that without a process group it takes the ranks to be one. They are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


class _UnwrittenError(Exception):
    """Some rank could not write."""


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (_UnwrittenError, *FAILURES) as error:
        raise CheckpointError(
            f"checkpoint {folder} could not be written ({_reason(error)}); the ones before it are "
            f"as they were: make room and run the same command again, which resumes from the last"
        ) from error


def _reason(error: BaseException) -> str:
    """The cause in one line; of a collective failure the first rank's that failed."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200]


def _digests(folder: Path, ranks: Ranks) -> dict[str, str]:
    """sha256 of every file, each worked out by one of the ranks."""
    names = ranks.agreed(sorted(path.name for path in folder.iterdir() if path.name != DIGESTS))
    own = {name: _sha256(folder / name) for name in names[ranks.rank :: ranks.count]}
    return {name: digest for part in ranks.gathered(own) for name, digest in part.items()}


def _whole(folder: Path, ranks: Ranks) -> bool:
    try:
        digests = json.loads((folder / DIGESTS).read_text())
        files = isinstance(digests, dict) and all((folder / name).is_file() for name in digests)
    except (OSError, ValueError):  # not there, cut, or never JSON
        files, digests = False, {}
    return all(ranks.gathered(files)) and digests == _digests(folder, ranks)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*"), key=lambda path: int(path.name.removeprefix("step_")))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
