"""Waits: what is said of them, when, and where; the clock is moved by the tests."""

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from harness.machine import progress
from harness.machine.progress import Unit, advance, shown_on, spoken, waiting, weighted


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    monkeypatch.setattr(progress, "_announced", set())
    yield made
    assert progress._waits == []
    assert progress._bars is None


def console(terminal: bool) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=100,
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def text(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def spend(clock: Clock, seconds: int, each: float, unit: Unit = Unit.RESPONSES) -> None:
    """So many seconds, in each of which so much is done."""
    for _ in range(seconds):
        clock.now += 1
        advance(unit, each)


def test_a_log_gets_an_estimate_after_seconds_and_then_rare_lines(clock: Clock) -> None:
    """Two responses a second, 480 in all: 4 minutes. Lines at 5 s, then at 30, 90 and 240 x 3."""
    pipe = console(terminal=False)
    with (
        shown_on(pipe),
        waiting(Unit.RESPONSES, "evaluating", "30 prompts x 16 responses", 480, "task.eval_size"),
    ):
        spend(clock, 4, 2)
        assert text(pipe) == ""
        spend(clock, 236, 2)
    assert text(pipe).splitlines() == [
        "evaluating 30 prompts x 16 responses: about 4 min; shorter with less of task.eval_size",
        "evaluating 30 prompts x 16 responses: 12%, about 4 min left",
        "evaluating 30 prompts x 16 responses: 38%, about 2 min left",
        "evaluating 30 prompts x 16 responses: took 4 min",
    ]


def test_the_estimate_is_the_rate_so_far(clock: Clock) -> None:
    """10 of 100 in 5 s, 50 s in all; a second later nothing more is done: 90 of 100 need 54 s."""
    with waiting(Unit.STEPS, "making", "a base", 100) as wait:
        spend(clock, 5, 2, Unit.STEPS)
        assert wait.left(clock.now) == 45
        clock.now += 1
        assert wait.left(clock.now) == 54


def test_a_fast_wait_says_nothing_anywhere(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """29 s at an even rate: never 30 s as a whole."""
    pipe = console(terminal=False)
    with caplog.at_level(logging.INFO, "harness"), shown_on(pipe):
        with waiting(Unit.RESPONSES, "evaluating", "few", 29):
            spend(clock, 29, 1)
        with waiting(Unit.RESPONSES, "evaluating", "none", 0):
            advance(Unit.RESPONSES, 0)
    assert text(pipe) == ""
    assert caplog.messages == []


def test_without_a_console_lines_go_to_the_log_alone(
    clock: Clock, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        caplog.at_level(logging.INFO, "harness"),
        waiting(Unit.RESPONSES, "evaluating", "many", 100),
    ):
        spend(clock, 100, 1)
    assert caplog.messages[0] == "evaluating many: about 2 min"
    assert capsys.readouterr() == ("", "")


def test_a_kind_is_announced_once_and_later_ones_wait_for_two_minutes(clock: Clock) -> None:
    pipe = console(terminal=False)
    with shown_on(pipe):
        for step in range(3):
            with waiting(Unit.RESPONSES, "sampling", f"{step}", 60):
                spend(clock, 60, 1)
        with waiting(Unit.RESPONSES, "sampling", "long", 600):
            spend(clock, 121, 1)
    said = text(pipe).splitlines()
    assert [line for line in said if not line.startswith("sampling 0")] == [
        "sampling long: about 10 min",
        "sampling long: took 2 min",
    ]


def test_a_terminal_has_a_bar_that_leaves_nothing_but_the_announcement(clock: Clock) -> None:
    screen = console(terminal=True)
    with shown_on(screen), waiting(Unit.RESPONSES, "evaluating", "[b]many\x1b", 400):
        spend(clock, 1, 1)
        assert progress._bars is not None
        spend(clock, 59, 1)
        progress._bars.refresh()
        drawn = text(screen)
    assert "evaluating [b]many\\x1b" in drawn
    assert "about 6 min left" in drawn
    announced = [line for line in text(screen).splitlines() if "about 7 min" in line]
    assert len(announced) == 1
    assert "15%," not in text(screen), "the bar says it"


def test_work_belongs_to_the_innermost_wait_of_its_unit(clock: Clock) -> None:
    with waiting(Unit.SHARE, "training", "", 1) as outer:
        advance(Unit.RESPONSES, 1)
        with waiting(Unit.RESPONSES, "sampling", "", 8) as inner:
            advance(Unit.RESPONSES, 1)
            with weighted(2):
                advance(Unit.RESPONSES, 1)
            advance(Unit.BYTES, 4)
    assert (outer.done, inner.done) == (0, 3)


def test_an_error_ends_the_wait_and_is_not_said_to_be_its_end(clock: Clock) -> None:
    pipe = console(terminal=False)

    def broken() -> None:
        with waiting(Unit.RESPONSES, "evaluating", "many", 100):
            spend(clock, 10, 1)
            raise ValueError("broken")

    with shown_on(pipe), pytest.raises(ValueError, match="broken"):
        broken()
    assert text(pipe) == "evaluating many: about 2 min\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (19, "19 s"), (44, "40 s"), (94, "90 s"), (240, "4 min"), (9000, "2.5 h")],
)
def test_estimates_are_spoken_in_round_numbers(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_bar_fits_a_narrow_screen(clock: Clock) -> None:
    """Words of 90 columns: they are cut in their middle, and nothing else is."""
    screen = console(terminal=True)
    screen.width = 80
    with shown_on(screen), waiting(Unit.STEPS, "making", "a base, once: " + "word " * 15, 400):
        spend(clock, 10, 1, Unit.STEPS)
        assert progress._bars is not None
        progress._bars.refresh()
        lines = [line for line in text(screen).replace("\r", "\n").split("\n") if "━" in line]
    assert "…" in lines[-1]
    assert "about 6 min left" in lines[-1]
