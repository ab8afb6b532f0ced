"""What surrounds a trial in its process: a plug-in that ends it is told of."""

import os
import subprocess
import sys

import pytest

from harness.machine.process import exits_told
from tests.conftest import ROOT

CODE = """
import os
from harness.machine.process import exits_told
with exits_told():
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os._exit({code})
"""


@pytest.mark.parametrize(("code", "exit_code"), [(0, 1), (1, 1), (7, 7)])
def test_a_plug_in_that_ends_the_process_is_no_success(code: int, exit_code: int) -> None:
    """The first exit is a forked child's, which may end so and says nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE.format(code=code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == exit_code
    assert done.stderr.startswith(f"error: something in the trial called os._exit({code})")
    assert len(done.stderr.splitlines()) == 1


def test_outside_of_a_trial_os_exit_is_what_it_was() -> None:
    before = os._exit
    with exits_told():
        assert os._exit is not before
    assert os._exit is before


# What a shell's jobs get when its window is closed; `nohup` has them ignore it.
CLOSED = """
import os, signal, sys
from harness.machine.process import as_ctrl_c, terminable
for what in (as_ctrl_c, terminable):
    for how in (signal.SIG_DFL, signal.SIG_IGN):
        other, terminal = os.openpty()
        if os.fork():
            os.wait()
            continue
        os.dup2(terminal, 1)
        os.close(terminal)
        signal.signal(signal.SIGHUP, how)
        try:
            with what():
                os.close(other)  # writing to the terminal fails from here on
                os.kill(os.getpid(), signal.SIGHUP)
                print("goes on", file=sys.stderr)
        except BaseException as end:
            os.kill(os.getpid(), signal.SIGHUP)  # the shell's
            print("this has no reader", flush=True)
            print(type(end).__name__, file=sys.stderr)
        os._exit(0)
"""


def test_a_closed_terminal_is_ctrl_c_unless_it_is_to_be_outlived() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLOSED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.split("\n") == ["KeyboardInterrupt", "goes on", "Terminated", "goes on", ""]
