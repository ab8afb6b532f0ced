"""The live screen, its lines in a log, and what both are read from."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from analysis.manifest import Job
from harness.machine import shown
from harness.machine.files import locked
from harness.tracking import record
from harness.tracking.record import LOCK, Status
from harness.tracking.writer import Writer
from sweeps import screen
from sweeps.driver import driving
from sweeps.overview import Look, Row, Seen
from sweeps.progress import Watch, drawn
from tests.sweeps.test_commands import names_of, trial
from tests.sweeps.test_manifest import Folder
from tests.sweeps.test_plan import planned


@pytest.fixture(scope="module")
def plan() -> Any:
    return planned("name=one", "algorithm=grpo,dr_grpo", "budget.amount=4", "seed=0,1")


@pytest.fixture
def runs(tmp_path: Path, plan: Any) -> Path:
    folder = Folder(tmp_path / "runs")
    folder.write(plan)
    return folder.runs


def row(folder: Path, variant: str, state: str = "running", evaluations: int = 11) -> Row:
    """A trial at step 10 of 40, with a reward and everything else that has a column."""
    name = f"{variant}__s3__0123abcd"
    made = folder / "checkpoints" / name
    made.mkdir(parents=True)
    config = '{"budget": {"unit": "updates", "amount": 40}, "evaluation": {"every": 0.025}}'
    (made / record.CONFIG).write_text(config)
    writer = Writer(made)
    writer.start({}, "")
    for step in range(evaluations):
        seconds = {"timing_s/step": 6.0, "timing_s/testing": 0.0} if step else {}
        writer.table(step, {"problem": [], "correct": []})
        reward = {"critic/score/mean": 0.25, "perf/throughput": 12345.6} if step else {}
        measured = {"budget/updates": float(step), "eval/accuracy": 0.4 + step / 100}
        writer.step(step, seconds | reward | measured)
    return Row(Job(name, variant, 3, "c" * 64, "d" * 64), record.read(made), state)


def test_eighty_columns_hold_everything(tmp_path: Path) -> None:
    """30 of 40 steps of 6 s are left: 180 s; accuracy from .40 to .50.

    Of its eleven evaluations those at 0, 1, 3, 4, 6, 7, 9 and 10 tenths of the way are drawn.
    """
    header, line = screen.lines([row(tmp_path, "dr_grpo")], 80)
    assert header == ("trial       step  done  reward  held-out  change  course    tokens/s   left")
    assert line.split() == [
        *("dr_grpo", "s3", "10", "25%", "0.250", "0.500", "+0.100", "▁▁▃▄▅▆██", "12,346"),
        *("3", "min"),
    ]
    assert max(len(header), len(line)) <= 80


@pytest.mark.parametrize("width", [40, 60, 80, 120, 10_000])
@pytest.mark.parametrize(
    "variant", ["grpo", "a_label_that_is_as_long_as_some_labels_are_" + "x" * 40]
)
def test_no_line_is_longer_than_the_screen_and_no_label_is_lost(
    tmp_path: Path, width: int, variant: str
) -> None:
    rows = [row(tmp_path / "a", variant), row(tmp_path / "b", variant[:-1] + "y", "failed")]
    lines = screen.lines(rows, width)
    assert all(len(line) <= width for line in lines)
    names = {line[:12] for line in lines[1:]}
    assert all(name.startswith(variant[:3]) for name in names)
    for key in ("done", "held-out"):
        assert key in lines[0]


def test_a_wide_screen_has_the_whole_name_and_states_where_they_differ(tmp_path: Path) -> None:
    rows = [row(tmp_path / "a", "grpo"), row(tmp_path / "b", "rloo", "failed")]
    header, first, second = screen.lines(rows, 120)
    assert header.split()[:2] == ["trial", "state"]
    assert first.split()[:2] == ["grpo__s3__0123abcd", "running"]
    assert second.split()[-1] == "12,346", "what is over has nothing left"
    job = rows[0].job
    assert screen.lines([Row(job, None, "running")], 80)[1].split() == [
        "grpo__s3__0123abcd",
        "start",
    ]
    assert screen.lines([], 80) == [], "no header of nothing"


def test_a_log_gets_one_line_with_everything(tmp_path: Path) -> None:
    found = row(tmp_path, "grpo").record
    assert found is not None
    assert screen.told("grpo__s3", found, 10) == (
        "grpo__s3  step    10   25%  reward 0.250  held-out accuracy 0.500 (+0.100)  "
        "12,346 tokens/s  about 3 min left"
    )
    early = screen.told("grpo__s3", found, 1)  # the record goes on; a resumed trial repeats a step
    assert "step     1    2%" in early
    assert "0.410 (+0.010)" in early


def test_a_sparkline_goes_from_the_smallest_to_the_largest_and_is_never_long() -> None:
    assert screen.sparkline([0.2, 0.6, 0.4]) == "▁█▅"
    assert screen.sparkline([0.5, 0.5]) == "▁▁"
    assert screen.sparkline([i / 100 for i in range(100)]) == "▁▂▃▄▅▆▇█"


def test_a_name_is_cut_in_its_middle() -> None:
    assert shown.shortened("abcdefghij", 10) == "abcdefghij"
    assert shown.shortened("abcdefghij", 5) == "ab…ij"
    assert shown.shortened("abcdefghij", 1) == "…"


def test_a_headline_says_what_is_done_and_left(tmp_path: Path) -> None:
    """A quarter of one trial, and one that has failed for good: 1.25 of 2."""
    rows = [row(tmp_path / "a", "grpo"), row(tmp_path / "b", "rloo", "failed")]
    assert screen.headline(Seen("mine", rows, 90.0)) == "mine: 62% of 2 trials, about 90 s left"
    assert screen.headline(Seen("mine", rows[1:], None)) == "mine: all of 1 trial"


def test_what_has_ended_is_read_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = names_of(runs, "one")
    trial(runs, first, 4, Status.FINISHED)
    running = trial(runs, second, 1, None)
    look = Look(runs, "one")
    read: list[str] = []
    real: Callable[[Path], Any] = record.read
    monkeypatch.setattr(record, "read", lambda folder: (read.append(folder.name), real(folder))[1])
    with locked(running / LOCK, 0):
        assert look().counts == "1 finished, 1 running, 2 waiting"
        assert look().counts == "1 finished, 1 running, 2 waiting"
        assert sorted(read) == sorted([first, second])
        Writer(running).step(2, {"budget/updates": 2.0})
        look()
    assert read.count(first) == 1
    assert look().counts == "1 finished, 2 waiting, 1 interrupted"


def test_a_trial_that_failed_before_its_sweep_was_started_again_waits(runs: Path) -> None:
    first, *_ = names_of(runs, "one")
    trial(runs, first, 1, Status.FAILED, "no")
    assert Look(runs, "one")().counts == "3 waiting, 1 failed"
    with driving(runs, "one", print):
        assert Look(runs, "one")().counts == "4 waiting"
        with (runs / "checkpoints" / first / record.RECORD).open("a"):
            Writer(runs / "checkpoints" / first).end(Status.FAILED, "again")
        assert Look(runs, "one")().counts == "3 waiting, 1 failed"


def watched(runs: Path, console: Console, *calls: Callable[[Watch], None]) -> str:
    with Watch(runs, "one", names_of(runs, "one"), console) as watch:
        for call in calls:
            call(watch)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_bar_running_trials_and_the_rest_in_a_line(runs: Path) -> None:
    first, *_ = names_of(runs, "one")
    running = trial(runs, first, 2, None)
    plain = {"markup": False, "highlight": False, "soft_wrap": True}  # as the project's own
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, **plain)
    with locked(running / LOCK, 0):
        text = watched(runs, console)  # from before anything is started
    assert "12%" in text, "half of one trial of four"
    assert "grpo s0" in text or first in text
    assert "1 running, 3 waiting" in text


@pytest.mark.parametrize(
    ("colors", "none", "rest"),
    [("truecolor", False, "━"), (None, False, "┈"), ("truecolor", True, "┈")],
)
def test_a_bar_is_read_without_colours(runs: Path, colors: Any, none: bool, rest: str) -> None:
    """24 columns, an eighth of them filled."""
    first, *_ = names_of(runs, "one")
    trial(runs, first, 2, None)
    kind = {"color_system": colors, "no_color": none, "width": 80}  # NO_COLOR sets the second
    console = Console(file=io.StringIO(), force_terminal=True, **kind)
    console.print(drawn(Look(runs, "one")(), console))
    assert isinstance(console.file, io.StringIO)
    text = Text.from_ansi(console.file.getvalue()).plain
    assert "━" * 3 + rest * 21 in text


def test_a_log_gets_lines_and_no_screen(runs: Path) -> None:
    first, second, *_ = names_of(runs, "one")
    trial(runs, first, 4, Status.FINISHED)
    trial(runs, second, 1, None)
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    done = SimpleNamespace(config={"job": 0})
    stopped = SimpleNamespace(config={"job": 1})
    # A whole trial, and a quarter of one that nobody works on: 1.25 of 4.
    text = watched(
        runs,
        console,
        lambda watch: watch.on_trial_start(0, [], done),
        lambda watch: watch.on_trial_result(0, [], done, {"step": 0, "progress": 0.0}),
        lambda watch: watch.on_trial_start(0, [], stopped),
        lambda watch: watch.on_trial_result(0, [], stopped, {"step": 2, "progress": 0.5}),
        lambda watch: watch.on_trial_result(0, [], done, {"step": 4, "eval/accuracy": 0.8}),
        lambda watch: watch.on_trial_complete(0, [], done),
        lambda watch: watch.on_trial_complete(0, [], stopped),
    )
    assert text.splitlines() == [
        f"{second}  continues after step 1",
        f"{first}  step     4  100%  held-out accuracy 0.800 (+0.400)  1,234 tokens/s",
        f"{first}  finished; one: 31% of 4 trials; 1 finished, 2 waiting, 1 interrupted",
    ]
