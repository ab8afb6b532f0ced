"""The course of a search: what each attempt of a response tried, worked out and declared."""

import pytest

from harness.tasks.courses import Try, course


def test_a_course_reads_what_was_tried_worked_out_and_declared() -> None:
    response = "7-8=-1+3=2;7+8=16-3=13;7+3=10-8=2;8-7=1+3=4!7A8-7+3"
    assert course(response, (7, 8, 3)) == (
        Try(True, 2, 2, 0, False, True),
        Try(True, 12, 2, 1, False, True),  # 16 is a slip; 16-3=13 holds
        Try(True, 2, 2, 0, False, True),
        Try(True, 4, 2, 0, True, True),  # what comes after a declared hit is not read
    )


@pytest.mark.parametrize(
    ("response", "whole", "value"),
    [
        ("7-8=-1+3=2", False, None),  # cut before its verdict
        ("7-8=-1+;", False, None),  # garbled
        ("7-8=-1;", True, None),  # leaves a number out
        ("7-8=-1+3=2+3=5;", True, None),  # takes one twice
        ("7/3=2+8=10;", True, None),  # no integer
        ("7*3=20/8=2;", True, None),
    ],
)
def test_an_attempt_that_tries_nothing_has_no_value(
    response: str, whole: bool, value: int | None
) -> None:
    (made,) = course(response, (7, 8, 3))
    assert (made.whole, made.value) == (whole, value)


def test_no_attempt_is_no_course() -> None:
    assert course("A7+8-3", (7, 8, 3)) == course("", (7, 8, 3)) == ()
