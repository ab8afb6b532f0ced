"""The graders against an adversary: the shipped set, fuzzing, and an oracle of another kind."""

import dataclasses
import re
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.commands import audit_numbers, audit_reward
from harness.commands.audit_reward import on_fuzz, on_the_set, problems_of
from harness.tasks import expressions, numbers
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.number_oracle import worth
from harness.tasks.oracle import right, solution
from harness.tasks.templates import TinyZeroBase

TAGGED = Countdown(template=TinyZeroBase(), train_size=64, eval_size=16)
PROMPT = TAGGED.pool()[0]
RIGHT = solution(PROMPT.answer)
# CPU seconds that no response may take: 32k characters are read in far less on any machine, and in
# far more where something is gone back and forth in (1 to 16 s, regular expressions tried).
CPU_LIMIT_S = 1.0
EXAMPLES = 600
LONGEST = 32_000

PIECES = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789+-*/() \n.=", max_size=60),
    st.sampled_from(["<answer>", "</answer>", "Assistant:", "((((", "9**9**9", "\x00", "\u202e"]),
    st.just(f"<answer>{RIGHT}</answer>"),
    st.just(str(RIGHT)),
)
RESPONSES = st.tuples(st.lists(PIECES, max_size=12), st.integers(1, 400)).map(
    lambda drawn: ("".join(drawn[0]) * drawn[1])[:LONGEST]
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(response=RESPONSES, finished=st.booleans())
def test_no_response_crashes_hangs_or_fools_the_grader(response: str, finished: bool) -> None:
    begun = time.process_time()
    grade = TAGGED.grade(PROMPT, response, finished)
    assert time.process_time() - begun < CPU_LIMIT_S
    assert grade.correct == right(TAGGED, PROMPT.answer, response, finished)
    assert grade.formatted or not grade.correct


@pytest.mark.parametrize(
    ("content", "formatted"),
    [
        ("<answer>9**9**9</answer>", True),
        ("<answer>" + "(" * 10_000 + "1" + ")" * 10_000 + "</answer>", True),
        ("<answer>" + "9" * 1_000_000 + "</answer>", True),
        ("<answer>" + "-" * 200 + "1</answer>", True),
        (f"<answer>\x00{RIGHT}</answer>", True),
        (f"<answer>\u202e{RIGHT}</answer>", True),
        (f"<answer>{RIGHT}", False),
        (f"</answer>{RIGHT}<answer>", False),
        ("<answer>" * 5_000, False),
        (f"<answer>{RIGHT}</answer>" + "<answer>Assistant:</answer>", True),
    ],
    ids=lambda value: str(value)[:24],
)
def test_malicious_responses_are_never_right(content: str, formatted: bool) -> None:
    grade = TAGGED.grade(PROMPT, content, True)
    assert (grade.correct, grade.formatted) == (False, formatted)


def test_the_last_closed_tag_counts_however_many_there_are() -> None:
    noise = "<answer>1+1</answer> Assistant: " * 1_300  # over 40,000 characters
    assert TAGGED.grade(PROMPT, f"{noise}<answer>\n{RIGHT}\n</answer>\nmore text", True).correct


@pytest.mark.parametrize("overrides", [[], ["task/template=tinyzero_base"]])
def test_the_shipped_set_is_graded_as_expected(
    composed: Callable[..., Any], overrides: list[str]
) -> None:
    config = composed(*overrides, "model=hf", "model.path=x") if overrides else composed()
    task, problems = problems_of(config.task)
    tallies = on_the_set(task, problems)
    assert sum(tally.cases for tally in tallies.values()) > 1_000
    assert [failure for tally in tallies.values() for failure in tally.failures] == []
    fuzzed = on_fuzz(task, problems, seed=1, count=2_000)
    assert fuzzed.failures == []
    assert 0 < fuzzed.accepted < fuzzed.cases


def test_answers_that_leave_numbers_out_are_seen_alike() -> None:
    loose = Countdown(template=TinyZeroBase(), train_size=64, eval_size=16, at_most_once=True)
    fuzzed = on_fuzz(*problems_of(loose), seed=2, count=2_000)
    assert fuzzed.failures == []
    assert 0 < fuzzed.accepted < fuzzed.cases
    answer = CountdownAnswer((2, 3, 6), 6)
    for content in ("6", "2*3", "6+3-3", "6+2-2", "6*3/3", "2+3+6-5", "2*6-6", "(6)", "3*6/3"):
        for task in (loose, TAGGED):
            prompt = dataclasses.replace(PROMPT, answer=answer)
            response = f"<answer>{content}</answer>"
            seen = task.grade(prompt, response, True).correct
            assert seen == right(task, answer, response, True)
            assert seen is (task is loose and content in ("6", "2*3", "(6)"))


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_DEPTH", 1), ("MAX_DIGITS", 0), ("MAX_CHARACTERS", 2)]
)
def test_a_grader_that_refuses_right_answers_is_seen(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(expressions, name, value)
    task, problems = problems_of(Countdown())
    tallies = on_the_set(task, problems)
    assert any(tally.failures for tally in tallies.values())


def test_a_grader_that_accepts_wrong_answers_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What many checkers do: they cut the content at the equals sign."""
    real = expressions.parse
    monkeypatch.setattr(expressions, "parse", lambda text: real(text.partition("=")[0]))
    monkeypatch.setattr(sys, "argv", ["audit_reward", "fuzz=500", "task.train_size=64"])
    assert audit_reward.main() == audit_reward.EXIT_FOOLED
    out = capsys.readouterr().out
    assert "equals sign" in out
    assert "not formatted" in out


def test_written_numbers_are_graded_as_expected() -> None:
    tallies = audit_numbers.on_the_set()
    assert sum(tally.cases for tally in tallies.values()) > 5_000
    assert [failure for tally in tallies.values() for failure in tally.failures] == []
    fuzzed = audit_numbers.on_fuzz(seed=1, count=10_000)
    assert fuzzed.failures == []
    assert 200 < fuzzed.accepted < fuzzed.cases / 10


def digits_only(match: re.Match[str]) -> Fraction:
    """What many checkers do: they pass over all but the digits."""
    return Fraction("".join(re.findall("[0-9]", match[0])) or 0)


def test_a_reader_of_other_numbers_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "value", digits_only)
    tallies = audit_numbers.on_the_set()
    failing = {category for category, tally in tallies.items() if tally.failures}
    assert {"numbers: other values", "numbers: percent", "numbers, right: fractions"} <= failing
    assert audit_numbers.on_fuzz(seed=1, count=2_000).failures != []


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("18", "18"), ("-1,250.5", "-2501/2"), ("70{,}000", "70000"), ("7e4", "70000"),
        (r"$7 \times 10^{4}$", "70000"), ("7 × 10⁻²", "7/100"), (r"\frac{1}{2}", "1/2"),
        ("1½", "3/2"), (r"1\frac12", "3/2"), ("1 1/2", "3/2"), ("50%", "50"), ("−$18", "-18"),
        (r"\boxed{18}.", "18"), ("**18**", "18"), ("3rd", "3"), ("007", "7"), ("2+3*4", "14"),
        ("1250kg", None), ("x1250", None), ("1/0", None), ("18 19", None), ("", None),
    ],
)  # fmt: skip
def test_the_oracle_of_numbers(content: str, value: str | None) -> None:
    assert worth(content) == (None if value is None else Fraction(value))


def test_user_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in ((["fuzz=many"], "whole number"), (["task=coin"], "about Countdown")):
        monkeypatch.setattr(sys, "argv", ["audit_reward", *arguments])
        assert audit_reward.main() == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1
