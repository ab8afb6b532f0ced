"""Checkpoints: the newest whole one is found whatever a crash or a disk left behind."""

import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout
from harness.errors import CheckpointError
from harness.learner import checkpoint
from harness.learner.policy import Policy
from harness.models.loading import Source


@pytest.fixture(scope="module")
def policy(source: Source) -> Policy:
    return Policy(source.model(), 1.0, Layout(100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three whole checkpoints; by name step_10 would stand before step_2 and step_9."""
    for step in (2, 9, 10):
        saved(tmp_path / f"step_{step}", step)
    return tmp_path


def saved(folder: Path, step: int) -> None:
    tensors = {"policy": {"weights": torch.arange(500.0) * step}}
    checkpoint.save(folder, tensors, {"step": step}, ALONE)


def found(folder: Path) -> int | None:
    newest = checkpoint.latest(folder, ALONE)
    if newest is None:
        return None
    tensors = {"policy": {"weights": torch.zeros(500)}}
    plain = checkpoint.load(newest, tensors, ALONE)
    assert torch.equal(tensors["policy"]["weights"], torch.arange(500.0) * plain["step"])
    return int(plain["step"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def shard(step: Path) -> Path:
    (only,) = step.glob("*.distcp")
    return only


DAMAGES: dict[str, Callable[[Path], object]] = {
    "shard of another bit": lambda step: flip(shard(step)),
    "shard without its end": lambda step: truncate(shard(step)),
    "no shard": lambda step: shard(step).unlink(),
    "no metadata": lambda step: (step / ".metadata").unlink(),
    "state of another bit": lambda step: flip(step / checkpoint.STATE),
    "state without its end": lambda step: truncate(step / checkpoint.STATE),
    "empty state": lambda step: (step / checkpoint.STATE).write_bytes(b""),
    "no state": lambda step: (step / checkpoint.STATE).unlink(),
    "no digest": lambda step: (step / checkpoint.DIGESTS).unlink(),
    "empty digest": lambda step: (step / checkpoint.DIGESTS).write_bytes(b""),
    "digest without its end": lambda step: truncate(step / checkpoint.DIGESTS),
    "digest of random bytes": lambda step: (step / checkpoint.DIGESTS).write_bytes(b"\xff" * 64),
    "empty folder": lambda step: [path.unlink() for path in step.iterdir()],
    "never renamed": lambda step: step.rename(step.with_name(f".{step.name}.new")),
    "renamed away": lambda step: step.rename(step.with_name(f".{step.name}.old")),
    "a file": lambda step: (shutil.rmtree(step), step.write_text("")),
}


def test_the_newest_is_found(folder: Path) -> None:
    assert found(folder) == 10


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_passed_over(folder: Path, damage: str) -> None:
    DAMAGES[damage](folder / "step_10")
    assert found(folder) == 9
    DAMAGES[damage](folder / "step_9")
    assert found(folder) == 2
    DAMAGES[damage](folder / "step_2")
    assert found(folder) is None


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert found(tmp_path) is None
    assert found(tmp_path / "absent") is None


def test_saving_again_replaces(folder: Path) -> None:
    saved(folder / "step_10", 11)
    assert found(folder) == 11


@pytest.mark.parametrize(
    ("keep", "left"),
    [(1, {"step_10"}), (2, {"step_9", "step_10"}), (3, {"step_2", "step_9", "step_10"})],
)
def test_prune_keeps_the_newest_by_number(folder: Path, keep: int, left: set[str]) -> None:
    (folder / "best").mkdir()
    checkpoint.prune(folder, keep)
    assert {path.name for path in folder.iterdir()} == left | {"best"}
    checkpoint.prune(folder, 9)
    assert {path.name for path in folder.iterdir()} == left | {"best"}


def test_a_checkpoint_of_another_model_is_refused_in_one_line(folder: Path) -> None:
    for other in ({"weights": torch.zeros(400)}, {"other": torch.zeros(500)}):
        with pytest.raises(CheckpointError, match="another model") as refusal:
            checkpoint.load(folder / "step_10", {"policy": other}, ALONE)
        assert "\n" not in str(refusal.value)


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(folder: Path) -> None:
    """The limit of a file's size stands in for the disk's: both fail in the middle of a write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(CheckpointError, match=r"File too large.*make room") as refusal:
            saved(folder / "step_11", 11)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(refusal.value)
    assert found(folder) == 10
    assert not list(folder.glob(".*"))
    saved(folder / "step_11", 11)
    assert found(folder) == 11


def test_final_result_says_that_the_trial_is_finished(
    folder: Path, policy: Policy, tokenizer: Any
) -> None:
    assert checkpoint.final_result(folder) is None
    (folder / "final").mkdir()  # half-written: no result in it
    assert checkpoint.final_result(folder) is None
    result = {"eval/accuracy": 0.1 + 0.2, "actor/lr": 1e-300}
    checkpoint.export(folder / "final", policy, tokenizer, result)
    assert checkpoint.final_result(folder) == result  # to the bit
    assert_loads(folder / "final", policy.module.model)
    assert found(folder) == 10


def assert_loads(folder: Path, model: Any) -> None:
    """The folder is a Hugging Face model with the same weights."""
    loaded = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded[name], parameter)
    assert AutoTokenizer.from_pretrained(folder)("Q7 8")["input_ids"] == [24, 9, 19, 10]
