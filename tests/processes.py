"""Trials as processes: where they write, whether they live, and what they leave."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness.trial import trial_folder
from tests.conftest import command

# Until a command's trial has written its first checkpoint. Far above what it takes: the limits of
# waiting end a test that hangs, and say nothing about speed on a machine with other work.
FIRST_S = 600.0


def folder_of(work: Path, composed: Callable[..., Any], *overrides: str) -> Path:
    return trial_folder(composed(*overrides, f"runs={work / 'runs'}"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = load_file(folder / "final" / "model.safetensors")
    return loaded


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def pids(folder: Path) -> list[int]:
    """Processes of the two ranks, as their logs say."""
    logs = [folder / "trial.log", folder / "trial.rank1.log"]
    return [int(re.findall(r"process (\d+) starts", log.read_text())[-1]) for log in logs]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started(work: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, once its trial has written a checkpoint."""
    process = subprocess.Popen(
        **command(*arguments),
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: bool(list(folder.glob("step_*"))) or process.poll() is not None, FIRST_S)
    assert process.poll() is None, process.communicate()[0]
    return process
