"""Grading a rollout: what a grader raises is counted, and none takes longer than its limit."""

import ctypes
import json
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.config import Grading
from harness.distributed.ranks import ALONE, Ranks
from harness.errors import GraderError, HarnessError
from harness.protocols import Task
from harness.types import Grade, Prompt, Rollout

# The file that keeps the responses on which a grader failed, beside the checkpoints.
ERRORS_FILE = "grader_errors.json"
# How often the limit is looked at, in shares of it.
LOOKS = 20


class TimeLimit(BaseException):
    """Raised inside a grader that takes too long; no `except Exception` of its own stops it."""


@dataclass(frozen=True, kw_only=True)
class Grader:
    """The task's grades of a rollout.

    A response whose grader raises, or takes more than its CPU time, gets a grade that is neither
    correct nor formatted and says what was raised. The time limit interrupts Python code; a single
    call into C is only seen to have taken too long when it comes back.
    """

    task: Task
    limits: Grading
    folder: Path
    """Where the offending responses are kept when the run stops."""
    ranks: Ranks = ALONE
    """Each grades its part of the responses."""

    def __call__(self, rollout: Rollout) -> tuple[Grade, ...]:
        """B grades.

        Raises:
            GraderError: more than the allowed share of them are errors.
        """
        rows = list(zip(rollout.prompts, rollout.texts, rollout.finished_B.tolist(), strict=True))
        with _Watch(self.limits.cpu_seconds) as watch:
            own = [watch.grade(self.task, *row) for row in self.ranks.share(rows)]
        grades = tuple(grade for part in self.ranks.gathered(own) for grade in part)
        self._check(rollout, grades)
        return grades

    def _check(self, rollout: Rollout, grades: tuple[Grade, ...]) -> None:
        failed = [i for i, grade in enumerate(grades) if grade.error]
        if len(failed) <= self.limits.max_error_share * len(grades):
            return
        offending = [
            {
                "prompt": rollout.prompts[i].text,
                "response": rollout.texts[i],
                "error": grades[i].error,
            }
            for i in failed
        ]
        file = self.folder / ERRORS_FILE
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(offending, indent=1))
        raise GraderError(
            f"the grader failed on {len(failed)} of {len(grades)} responses, more than "
            f"grading.max_error_share={self.limits.max_error_share:g} allows; the first with "
            f"{grades[failed[0]].error}; mend it with the responses in {file}"
        )


class _Watch:
    """A thread that raises TimeLimit in the one that grades.

    Who has set the deadline to infinity and then sees `looking` false can no longer be hit: the
    watching thread raises `looking` before it reads the deadline.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.grading = threading.get_ident()
        self.clock = time.pthread_getcpuclockid(self.grading)
        self.deadline = math.inf
        self.looking = False
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()

    def grade(self, task: Task, prompt: Prompt, response: str, finished: bool) -> Grade:
        """The task's grade, or one that says what was raised."""
        began = time.clock_gettime(self.clock)
        try:
            try:
                self.deadline = began + self.limit_s
                grade = task.grade(prompt, response, finished)
            finally:
                self._disarm()
            if time.clock_gettime(self.clock) - began > self.limit_s:
                raise TimeLimit
        except TimeLimit:
            return _failed(f"more than {self.limit_s:g} s of CPU time")
        except HarnessError:  # the plug-in's fault, not the response's
            raise
        except Exception as error:  # whatever a grader raises is an error of this response
            return _failed(f"{type(error).__name__}: {error}")
        return grade

    def _disarm(self) -> None:
        self.deadline = math.inf
        while self.looking:
            time.sleep(0)
        _let_pending_raise()

    def _watch(self) -> None:
        while not self.done.wait(self.limit_s / LOOKS):
            self.looking = True
            if time.clock_gettime(self.clock) > self.deadline:
                self.deadline = math.inf
                raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
                raise_in(ctypes.c_ulong(self.grading), ctypes.py_object(TimeLimit))
            self.looking = False


def _let_pending_raise() -> None:
    """Python raises what another thread has sent when a function begins."""


def _failed(what: str) -> Grade:
    return Grade(correct=False, formatted=False, error=" ".join(what.split())[:200])
