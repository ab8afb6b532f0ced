"""The trial's folder as the truth: what is read back after kills, damage and hostility."""

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.tracking.record import IDENTITY, LOCK, RECORD, Status, homes, inside, read
from harness.tracking.writer import Writer
from tests.conftest import ROOT


def written(folder: Path, steps: int = 3, status: Status | None = Status.FINISHED) -> Path:
    """A record of some steps, evaluated at the even ones."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(folder)
    writer.start({"threads": "1"}, seal="5ea1")
    for step in range(steps):
        metrics = {"budget/updates": float(step)}
        if step % 2 == 0:
            writer.table(step, {"item": [0, 1], "correct": [True, False]})
            metrics["eval/accuracy"] = 0.5
        writer.step(step, metrics)
    if status is not None:
        writer.end(status, "why")
    return folder


def lines(folder: Path) -> list[str]:
    return (folder / RECORD).read_text().splitlines()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = read(written(tmp_path / "t"))
    assert record is not None
    assert [record.steps[s].metrics["budget/updates"] for s in record.steps] == [0, 1, 2]
    assert sorted(record.tables) == [0, 2]
    assert (record.status, record.error, record.attempts) == (Status.FINISHED, "why", 1)
    assert (record.seal, record.facts, record.last) == ("5ea1", {"threads": "1"}, 2)
    assert record.started_ms is not None
    assert record.ended_ms is not None
    assert record.started_ms <= record.steps[0].time_ms <= record.ended_ms


def test_a_warning_is_kept_once_over_all_attempts(tmp_path: Path) -> None:
    folder = written(tmp_path / "t", status=None)
    first = Writer(folder)
    assert first.warn(2, "no signal", "step 2: every reward was 0")
    assert not first.warn(3, "no signal", "step 3: every reward was 0")
    again = Writer(folder)
    again.start({}, seal="5ea1")
    assert not again.warn(2, "no signal", "step 2: every reward was 0")
    assert again.warn(4, "no entropy", "step 4: entropy")
    record = read(folder)
    assert record is not None
    assert record.attempts == 2
    assert record.warnings == {
        "no signal": "step 2: every reward was 0",
        "no entropy": "step 4: entropy",
    }


def test_what_was_found_out_stays_when_a_trial_is_resumed(tmp_path: Path) -> None:
    folder = written(tmp_path / "t", status=None)
    Writer(folder).learn({"base_evaluation": "a's"})
    again = Writer(folder)
    again.start({"threads": "2"}, seal="5ea1")
    again.learn({"base_evaluation": "b's"})
    record = read(folder)
    assert record is not None
    assert record.facts == {"threads": "2", "base_evaluation": "b's"}
    assert record.last == 2


def test_a_folder_without_a_record_has_none(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / RECORD).write_text("")
    assert read(tmp_path) is None


def test_numbers_survive_to_the_last_bit(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": math.nan, "c": -math.inf, "d": 5e-324}
    writer = Writer(tmp_path)
    writer.start({}, "")
    writer.step(0, values)
    record = read(tmp_path)
    assert record is not None
    got = record.steps[0].metrics
    assert math.isnan(got.pop("b"))
    assert got == {k: v for k, v in values.items() if k != "b"}


def test_a_line_cut_by_a_kill_is_cut_off_and_written_again(tmp_path: Path) -> None:
    folder = written(tmp_path, steps=2, status=None)
    whole = (folder / RECORD).read_bytes()
    (folder / RECORD).write_bytes(whole + b'{"event": "step", "step": 2, "metr')
    record = read(folder)
    assert record is not None
    assert record.last == 1
    writer = Writer(folder)
    assert writer.last == 1
    assert (folder / RECORD).read_bytes() == whole
    writer.table(2, {"item": [0]})
    writer.step(2, {"eval/accuracy": 1.0})
    again = read(folder)
    assert again is not None
    assert again.last == 2
    assert again.id == record.id


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"event": "step"}',
        '{"event": "step", "step": 1, "time_ms": 0, "metrics": null}',
        '{"event": "step", "step": "x", "time_ms": 0, "metrics": {}}',
        '{"event": "step", "step": 1, "time_ms": 0, "metrics": {"a": "b"}}',
        '{"event": "run", "step": 1}',
        '{"event": "step", "step": 1, "time_ms": 1e400, "metrics": {}}',
        '{"event": "step", "step": 1, "time_ms": 99999999999999999, "metrics": {}}',
        '{"event": "step", "step": Infinity, "time_ms": 0, "metrics": {}}',
        '{"event": "step", "step": 1, "time_ms": 0, "metrics": {"a": 1' + "0" * 400 + "}}",
        "[" * 100_000,
        "\x00\x00\x00",
        "\x1b[31m",
    ],
)
def test_a_damaged_step_makes_the_trial_unfinished(tmp_path: Path, damaged: str) -> None:
    folder = written(tmp_path)
    kept = lines(folder)
    number = next(i for i, line in enumerate(kept) if json.loads(line).get("step") == 1)
    kept[number] = damaged
    (folder / RECORD).write_text("\n".join(kept) + "\n")
    record = read(folder)
    assert record is not None
    assert (record.last, record.status, record.finished) == (0, Status.INTERRUPTED, False)


def test_a_missing_table_makes_the_trial_unfinished(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "tables" / "step_000002.json").unlink()
    record = read(folder)
    assert record is not None
    assert (record.last, record.finished) == (1, False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"columns": []}', "\x00", "[" * 100_000])
def test_a_damaged_table_makes_the_trial_unfinished(tmp_path: Path, text: str) -> None:
    folder = written(tmp_path)
    (folder / "tables" / "step_000002.json").write_text(text)
    record = read(folder)
    assert record is not None
    assert (record.last, record.finished) == (1, False)


def test_running_is_who_holds_the_lock(tmp_path: Path) -> None:
    folder = written(tmp_path, status=None)
    assert read(folder).status is Status.INTERRUPTED  # type: ignore[union-attr]
    with (folder / LOCK).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert read(folder).status is Status.RUNNING  # type: ignore[union-attr]
    assert read(folder).status is Status.INTERRUPTED  # type: ignore[union-attr]


def test_a_second_attempt_continues_and_keeps_what_was_known_at_the_first(tmp_path: Path) -> None:
    folder = written(tmp_path, status=Status.FAILED)
    first = read(folder)
    Writer(folder).start({"threads": "2"}, seal="0ther")
    record = read(folder)
    assert first is not None
    assert record is not None
    assert (record.attempts, record.id, record.seal) == (2, first.id, "5ea1")
    assert record.facts == {"threads": "2"}
    assert record.status is Status.INTERRUPTED
    assert record.started_ms == first.started_ms


def test_links_that_lead_out_of_the_folder_are_no_part_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"hash": "mine"}')
    folder = written(tmp_path / "t")
    (folder / "tables" / "step_000000.json").unlink()
    (folder / "tables" / "step_000000.json").symlink_to(secret)
    (folder / IDENTITY).symlink_to(secret)
    (folder / "prompt.txt").symlink_to(secret)
    record = read(folder)
    assert record is not None
    assert (record.last, record.tables, record.identity, record.texts) == (-1, {}, "", [])
    (folder / RECORD).rename(tmp_path / "elsewhere.jsonl")
    (folder / RECORD).symlink_to(tmp_path / "elsewhere.jsonl")
    assert read(folder) is None
    assert inside(secret, tmp_path)


KILLED = """
import sys
from pathlib import Path
from harness.tracking.writer import Writer
writer = Writer(Path(sys.argv[1]))
writer.start({}, "")
print("ready", flush=True)
step = writer.last + 1
while True:
    writer.table(step, {"item": list(range(200))})
    writer.step(step, {f"m{i}": float(i) for i in range(200)} | {"eval/accuracy": 0.0})
    step += 1
"""


def test_kill_9_of_the_writer_at_any_moment_leaves_whole_steps(tmp_path: Path) -> None:
    last = -1
    for turn in range(8):
        victim = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        time.sleep(0.011 * turn)
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        record = read(tmp_path)
        assert record is not None
        assert record.last >= last
        assert all(len(step.metrics) == 201 for step in record.steps.values())
        assert record.attempts == turn + 1
        last = record.last
    assert last > 0


def finished(checkpoints: Path, name: str, identity: str, **settings: Any) -> Path:
    folder = written(checkpoints / name, **settings)
    (folder / IDENTITY).write_text(json.dumps({"hash": identity}))
    return folder


def test_a_record_is_found_by_identity_under_another_name(tmp_path: Path) -> None:
    other = finished(tmp_path, "grpo__s0__aa", "A")
    assert homes(tmp_path, {"full__s0__aa": "A"}) == {"full__s0__aa": other}
    assert homes(tmp_path, {"full__s0__aa": "B"}) == {"full__s0__aa": tmp_path / "full__s0__aa"}


def test_a_record_serves_one_planned_trial_only(tmp_path: Path) -> None:
    """Two names of one variant, as in an A/A test, must be two runs."""
    other = finished(tmp_path, "old__s0__aa", "A")
    found = homes(tmp_path, {"a__s0__aa": "A", "b__s0__aa": "A"})
    assert found == {"a__s0__aa": other, "b__s0__aa": tmp_path / "b__s0__aa"}
    own = finished(tmp_path, "a__s0__aa", "A")
    found = homes(tmp_path, {"a__s0__aa": "A", "b__s0__aa": "A"})
    assert found == {"a__s0__aa": own, "b__s0__aa": other}


def test_its_own_record_comes_first_and_unfinished_ones_are_not_taken(tmp_path: Path) -> None:
    finished(tmp_path, "old__s0__aa", "A", status=Status.FAILED)
    assert homes(tmp_path, {"a": "A"}) == {"a": tmp_path / "a"}
    finished(tmp_path, "older__s0__aa", "A")
    own = finished(tmp_path, "a", "other content", status=None)
    assert homes(tmp_path, {"a": "A"}) == {"a": own}
