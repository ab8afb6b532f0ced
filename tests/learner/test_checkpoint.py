"""Checkpoints: the newest whole one is found whatever a crash or a disk left behind."""

import hashlib
import io
import json
import os
import pickle
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
from harness.learner import checkpoint, storage
from harness.learner.policy import Policy
from harness.machine.digests import DIGESTS
from harness.models.loading import Source
from harness.models.tokens import Tokens


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
    newest = next(checkpoint.steps(folder, ALONE), None)
    if newest is None:
        return None
    tensors = {"policy": {"weights": torch.zeros(500)}}
    checkpoint.load(newest.path, tensors, ALONE)
    step = int(newest.plain["step"])
    assert torch.equal(tensors["policy"]["weights"], torch.arange(500.0) * step)
    return step


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
    "garbage state": lambda step: (step / checkpoint.STATE).write_bytes(b"\xff" * 64),
    "foreign state": lambda step: torch.save([1], step / checkpoint.STATE),
    "no digest": lambda step: (step / DIGESTS).unlink(),
    "empty digest": lambda step: (step / DIGESTS).write_bytes(b""),
    "digest without its end": lambda step: truncate(step / DIGESTS),
    "digest of random bytes": lambda step: (step / DIGESTS).write_bytes(b"\xff" * 64),
    "digest null": lambda step: (step / DIGESTS).write_text("null"),
    "digest a list": lambda step: (step / DIGESTS).write_text("[]"),
    "digest of nothing": lambda step: (step / DIGESTS).write_text("{}"),
    "digest nested too deep": lambda step: (step / DIGESTS).write_text("[" * 100_000),
    "digest of a file above": lambda step: relisted(step, {"../lock": "0"}),
    "digest of a file elsewhere": lambda step: relisted(step, {"/etc/passwd": "0"}),
    "digest is a folder": lambda step: ((step / DIGESTS).unlink(), (step / DIGESTS).mkdir()),
    "a shard more": lambda step: (step / "__7_0.distcp").write_bytes(b""),
    "state a link": lambda step: linked(step / checkpoint.STATE),
    "empty folder": lambda step: [path.unlink() for path in step.iterdir()],
    "never renamed": lambda step: step.rename(step.with_name(f".{step.name}.new")),
    "renamed away": lambda step: step.rename(step.with_name(f".{step.name}.old")),
    "renamed by hand": lambda step: step.rename(step.with_name(f"{step.name} (copy)")),
    "a file": lambda step: (shutil.rmtree(step), step.write_text("")),
    "a link to a copy": lambda step: linked(step),
    # With the right digests: written by something else, or by somebody who means harm.
    "sealed garbage state": lambda step: sealed(step, checkpoint.STATE, b"\xff" * 64),
    "sealed empty state": lambda step: sealed(step, checkpoint.STATE, b""),
    "sealed state of no names": lambda step: sealed(step, checkpoint.STATE, torch_bytes([1])),
    "sealed garbage index": lambda step: sealed(step, storage.INDEX, b"\xff" * 64),
    "sealed empty index": lambda step: sealed(step, storage.INDEX, b""),
    "sealed index of None": lambda step: sealed(step, storage.INDEX, pickle.dumps(None)),
}


def relisted(step: Path, more: dict[str, str]) -> None:
    listed = json.loads((step / DIGESTS).read_text())
    (step / DIGESTS).write_text(json.dumps(listed | more))


def linked(path: Path) -> None:
    """What lies there moves elsewhere, a link to it stays."""
    elsewhere = path.parent / f"elsewhere_{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def torch_bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def sealed(step: Path, name: str, data: bytes) -> None:
    """Other content, and the digest that goes with it."""
    (step / name).write_bytes(data)
    relisted(step, {name: hashlib.sha256(data).hexdigest()})


def test_the_newest_is_found(folder: Path) -> None:
    assert found(folder) == 10


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_passed_over(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        DAMAGES[damage](folder / "step_10")
        assert found(folder) == 9
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("harness")]
    assert all("\n" not in line for line in ours)
    assert len(ours) == (checkpoint._steps(folder)[-1].name == "step_10")
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
    checkpoint.prune(folder, keep, folder / "step_10")
    assert {path.name for path in folder.iterdir()} == left | {"best"}
    checkpoint.prune(folder, 9, folder / "step_10")
    assert {path.name for path in folder.iterdir()} == left | {"best"}


def test_prune_keeps_what_has_just_been_written_below_a_damaged_one(folder: Path) -> None:
    """A trial that goes on from step_2 saves step_9 again, then step_10 in its turn."""
    flip(shard(folder / "step_10"))
    saved(folder / "step_9", 9)
    checkpoint.prune(folder, 1, folder / "step_9")
    assert {path.name for path in folder.iterdir()} == {"step_9", "step_10"}
    assert found(folder) == 9


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


# --- copies beside the checkpoints ----------------------------------------------------------------

BESIDE = (
    "step_10 (copy)",
    "step_10.bak",
    "step_x",
    "step_",
    "step_11x",
    "step_-1",
    "step_012",
    "step_١",
)


@pytest.fixture
def beside(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What users and disks leave beside checkpoints; all of it by name newer than step_10."""
    for name in BESIDE:
        shutil.copytree(folder / "step_10", folder / name)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "kept"
    shutil.copytree(folder / "step_10", elsewhere)
    (folder / "step_20").symlink_to(elsewhere)
    (folder / "step_21").symlink_to(folder / "absent")
    (folder / "step_22").write_text("a file")
    os.mkfifo(folder / "step_23")
    return {*BESIDE, "step_20", "step_21", "step_22", "step_23"}


def test_only_real_folders_named_step_n_are_resumed_from(folder: Path, beside: set[str]) -> None:
    assert [step.path.name for step in checkpoint.steps(folder, ALONE)] == [
        *("step_10", "step_9", "step_2")
    ]


def test_prune_touches_nothing_beside_them(folder: Path, beside: set[str]) -> None:
    elsewhere = (folder / "step_20").resolve()
    checkpoint.prune(folder, 1, folder / "step_10")
    assert {path.name for path in folder.iterdir()} == {"step_10", *beside}
    assert (elsewhere / checkpoint.STATE).is_file()


@pytest.mark.parametrize("name", ["step_11", ".step_11.new", ".step_11.old"])
def test_a_file_or_a_link_in_the_place_of_a_checkpoint_gives_way(folder: Path, name: str) -> None:
    kept = folder / "kept"
    kept.mkdir()
    for put in (Path.touch, lambda path: path.symlink_to(kept), Path.mkdir):
        put(folder / name)
        saved(folder / "step_11", 11)
        assert found(folder) == 11
        shutil.rmtree(folder / "step_11")
    assert kept.is_dir()
    assert not list(folder.glob(".*"))


def test_notes_beside_the_files_are_no_damage(folder: Path) -> None:
    (folder / "step_10" / "notes.md").write_text("the good one")
    (folder / "step_10" / ".DS_Store").write_bytes(b"\0")
    assert found(folder) == 10


# --- nothing is run -------------------------------------------------------------------------------


class Bomb:
    """Pickled, it is a call that leaves a canary behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def index_with(step: Path, change: Callable[[Any], object]) -> bytes:
    metadata = pickle.loads((step / storage.INDEX).read_bytes())
    change(metadata)
    return pickle.dumps(metadata)


def named_elsewhere(metadata: Any, place: str) -> None:
    for info in metadata.storage_data.values():
        info.relative_path = place


@pytest.mark.parametrize("place", ["index", "inside the index", "state", "inside the state"])
def test_a_crafted_pickle_is_not_run(folder: Path, tmp_path: Path, place: str) -> None:
    step, bomb = folder / "step_10", Bomb(tmp_path / "canary")
    if place == "index":
        sealed(step, storage.INDEX, pickle.dumps(bomb))
    elif place == "inside the index":
        inside = index_with(step, lambda m: setattr(m, "planner_data", bomb))
        sealed(step, storage.INDEX, inside)
    elif place == "state":
        sealed(step, checkpoint.STATE, pickle.dumps(bomb))
    else:
        sealed(step, checkpoint.STATE, torch_bytes({"step": 10, "more": bomb}))
    assert found(folder) == 9
    assert not bomb.canary.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "os.system", "torch.load"])
def test_an_index_names_only_what_torch_writes(folder: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    sealed(folder / "step_10", storage.INDEX, f"c{module}\n{function}\n.".encode())
    with pytest.raises(pickle.UnpicklingError, match=name):
        storage.index(folder / "step_10" / storage.INDEX)
    assert found(folder) == 9


@pytest.mark.parametrize("place", ["../secret.pt", "/etc/passwd", "link.distcp", ""])
def test_an_index_names_no_file_elsewhere(folder: Path, place: str) -> None:
    step = folder / "step_10"
    torch.save(torch.arange(500.0) * 10, folder / "secret.pt")
    (step / "link.distcp").symlink_to(folder / "secret.pt")
    sealed(step, storage.INDEX, index_with(step, lambda m: named_elsewhere(m, place)))
    assert found(folder) == 9


@pytest.mark.parametrize("kind", ["tensor", "scalar"])
def test_a_crafted_shard_is_not_run(tmp_path: Path, kind: str) -> None:
    """The scalars of an optimizer are what torch would unpickle without restraint."""
    step, bomb = tmp_path / "step_1", Bomb(tmp_path / "canary")
    value: Any = torch.zeros(3) if kind == "tensor" else 0.5
    checkpoint.save(step, {"policy": {"value": value}}, {}, ALONE)
    sealed(step, shard(step).name, data := torch_bytes(bomb))

    def whole_file(metadata: Any) -> None:
        for info in metadata.storage_data.values():
            info.offset, info.length = 0, len(data)

    sealed(step, storage.INDEX, index_with(step, whole_file))
    assert [found.path for found in checkpoint.steps(tmp_path, ALONE)] == [step]
    with pytest.raises(CheckpointError, match=r"start over with fresh=true") as refusal:
        checkpoint.load(step, {"policy": {"value": value}}, ALONE)
    assert "\n" not in str(refusal.value)
    assert not bomb.canary.exists()


def test_scalars_come_back_as_they_were(tmp_path: Path) -> None:
    kept = {"lr": 0.1 + 0.2, "betas": (0.9, 0.99), "fused": None, "name": "adamw", "steps": [1, 2]}
    checkpoint.save(tmp_path / "step_1", {"groups": dict(kept)}, {}, ALONE)
    read = {"groups": dict.fromkeys(kept, 0) | {"betas": (0, 0), "steps": [0, 0]}}
    checkpoint.load(tmp_path / "step_1", read, ALONE)
    assert read["groups"] == kept


# --- best and final -------------------------------------------------------------------------------

RESULT = {"eval/accuracy": 0.1 + 0.2, "actor/lr": 1e-300}


@pytest.fixture(scope="module")
def exported(policy: Policy, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    checkpoint.export(folder / "best", policy, tokens, 0.5)
    checkpoint.export(folder / "final", policy, tokens, 0.5, RESULT)
    return folder


@pytest.fixture
def finished(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "trial"))


def test_final_result_says_that_the_trial_is_finished(finished: Path, policy: Policy) -> None:
    assert checkpoint.final_result(finished) == RESULT  # to the bit
    assert checkpoint.final_result(finished.parent) is None
    assert_loads(finished / "final", policy.module.model)
    (finished / "final" / "notes.md").write_text("kept")
    assert checkpoint.final_result(finished) == RESULT


WEIGHTS = "model.safetensors"
MODEL_DAMAGES: dict[str, Callable[[Path], object]] = {
    "weights of another bit": lambda folder: flip(folder / WEIGHTS),
    "weights without their end": lambda folder: truncate(folder / WEIGHTS),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "weights a link": lambda folder: linked(folder / WEIGHTS),
    "tokenizer of another bit": lambda folder: flip(folder / "tokenizer.json"),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "weights more": lambda folder: (folder / "pytorch_model.bin").write_bytes(b""),
    "no digests": lambda folder: (folder / DIGESTS).unlink(),
    "digests cut": lambda folder: truncate(folder / DIGESTS),
    "digests null": lambda folder: (folder / DIGESTS).write_text("null"),
    "digests of nothing": lambda folder: (folder / DIGESTS).write_text("{}"),
    "digests of a folder's files": lambda folder: (folder / DIGESTS).write_bytes(b"\x80\x04"),
    "no folder": shutil.rmtree,
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
}


def test_a_best_of_another_time_is_not_finished(
    finished: Path, policy: Policy, tokens: Tokens
) -> None:
    """Whole, but of an evaluation that a later one has beaten."""
    checkpoint.export(finished / "best", policy, tokens, 0.25)
    assert checkpoint.final_result(finished) is None
    assert checkpoint.lost_best(finished, 0.5)
    assert not checkpoint.lost_best(finished, 0.25)


@pytest.mark.parametrize("name", ["best", "final"])
@pytest.mark.parametrize("damage", MODEL_DAMAGES)
def test_a_damaged_model_is_not_finished(finished: Path, name: str, damage: str) -> None:
    assert checkpoint.final_result(finished) == RESULT
    MODEL_DAMAGES[damage](finished / name)
    assert checkpoint.final_result(finished) is None
    assert (checkpoint.lost_best(finished, 0.5) is not None) == (name == "best")
    reason = checkpoint.damage(finished / name)
    assert reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "3",
        '"x"',
        '{"a": "x"}',
        '{"a": null}',
        '{"a": true}',
        "[" * 9999,
    ],
)
def test_a_result_that_is_none_is_not_finished(finished: Path, text: str) -> None:
    """Even with the right digest."""
    sealed(finished / "final", checkpoint.RESULT, text.encode())
    assert checkpoint.final_result(finished) is None


def test_a_result_that_is_a_folder_is_not_finished(finished: Path) -> None:
    (finished / "final" / checkpoint.RESULT).unlink()
    (finished / "final" / checkpoint.RESULT).mkdir()
    assert checkpoint.final_result(finished) is None


def test_the_same_bytes_again_are_read_again(finished: Path) -> None:
    """A file is read once in a process, unless it has changed: also a file that is old."""
    weights = finished / "final" / WEIGHTS
    os.utime(weights, (1e9, 1e9))
    assert checkpoint.final_result(finished) == RESULT
    flip(weights)
    os.utime(weights, (1e9, 1e9))
    assert checkpoint.final_result(finished) is None
    flip(weights)
    assert checkpoint.final_result(finished) == RESULT


def assert_loads(folder: Path, model: Any) -> None:
    """The folder is a Hugging Face model with the same weights."""
    loaded = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded[name], parameter)
    assert AutoTokenizer.from_pretrained(folder)("Q7 8")["input_ids"] == [24, 9, 19, 10]
