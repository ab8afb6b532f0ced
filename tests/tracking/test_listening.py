"""Listeners hear what the record has, each point once, and never hurt the trial. Real packages."""

import json
import logging
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.config import config_hash
from harness.errors import ConfigError
from harness.preflight import check
from harness.tracking import listening
from harness.tracking.listening import Listener
from harness.tracking.record import CONFIG, Status, read
from harness.tracking.tensorboard import TensorBoard
from harness.tracking.wandb import Wandb
from tests.conftest import ROOT, Here
from tests.tracking.listeners import NAMES, Broken, events, expected, record_steps, single

LABELS = {"algorithm": "grpo", "task": "countdown", "model": "tiny"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / NAMES.trial
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps({"labels": LABELS, "seed": 3}))
    return folder


def home(folder: Path, name: str) -> Path:
    return folder.parents[1] / "listeners" / "question" / NAMES.trial / name


# --- what they wrote, read back -------------------------------------------------------------------


def wandb_records(path: Path) -> Iterator[Any]:
    """Messages of a run's file: a LevelDB log of protocol buffers behind seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    data, position, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while position < len(data):
        room = 32768 - position % 32768
        if room < 7:  # too small for a header: padding
            position += room
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, last
            message = Message()
            message.ParseFromString(whole)
            yield message
            whole = b""


def history(folder: Path) -> tuple[list[tuple[str, int, float]], Any]:
    """(key, step, value) of every point of the one offline run, and what it says of itself."""
    (path,) = home(folder, "wandb").glob("wandb/offline-run-*/*.wandb")
    points, about = [], None
    for message in wandb_records(path):
        if message.WhichOneof("record_type") == "run":
            about = message.run
        if message.WhichOneof("record_type") == "history":
            items = {i.key or ".".join(i.nested_key): i.value_json for i in message.history.item}
            step = json.loads(items.get("_step", str(message.history.step.num)))
            points += [
                (key, step, float(json.loads(value)))
                for key, value in items.items()
                if not key.startswith("_")
            ]
    return points, about


# --- tests ----------------------------------------------------------------------------------------


BOTH: dict[str, Listener] = {"tensorboard": TensorBoard(), "wandb": Wandb()}


def test_each_point_is_told_once_over_a_resume(folder: Path) -> None:
    """The second attempt makes two steps again that the first had told: its record was cut."""
    with listening.listening(BOTH, folder, folder.parents[1], NAMES):
        record_steps(folder, 0, 7).end(Status.FAILED, "it broke")
    first, about = history(folder)
    assert {step for _, step, _ in first} == set(range(7))
    lines = (folder / "record.jsonl").read_text().splitlines(keepends=True)
    (folder / "record.jsonl").write_text(
        "".join(x for x in lines if not any(f'"step": {s},' in x for s in (5, 6)))
    )
    with listening.listening(BOTH, folder, folder.parents[1], NAMES):
        record_steps(folder, 5, 12).end(Status.FINISHED)

    record = read(folder)
    assert record is not None
    points = expected(folder)
    assert len(points) == 12 * 41
    told = events(home(folder, "tensorboard"))
    assert len(told) == len(points)
    assert {(k, s): repr(v) for k, s, v, _ in told} == single(points)
    assert {s: t for _, s, _, t in told} == {s: m.time_ms / 1000 for s, m in record.steps.items()}

    sent, again = history(folder)
    assert len(sent) == len(points)
    assert {(key, step): repr(v) for key, step, v in sent} == {
        k: repr(v) for k, v in points.items()
    }
    assert again.run_id == about.run_id == record.id
    assert (again.display_name, again.project, again.run_group) == (
        *(NAMES.trial, "question", "grpo"),
    )
    config = {item.key: json.loads(item.value_json) for item in again.config.update}
    assert (config["seed"], config["variant"], config["labels"]) == (3, "grpo", LABELS)


def test_a_trial_that_is_killed_has_been_listened_to(folder: Path) -> None:
    """SIGKILL leaves no time for anything; the listener reads the rest and ends by itself."""
    trial = f"""
import os, signal
from pathlib import Path
from harness.tracking.listening import listening
from harness.tracking.tensorboard import TensorBoard
from tests.tracking.listeners import NAMES, record_steps
folder = Path({str(folder)!r})
with listening({{"tensorboard": TensorBoard()}}, folder, folder.parents[1], NAMES):
    record_steps(folder, 0, 6)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", trial], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    points = single(expected(folder))
    told: list[tuple[str, int, float, float]] = []
    for _ in range(600):  # it ends after the trial
        there = home(folder, "tensorboard").is_dir()
        told = events(home(folder, "tensorboard")) if there else []
        if len(told) == len(points):
            break
        time.sleep(0.1)
    assert {(k, s): repr(v) for k, s, v, _ in told} == points


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("refuses", "listener broken failed (exit code 1): RuntimeError: no such server; see "),
        ("dies", "listener broken failed (exit code 3): without a word; see "),
        ("hangs", "listener broken did not end within 2 s and was killed"),
    ],
)
def test_a_listener_that_is_away_costs_the_trial_a_line(
    folder: Path,
    way: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if way == "hangs":
        monkeypatch.setattr(listening, "ENDING_S", 2.0)
    with (
        caplog.at_level(logging.WARNING),
        listening.listening({"broken": Broken(way)}, folder, folder.parents[1], NAMES),
    ):
        record_steps(folder, 0, 3).end(Status.FINISHED)
    (line,) = caplog.messages
    assert line.startswith(said)
    record = read(folder)
    assert record is not None
    assert (record.status, record.last) == (Status.FINISHED, 2)


def test_a_listener_that_cannot_be_started_costs_the_trial_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that takes nothing more, a machine that starts nothing more."""
    (folder.parents[1] / "listeners").write_text("a file where the folder should be")
    with (
        caplog.at_level(logging.WARNING),
        listening.listening({"tensorboard": TensorBoard()}, folder, folder.parents[1], NAMES),
    ):
        record_steps(folder, 0, 3).end(Status.FINISHED)
    assert "listener tensorboard hears nothing: " in caplog.text


def test_an_error_of_the_trial_passes_through(folder: Path) -> None:
    with (
        pytest.raises(ValueError, match="the trial's own"),
        listening.listening({"broken": Broken("dies")}, folder, folder.parents[1], NAMES),
    ):
        raise ValueError("the trial's own")


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_refused_before_anything_starts(
    composed: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder of that name, such as wandb makes, is no package."""
    config = composed(f"listeners=[{name}]", "task.train_size=16", "task.eval_size=16")
    check(config)
    (tmp_path / name).mkdir()
    own = [path for path in sys.path if not (Path(path) / name / "__init__.py").exists()]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *own])
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError) as refused:
        check(config)
    assert str(refused.value) == (
        f"listeners=[{name}] needs the package {name}, which is not installed; run: "
        f"pip install -e '.[{name}]', or leave it out"
    )


def test_listeners_are_chosen_by_name_and_change_no_number(composed: Callable[..., Any]) -> None:
    plain = composed()
    both = composed("listeners=[tensorboard,wandb]", "listeners.wandb.project=mine")
    assert plain.listeners == {}
    assert both.listeners == {"tensorboard": TensorBoard(), "wandb": Wandb(project="mine")}
    assert config_hash(both) == config_hash(plain)
    with pytest.raises(ConfigError, match=r"listeners.wandb.mode must be one of offline, online"):
        composed("listeners=[wandb]", "listeners.wandb.mode=away")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["listeners.wandb.mode=online"],
            "listeners.wandb.mode: listeners has no choice yet, received none; choose first: "
            "listeners=[NAME]; valid: tensorboard, wandb",
        ),
        (
            ["listeners=[wandb]", "listeners.tensorboard.x=1"],
            "unknown key 'listeners.tensorboard'; valid: wandb",
        ),
        (
            ["listeners=[tensorbord,wandb]"],
            "unknown choice 'listeners=tensorbord'; did you mean listeners=tensorboard? valid: "
            "tensorboard, wandb",
        ),
    ],
)
def test_what_is_wrong_with_a_choice_is_said_in_one_line(
    here: Here, arguments: list[str], said: str
) -> None:
    done = here(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_nothing_is_imported_unless_asked() -> None:
    code = (
        "import sys; import harness.tracking.wandb, harness.tracking.tensorboard;"
        "print(sorted({'wandb', 'tensorboard'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
