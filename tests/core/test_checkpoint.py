"""Checkpoints: the newest whole one is found whatever a crash or a disk left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import checkpoint
from harness.models.loading import Source


@pytest.fixture(scope="module")
def model(source: Source) -> Any:
    return source.model()


@pytest.fixture
def folder(tmp_path: Path, model: Any, tokenizer: Any) -> Path:
    """Three whole checkpoints; by name step_10 would stand before step_2 and step_9."""
    for step in (2, 9, 10):
        state = {"step": step, "weights": torch.arange(500.0) * step}
        checkpoint.save(tmp_path / f"step_{step}", model, tokenizer, state)
    return tmp_path


def found(folder: Path) -> int | None:
    state = checkpoint.latest(folder)
    if state is None:
        return None
    assert torch.equal(state["weights"], torch.arange(500.0) * state["step"])
    return int(state["step"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "state of another bit": lambda step: flip(step / checkpoint.STATE),
    "state without its end": lambda step: truncate(step / checkpoint.STATE),
    "empty state": lambda step: (step / checkpoint.STATE).write_bytes(b""),
    "no state": lambda step: (step / checkpoint.STATE).unlink(),
    "no digest": lambda step: (step / checkpoint.DIGEST).unlink(),
    "empty digest": lambda step: (step / checkpoint.DIGEST).write_bytes(b""),
    "digest without its end": lambda step: truncate(step / checkpoint.DIGEST),
    "digest of random bytes": lambda step: (step / checkpoint.DIGEST).write_bytes(b"\xff" * 64),
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


def test_saving_again_replaces(folder: Path, model: Any, tokenizer: Any) -> None:
    state = {"step": 11, "weights": torch.arange(500.0) * 11}
    checkpoint.save(folder / "step_10", model, tokenizer, state)
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


def test_a_checkpoint_without_state_is_to_use_only(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    checkpoint.save(tmp_path / "best", model, tokenizer)
    assert not (tmp_path / "best" / checkpoint.STATE).exists()
    assert_loads(tmp_path / "best", model)


def test_final_result_says_that_the_trial_is_finished(
    folder: Path, model: Any, tokenizer: Any
) -> None:
    assert checkpoint.final_result(folder) is None
    (folder / "final").mkdir()  # half-written: no result in it
    assert checkpoint.final_result(folder) is None
    result = {"eval/accuracy": 0.1 + 0.2, "actor/lr": 1e-300}
    checkpoint.save_final(folder, model, tokenizer, result)
    assert checkpoint.final_result(folder) == result  # to the bit
    assert_loads(folder / "final", model)
    assert found(folder) == 10


def assert_loads(folder: Path, model: Any) -> None:
    """The folder is a Hugging Face model with the same weights."""
    loaded = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded[name], parameter)
    assert AutoTokenizer.from_pretrained(folder)("Q7 8")["input_ids"] == [24, 9, 19, 10]
