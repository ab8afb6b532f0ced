"""Checkpoints of a trial: `step_N` to resume from, `best` and `final` to use.

`step_N` is in the format of torch.distributed.checkpoint: every rank writes its own shards, and
any number of ranks can read them. `best` and `final` are in Hugging Face format, with the
tokenizer. Each is written under a temporary name and renamed, with digests of its files; a damaged
`step_N` is passed over, a damaged `best` or `final` is written again from a `step_N` before it.
"""

import io
import json
import logging
import pickle
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException

from harness.distributed.ranks import ALONE, Ranks
from harness.errors import CheckpointError
from harness.learner import storage
from harness.learner.policy import Policy
from harness.machine import digests, files
from harness.models.tokens import Tokens

log = logging.getLogger(__name__)

STATE, RESULT, HIGHEST = "state.pt", "result.json", "best.json"
ACCURACY = "accuracy"
BEST, FINAL = "best", "final"
# Without these a folder is no checkpoint, whatever its digests say.
STEP_FILES, MODEL_FILES = (STATE, storage.INDEX), ("config.json", HIGHEST)
# The only names that are resumed from and pruned: copies beside them are the user's.
STEP = re.compile(r"step_(0|[1-9][0-9]*)", re.ASCII)
# What writing can raise: the disk, torch's writers, the collective one, safetensors.
FAILURES = (OSError, RuntimeError, CheckpointException, SafetensorError)


@dataclass(frozen=True)
class Step:
    """A whole `step_N`, and its plain state."""

    path: Path
    plain: dict[str, Any]


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


def export(
    folder: Path,
    policy: Policy,
    tokens: Tokens,
    best: float,
    result: Mapping[str, float] | None = None,
) -> None:
    """Write the policy in Hugging Face format; all ranks call it.

    Args:
        best: highest accuracy up to now: it tells which evaluation `best` is of, and which `best`
            goes with `final`.
        result: last metrics of the trial, for `final`: their presence says that it is finished.

    Raises:
        CheckpointError: it could not be written.
    """
    ranks = policy.layout.ranks
    with _written(folder, ranks) as temporary:
        policy.export(temporary)
        if ranks.first:
            tokens.save(temporary)
            (temporary / HIGHEST).write_text(json.dumps({ACCURACY: best}))
            if result is not None:
                (temporary / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True))


def final_result(folder: Path) -> dict[str, float] | None:
    """Last metrics of a finished trial, or None when it is not finished.

    A trial whose `final` or `best` is not what was written is not finished: it is continued from
    where they are made again.
    """
    final = folder / FINAL
    result, best = _numbers(final / RESULT), _numbers(final / HIGHEST)
    if not result or ACCURACY not in best or damage(final):
        return None
    return None if lost_best(folder, best[ACCURACY]) else result


def damage(folder: Path, ranks: Ranks = ALONE) -> str | None:
    """What is wrong with `best` or `final`, or None; all ranks call it."""
    needed = (*MODEL_FILES, RESULT) if folder.name == FINAL else MODEL_FILES
    return digests.damage(folder, needed, ranks)


def lost_best(folder: Path, known: float, ranks: Ranks = ALONE) -> str | None:
    """What is wrong with `best` where an accuracy of `known` has been reached; all ranks call it.

    It may be better: of an evaluation after the checkpoint that is asked for.
    """
    reason = damage(folder / BEST, ranks)
    accuracy = ranks.agreed(_numbers(folder / BEST / HIGHEST).get(ACCURACY))
    if reason or accuracy is None:
        return reason or f"{HIGHEST} says nothing"
    return f"it is of accuracy {accuracy}, not {known}" if accuracy < known else None


def steps(folder: Path, ranks: Ranks) -> Iterator[Step]:
    """The whole `step_N`, the newest first; all ranks call it.

    One that is damaged is passed over, with a line in the log.
    """
    for path in reversed(ranks.agreed(_steps(folder))):
        reason = digests.damage(path, STEP_FILES, ranks)
        plain: dict[str, Any] = {}
        if reason is None:
            plain, unread = _plain(path)
            reason = next((found for found in ranks.gathered(unread) if found), None)
        if reason is None:
            yield Step(path, plain)
        elif ranks.first:
            log.warning("%s is passed over: %s", path, reason)


def load(path: Path, tensors: dict[str, Any], ranks: Ranks) -> None:
    """Fill `tensors` from a checkpoint, in place.

    Raises:
        CheckpointError: it is of another model.
    """
    try:
        with _no_word_of_one_rank():
            state_dict_loader.load(
                tensors,
                storage_reader=storage.Reader(path),
                planner=storage.Planner(),
                no_dist=ranks.count == 1,
            )
    except (CheckpointException, OSError, RuntimeError, ValueError, pickle.PickleError) as error:
        raise CheckpointError(
            f"checkpoint {path} does not fit this model ({_reason(error)}); it is another model's: "
            f"start over with fresh=true"
        ) from error


def prune(folder: Path, keep: int, newest: Path) -> None:
    """Remove all but the newest `keep` of `step_N` up to this one.

    Those after it were passed over when the trial was continued; they will be written again.
    """
    own = _steps(folder)
    for path in own[: own.index(newest) + 1][:-keep]:
        shutil.rmtree(path)


@contextmanager
def _written(folder: Path, ranks: Ranks) -> Iterator[Path]:
    """A temporary folder for all ranks that replaces `folder` if the block ends well on each."""
    replaced = files.replacing(folder) if ranks.first else nullcontext(files.temporary_name(folder))
    with _named(folder), replaced as temporary:
        ranks.agreed(None)  # the folder is there
        with _on_every_rank(ranks):
            yield temporary
        with _on_every_rank(ranks):
            digests.write(temporary, ranks)
    ranks.agreed(None)  # it is in its place


@contextmanager
def _on_every_rank(ranks: Ranks) -> Iterator[None]:
    """A block that has failed if it has failed on any rank."""
    failure = None
    try:
        yield
    except FAILURES as error:
        failure = error
    reasons = ranks.gathered(None if failure is None else _reason(failure))
    found = [f"rank {i}: {reason}" for i, reason in enumerate(reasons) if reason]
    if found:
        raise _UnwrittenError("; ".join(found)) from failure


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


def _numbers(path: Path) -> dict[str, float]:
    """Numbers by name; none where the file is not there or holds something else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    numbers = isinstance(found, dict) and all(type(x) in (int, float) for x in found.values())
    return found if numbers else {}


def _plain(path: Path) -> tuple[dict[str, Any], str | None]:
    """The plain state of a `step_N`, and why it or the index of the tensors cannot be read."""
    try:
        storage.index(path / storage.INDEX)
        plain = torch.load(path / STATE, weights_only=True)
    except Exception as error:  # a damaged or crafted file may raise anything
        return {}, f"it cannot be read ({_reason(error)})"
    return (plain, None) if isinstance(plain, dict) else ({}, f"{STATE} holds no state")


def _steps(folder: Path) -> list[Path]:
    """Real folders by the name of `step_N`, in their order; copies and links are not ours."""
    try:
        there = [p for p in folder.iterdir() if STEP.fullmatch(p.name)]
        own = [p for p in there if p.is_dir() and not p.is_symlink()]
    except OSError:  # no such folder
        return []
    return sorted(own, key=lambda path: int(path.name.removeprefix("step_")))
