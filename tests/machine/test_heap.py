"""What is permanent is not looked at again, and all is as before at the end."""

import gc
import weakref

import pytest

from harness.machine import heap


class Node:
    """A part of a cycle."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_there_is_frozen_and_what_comes_is_collected() -> None:
    before = gc.get_freeze_count()
    Node()  # garbage before: it is not kept for ever
    with heap.settled(True):
        frozen = gc.get_freeze_count()
        assert frozen > before + 1000
        later = weakref.ref(Node())
        gc.collect()
        assert later() is None
        assert gc.get_freeze_count() <= frozen
    assert gc.get_freeze_count() == 0


def test_it_is_undone_after_an_error_and_left_alone_without_an_engine_that_sleeps() -> None:
    with pytest.raises(ValueError, match="mine"), heap.settled(True):
        raise ValueError("mine")
    assert gc.get_freeze_count() == 0
    with heap.settled(False):
        assert gc.get_freeze_count() == 0
