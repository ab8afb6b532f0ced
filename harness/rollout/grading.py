"""Grading a rollout: an error of the grader's is counted, a fault of its plug-in ends the trial."""

import json
import math
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.blame import named, said
from harness.config import Grading
from harness.distributed.ranks import ALONE, Ranks
from harness.errors import ContractError, GraderError
from harness.machine.stall import moved
from harness.protocols import Task
from harness.rollout.examiner import CORRECT, ERROR, FAULT, FORMATTED, Answer
from harness.types import Grade, Rollout

# The file that keeps the responses on which a grader failed, beside the checkpoints.
ERRORS_FILE = "grader_errors.json"
# The module that the process runs, and its environment: one response at a time needs one thread,
# and a process with threads is not forked lightly.
EXAMINER = "harness.rollout.examiner"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# How often it is said that grading gets on.
POLL_S = 1.0
# Stands for the answer to a response that came after too many graders were killed.
NOT_ASKED = "not asked"
# Answers without a text, which is nearly all of them.
_PLAIN = {
    says: Grade(correct=bool(says & CORRECT), formatted=bool(says & FORMATTED))
    for says in range(CORRECT + FORMATTED + 1)
}


@dataclass(frozen=True, kw_only=True)
class Grader:
    """The task's grades of a rollout, made in a process of their own (harness.rollout.examiner).

    A response whose grader raises, takes too long or ends its process gets a grade that is neither
    correct nor formatted and says what happened; the next ones are graded all the same.
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
            ContractError: the grader returns something else than a grade.
        """
        rows = list(zip(rollout.prompts, rollout.texts, rollout.finished_B.tolist(), strict=True))
        allowed = math.floor(self.limits.max_error_share * len(rows))
        own = self.ranks.share(rows)
        parts = self.ranks.gathered(self._examiner.answers(own, allowed) if own else [])
        answers = [one for part in parts for one in part]
        for says, text in answers:
            if says & FAULT:
                raise ContractError(text)
        self._check(rollout, answers, allowed, len(rows))
        return tuple(_PLAIN.get(says) or _failed(text) for says, text in answers)

    def start(self) -> None:
        """Let the process that grades import the task, while the trial does something else."""
        _ = self._examiner

    def close(self) -> None:
        """End the process that grades; the next call starts another one."""
        if "_examiner" in vars(self):
            self._examiner.close()
            del vars(self)["_examiner"]

    @cached_property
    def _examiner(self) -> "Examiner":
        return Examiner(self.task, self.limits)

    def _check(self, rollout: Rollout, answers: Sequence[Answer], allowed: int, count: int) -> None:
        failed = [i for i, (says, text) in enumerate(answers) if says & ERROR and text != NOT_ASKED]
        if len(failed) <= allowed:
            return
        offending = [
            {
                "prompt": rollout.prompts[i].text,
                "response": rollout.texts[i],
                "error": answers[i][1],
            }
            for i in failed
        ]
        file = self.folder / ERRORS_FILE
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(offending, indent=1))
        raise GraderError(
            f"the grader failed on {len(failed)} of {count} responses, more than "
            f"grading.max_error_share={self.limits.max_error_share:g} allows; the first with "
            f"{answers[failed[0]][1]}; mend {grader_of(self.task)} with the responses in {file}"
        )


class Examiner:
    """The trial's end of the process that grades."""

    def __init__(self, task: Task, limits: Grading) -> None:
        """Start the process; it imports the task while the trial goes on.

        Raises:
            ContractError: the task cannot be sent to another process.
        """
        self.task = task
        self.limits = limits
        sent = self._pickled(task)
        path = os.pathsep.join(filter(None, sys.path))
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            # -P: what it imports is said by our path alone; -u: what a grader prints is not lost
            [sys.executable, "-P", "-u", "-m", EXAMINER, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is the trial's; the process ends with it
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
        )
        theirs.close()
        self.link = Connection(ours.detach())
        self.link.send((sys.path, (limits.cpu_seconds, limits.wall_seconds)))
        self.link.send_bytes(sent)
        self.ready = False

    def answers(self, rows: Sequence[Any], patience: int) -> list[Answer]:
        """What the task says of each row.

        Args:
            rows: (prompt, response, finished) each.
            patience: so many graders may be killed; after one more the rest is not asked for.

        Raises:
            ContractError: the task cannot be had in the other process.
            GraderError: the process was ended by somebody else.
        """
        sent = self._pickled(rows)
        try:
            if not self.ready and (fault := self.link.recv()):
                raise self._unsendable(fault)
            self.ready = True
            self.link.send((len(rows), patience))
            self.link.send_bytes(sent)
            self._await(len(rows))
            made: list[Answer] = self.link.recv()
        except (EOFError, OSError) as error:
            code = self.process.wait()
            raise GraderError(
                f"the process that grades was ended with exit code {code} by somebody else; the "
                f"same command continues from the last checkpoint"
            ) from error
        except BaseException:  # an answer that comes later must not be taken for the next one's
            self.close()
            raise
        return made + [(ERROR, NOT_ASKED)] * (len(rows) - len(made))

    def _await(self, count: int) -> None:
        """Wait for answers; as long as their limits allow it, the trial does not stand still."""
        latest = time.monotonic() + count * self.limits.wall_seconds
        while not self.link.poll(POLL_S):
            if time.monotonic() < latest:
                moved()

    def close(self) -> None:
        """End the process and all that graders have started."""
        self.link.close()
        self.process.wait()

    def _pickled(self, what: object) -> bytes:
        try:
            return pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # as many kinds as there are things that cannot be pickled
            raise self._unsendable(said(error)) from error

    def _unsendable(self, reason: str) -> ContractError:
        return ContractError(
            f"task {named(self.task)} cannot be sent to the process that grades ({reason}); its "
            f"class must be importable, and its fields and answers picklable"
        )


def grader_of(task: Task) -> str:
    """What the user has written: the function of task=jsonl, the class of other tasks."""
    return str(getattr(task, "grader", named(task)))


def _failed(what: str) -> Grade:
    return Grade(correct=False, formatted=False, error=what)
