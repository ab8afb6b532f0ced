"""Graders that do what graders must not: imported by the process that grades, so without torch."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ContractError
from harness.prompts import Grade, Prompt

RIGHT = Grade(correct=True, formatted=True)


@dataclass(frozen=True)
class Graded:
    """A task that grades with a function of this module: of the responses "bad", the other is
    right."""

    name: str
    folder: str = ""

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Any:
        return RIGHT if response == "good" else FUNCTIONS[self.name](self, response)


def raises(task: Graded, response: str) -> Grade:
    raise ValueError("no\nnumber here")


def loops(task: Graded, response: str) -> Grade:
    while True:
        pass


def swallows(task: Graded, response: str) -> Grade:
    """As graders are written: whatever happens, the response is wrong."""
    while True:
        try:
            loops(task, response)
        except BaseException:
            continue


def busy_in_c(task: Graded, response: str) -> Grade:
    sum(itertools.repeat(1, 10**12))  # one call, which nothing inside the process can interrupt
    return RIGHT


def powers(task: Graded, response: str) -> Grade:
    pow(7, 10**8)
    return RIGHT


def sleeps(task: Graded, response: str) -> Grade:
    time.sleep(3600)
    return RIGHT


def dozes(task: Graded, response: str) -> Grade:
    time.sleep(0.3)
    return RIGHT


def waits(task: Graded, response: str) -> Grade:
    threading.Event().wait()
    return RIGHT


def reads(task: Graded, response: str) -> Grade:
    input()
    return RIGHT


def exits(task: Graded, response: str) -> Grade:
    sys.exit(3)


def is_interrupted(task: Graded, response: str) -> Grade:
    raise KeyboardInterrupt


def raises_the_unspeakable(task: Graded, response: str) -> Grade:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise MuteError


def leaves(task: Graded, response: str) -> Grade:
    os._exit(3)


def leaves_well(task: Graded, response: str) -> Grade:
    os._exit(0)


def aborts(task: Graded, response: str) -> Grade:
    os.abort()


def kills_itself(task: Graded, response: str) -> Grade:
    os.kill(os.getpid(), signal.SIGKILL)
    return RIGHT


def closes_all(task: Graded, response: str) -> Grade:
    os.closerange(3, 256)
    return RIGHT


def overflows(task: Graded, response: str) -> Grade:
    return overflows(task, response)


def forks(task: Graded, response: str) -> Grade:
    """Both processes come back with a grade."""
    Path(task.folder, f"fork_{os.fork()}").touch()
    return Grade(correct=False, formatted=True)


def forks_and_leaves(task: Graded, response: str) -> Grade:
    """Its fork lives on with every pipe open."""
    if child := os.fork():
        Path(task.folder, f"fork_{child}").touch()
        os._exit(4)
    time.sleep(3600)
    return RIGHT


def starts_a_sleeper(task: Graded, response: str) -> Grade:
    child = subprocess.Popen(["sleep", "3600"])
    Path(task.folder, f"fork_{child.pid}").touch()
    return RIGHT


def starts_a_sleeper_and_sleeps(task: Graded, response: str) -> Grade:
    starts_a_sleeper(task, response)
    return sleeps(task, response)


def faulty(task: Graded, response: str) -> Grade:
    raise ContractError("says so itself")


RETURNED: dict[str, Any] = {
    "float": 1.0,
    "None": None,
    "text": "yes",
    "bool": True,
    "tuple": (True, True),
    "half": Grade(correct=0.5, formatted=True),  # type: ignore[arg-type]
    "nothing": Grade(correct=True, formatted=None),  # type: ignore[arg-type]
    "no text": Grade(correct=False, formatted=False, error=3),  # type: ignore[arg-type]
}
FUNCTIONS: dict[str, Callable[[Graded, str], Any]] = {
    **{name: value for name, value in vars().items() if callable(value) and name.islower()},
    **{name: lambda task, response, made=made: made for name, made in RETURNED.items()},
}


@dataclass(frozen=True)
class Local:
    """A task with a field that no other process can have."""

    lock: Any

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        return RIGHT


class Unimportable(Graded):
    """A task that another process cannot make."""

    def __init__(self) -> None:
        super().__init__("raises")

    def __setstate__(self, state: object) -> None:
        raise ImportError("no such thing here")
