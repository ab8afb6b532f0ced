"""What is left of a trial and of a sweep, on records whose seconds are written by hand."""

import json
from pathlib import Path

import pytest

from harness.tracking import record
from harness.tracking.record import Record
from sweeps.remaining import left, rest, sweep_left, used, whole

# Of every four updates one evaluation; each step takes 10 s, 2 of them for its evaluation.
CONFIG = {
    "budget": {"unit": "updates", "amount": 4},
    "evaluation": {"every": 0.25},
    "ray": {"address": "auto"},
    "trainer": {"device": "cpu"},
}
LAST_MS = 900_000_000


def written(folder: Path, steps: int, shared: float = 0.0) -> Record:
    """A start of 5 s, a first evaluation of 8, and an hour's pause before the newest step.

    Args:
        shared: seconds of the first evaluation that other trials had spent.
    """
    folder.mkdir()
    (folder / record.CONFIG).write_text(json.dumps(CONFIG))
    start = {"event": "start", "id": "a", "seal": "", "facts": {}, "time_ms": 1_000_000}
    first = {"timing_s/start": 5.0, "timing_s/testing": 8.0 - shared, "budget/updates": 0}
    first["timing_s/testing_shared"] = shared
    later = {"timing_s/step": 10.0, "timing_s/testing": 2.0}
    events = [start, {"event": "step", "step": 0, "metrics": first, "time_ms": 1_013_000}]
    for i in range(1, steps + 1):
        at = LAST_MS if i == steps else 1_013_000 + 10_000 * i
        metrics = later | {"budget/updates": i}
        events.append({"event": "step", "step": i, "metrics": metrics, "time_ms": at})
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / record.RECORD).write_text(text)
    found = record.read(folder)
    assert found is not None
    return found


def test_training_evaluations_and_the_last_evaluation_are_each_counted(tmp_path: Path) -> None:
    """At 2 of 4: training 2 x (10 - 2) = 16 s, as much again; one evaluation of 2, the last of 8.

    26 s at the newest step, 23 three seconds later; of a step that is overdue 10 s count: 16.
    As a whole 5 + 8 + 20 + 26 = 59. The pause is none of it.
    """
    found = written(tmp_path / "a", 2)
    now = LAST_MS / 1000
    assert used(found) == 0.5
    assert rest(found) == pytest.approx(26)
    assert left(found, now + 3) == pytest.approx(23)
    assert left(found, now + 100) == pytest.approx(16)
    assert whole(found) == pytest.approx(59)


def test_the_last_evaluation_is_as_long_as_the_first_would_have_been_alone(tmp_path: Path) -> None:
    """6 of its 8 s were others': still 8 to come, and 5 + 2 + 20 + 26 = 53 as a whole."""
    found = written(tmp_path / "a", 2, shared=6.0)
    assert rest(found) == pytest.approx(26)
    assert whole(found) == pytest.approx(53)


def test_before_the_first_step_nothing_is_said_and_after_the_last_nothing_is_left(
    tmp_path: Path,
) -> None:
    begun, done = written(tmp_path / "a", 0), written(tmp_path / "b", 4)
    assert (used(begun), rest(begun), left(begun, 0.0), whole(begun)) == (0.0, None, None, None)
    assert (used(done), rest(done)) == (1.0, 0.0)
    assert whole(done) == pytest.approx(5 + 8 + 40)


def test_what_waits_follows_what_runs(tmp_path: Path) -> None:
    """Two at a time. Running: 23 s, and one that has said nothing yet, so 59 as the other one.

    Then a new one behind the first, to 23 + 59 = 82, and one that goes on with 26 s behind the
    second, to 59 + 26 = 85.
    """
    half, now = written(tmp_path / "a", 2), LAST_MS / 1000
    assert sweep_left([half, None], [None, half], [], now + 3, True) == pytest.approx(85)
    assert sweep_left([half], [], [], now + 3, True) == pytest.approx(23)
    assert sweep_left([], [None], [half], now, False) is None, "nobody drives it"
    assert sweep_left([None], [None], [], now, True) is None, "nobody has said how fast it is"
    assert sweep_left([], [None], [half], now, True) is None, "a cluster, and nothing runs yet"


def test_between_two_trials_what_waits_is_known_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time: three that wait for 5 + 8 + 40 each; the first goes on after its half."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setitem(CONFIG, "ray", {"address": None, "cpus_per_rank": 1})
    done, half, now = written(tmp_path / "a", 4), written(tmp_path / "b", 2), LAST_MS / 1000
    assert sweep_left([], [None, None, None], [done], now, True) == pytest.approx(3 * 53)
    assert sweep_left([], [half], [], now, True) == pytest.approx(26), "none has run to its end"


def test_a_core_that_is_free_for_a_moment_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two cores, one trial of 23 s and one that waits for 59: both at once, and not 82."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setitem(CONFIG, "ray", {"address": None, "cpus_per_rank": 1})
    half = written(tmp_path / "a", 2)
    assert sweep_left([half], [None], [], LAST_MS / 1000 + 3, True) == pytest.approx(59)
