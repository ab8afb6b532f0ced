"""The process that watches a grader: whatever a grader does, the trial goes on and knows of it.

    trial  --rows-->  examiner  --rows-->  grader
    trial  <-grades-  examiner  <-grades-  grader

Each rank of a trial starts one examiner, a new interpreter that imports the task and nothing that
is slow. It forks the grader, which calls the task, and looks at it from outside: one that takes too
long, or is gone, is killed with all that it started, its response is an error, and a new fork goes
on with the next one. The examiner ends when the trial does, however that ends.

A fork costs a millisecond and has imported what its predecessor had; the trial itself is never
forked, since it has threads.
"""

import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from harness.blame import LENGTH, line, named, said
from harness.errors import HarnessError
from harness.prompts import Grade

# What an answer says: two bits of a grade; that the response is an error; that the task is at
# fault, whatever the response.
CORRECT, FORMATTED, ERROR, FAULT = 1, 2, 4, 8
# (what it says, a text for errors and faults)
Answer = tuple[int, str]
# How often a grader that does not answer is looked at, in shares of its CPU limit.
LOOKS = 20
# How often an idle examiner looks whether its trial lives; a closed pipe it sees at once.
ALIVE_S = 2.0
# How long a process may take to end once its pipe is closed.
ENDING_S = 1.0
# Characters of a fault, which is shown once.
FAULT_LENGTH = 1000
# Before each answer: what it says, bytes of its text. Before rows: the first to grade, their bytes.
_ANSWER, _ROWS = struct.Struct("<BI"), struct.Struct("<QQ")
_CHUNK = 1 << 16
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Limits:
    """Of one response.

    Attributes:
        cpu_s: CPU time of the grader's process. The first response of a process has none: what a
            grader loads when it is first called is not the response's.
        wall_s: time that passes, whatever the grader does.
    """

    cpu_s: float
    wall_s: float


class EndedError(Exception):
    """The grader's process is gone, or has to go; the message says why."""


# --- in the grader's process ----------------------------------------------------------------------


def answer(task: Any, prompt: Any, response: str, finished: bool) -> Answer:
    """What the task says of a response; whatever it raises is an error of the response."""
    try:
        grade = task.grade(prompt, response, finished)
        fault = _wrong(grade)
        if fault:
            return FAULT, f"{named(task)}.grade {fault}"
        says = CORRECT * bool(grade.correct) + FORMATTED * bool(grade.formatted)
        return (says | ERROR, line(grade.error, LENGTH)) if grade.error else (says, "")
    except HarnessError as error:  # the plug-in says that it is at fault itself
        return FAULT, line(str(error), FAULT_LENGTH)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are a grader's errors as well
        return ERROR, said(error)


def _wrong(grade: object) -> str:
    """What is wrong with what a grader has returned."""
    if not isinstance(grade, Grade):
        return f"returned {_shown(grade)}, which is no harness.types.Grade"
    for name in ("correct", "formatted"):
        if getattr(grade, name) not in (True, False):
            return f"returned a Grade whose {name} is {_shown(getattr(grade, name))}, no bool"
    if not isinstance(grade.error, str):
        return f"returned a Grade whose error is {_shown(grade.error)}, no text"
    return ""


def _shown(value: object) -> str:
    return line(repr(value), 40)


def _grade_for_ever(task: Any, link: socket.socket, examiner: int) -> NoReturn:
    """The grader's process. Nothing but answers leaves it, and only its own."""
    own = os.getpid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        while os.getppid() == examiner:
            first, size = _ROWS.unpack(_exactly(link, _ROWS.size))
            for row in pickle.loads(_exactly(link, size))[first:]:
                says, text = answer(task, *row)
                if os.getpid() != own:
                    break  # a fork that the grader made has come back: it is no second grader
                said_in = text.encode("utf-8", "backslashreplace")
                link.sendall(_ANSWER.pack(says, len(said_in)) + said_in)
            if os.getpid() != own:
                break
    finally:
        os._exit(1)  # no handlers, no output: this is a copy of the examiner


def _exactly(link: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = link.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


# --- in the examiner's process --------------------------------------------------------------------


class Grader:
    """A fork of this process that grades, and the look at it from outside."""

    def __init__(self, task: Any, limits: Limits, trial: Connection) -> None:
        self.limits = limits
        self.trial = trial
        self.answered = 0
        examiner = os.getpid()
        self.link, theirs = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            os.setpgid(0, 0)
            self.link.close()
            trial.close()
            _grade_for_ever(task, theirs, examiner)
        os.setpgid(self.pid, self.pid)  # whoever of the two comes first
        theirs.close()
        self.link.settimeout(limits.wall_s)
        self.poller = select.poll()
        self.poller.register(self.link, select.POLLIN)
        self.poller.register(trial, 0)  # asks for nothing: it is told when the trial has hung up

    def send(self, first: int, rows: bytes) -> None:
        """Rows to grade, from the first one that has no answer.

        Raises:
            EndedError: it takes none.
        """
        try:
            self.link.sendall(_ROWS.pack(first, len(rows)) + rows)
        except TimeoutError:
            raise EndedError(f"killed: more than {self.limits.wall_s:g} s") from None
        except OSError:
            raise EndedError(self._how()) from None

    def answers(self, count: int) -> Iterator[Answer]:
        """The next so many answers, as they come.

        Raises:
            EndedError: the process is gone or takes too long.
        """
        waiting = bytearray()
        self._begin()
        while count:
            if not self._readable():
                self._look()
                continue
            chunk = self.link.recv(_CHUNK)
            if not chunk:
                raise EndedError(self._how())
            waiting += chunk
            for made in _taken(waiting):
                count -= 1
                self.answered += 1
                yield made
            self._begin()

    def close(self) -> None:
        """Kill it and all that it has started, unless that has left its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.link.close()
        with suppress(ChildProcessError):  # it was reaped when it was found dead
            os.waitpid(self.pid, 0)

    def _begin(self) -> None:
        """A response's time begins."""
        self.began, self.cpu_began = time.monotonic(), self._cpu()

    def _readable(self) -> bool:
        for file, _ in self.poller.poll(1000 * self.limits.cpu_s / LOOKS):
            if file == self.link.fileno():
                return True
            raise SystemExit  # the trial is gone
        return False

    def _look(self) -> None:
        """A grader that has said nothing: is it too late, or dead while a fork of it lives on?"""
        limits = self.limits
        if self.answered and self._cpu() - self.cpu_began > limits.cpu_s:
            raise EndedError(f"killed: more than {limits.cpu_s:g} s of CPU time")
        if time.monotonic() - self.began > limits.wall_s:
            raise EndedError(f"killed: more than {limits.wall_s:g} s")
        dead = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if dead and not self.poller.poll(0):  # a fork of it holds the pipe open
            raise EndedError(self._how())

    def _cpu(self) -> float:
        """CPU seconds of that process so far, of all its threads."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # its clock: clock_getcpuclockid(3)
        except OSError:  # it has just died, which the next look finds
            return 0.0

    def _how(self) -> str:
        """How a process ended whose pipe is closed; one that lives on without it is killed."""
        latest = time.monotonic() + ENDING_S
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not os.waitid(os.P_PID, self.pid, ended) and time.monotonic() < latest:
            time.sleep(0.001)
        os.killpg(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code < 0:
            return f"the grader's process was ended by {signal.Signals(-code).name}"
        return f"the grader ended its process with exit code {code}"


def _taken(waiting: bytearray) -> Iterator[Answer]:
    """The whole answers at the beginning of what has come, taken from it."""
    start = 0
    while len(waiting) - start >= _ANSWER.size:
        says, size = _ANSWER.unpack_from(waiting, start)
        text, end = start + _ANSWER.size, start + _ANSWER.size + size
        if len(waiting) < end:
            break
        yield says, waiting[text:end].decode() if size else ""
        start = end
    del waiting[:start]


def _examine(trial: Connection, task: Any, limits: Limits, parent: int) -> None:
    """Answer the trial's requests until it is gone."""
    grader: Grader | None = None
    try:
        while os.getppid() == parent:
            if not trial.poll(ALIVE_S):
                continue
            count, patience = trial.recv()
            rows = trial.recv_bytes()
            made: list[Answer] = []
            while len(made) < count and patience >= 0:
                grader = grader or Grader(task, limits, trial)
                try:
                    grader.send(len(made), rows)
                    for one in grader.answers(count - len(made)):
                        made.append(one)
                except EndedError as end:
                    made.append((ERROR, str(end)))
                    patience -= 1
                    grader.close()
                    grader = None
            trial.send(made)
    except EOFError:
        pass
    finally:
        if grader is not None:
            grader.close()


def main() -> None:
    """Examine for the trial whose pipe and process the command line names."""
    trial, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    sys.path[:], limits = trial.recv()
    try:
        task = pickle.loads(trial.recv_bytes())
    except BaseException as error:  # it imports the plug-in, which may raise anything
        trial.send(said(error))
        return
    trial.send("")
    _examine(trial, task, Limits(*limits), parent)


if __name__ == "__main__":
    main()
