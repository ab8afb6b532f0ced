"""What a rank computes on: threads, kernels, and the memory that is free there."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

# Limit and use of the memory of this process's group (cgroup v2), as containers have it.
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
# cuBLAS repeats its sums in work spaces of fixed size; read when its first handle is made.
CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass(frozen=True)
class Room:
    """Bytes of a device or of a machine."""

    free: int
    total: int


def settle(threads: int, deterministic: bool) -> None:
    """Set what torch computes with in this process; before anything is computed.

    Args:
        deterministic: only kernels that repeat to the bit; torch raises at an operation that has
            none.
    """
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.update(CUBLAS)
    torch.use_deterministic_algorithms(deterministic)
    # cuDNN's attention makes a plan for every new shape, and here nearly every pass has one: a
    # decode step of 23 ms takes 94 with it (tests/benchmarks/NOTES.md).
    torch.backends.cuda.enable_cudnn_sdp(False)


def gpu() -> Room | None:
    """Of this process's GPU; None where torch sees none."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(0)
    return Room(free, total)


def host() -> Room:
    """Of this machine, or of the container if that has less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    there = Room(min(_available(total), total), total)
    limit, used = _bytes(CGROUP / "memory.max"), _bytes(CGROUP / "memory.current")
    if limit is None or used is None or limit >= total:
        return there
    # What is used counts files that were read and can be let go of.
    return Room(min(there.free, limit - used + _cached()), limit)


def _available(total: int) -> int:
    """What new work may take, by Linux's own estimate; elsewhere all that there is."""
    if not MEMINFO.is_file():
        return total
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _cached() -> int:
    """Bytes of files in the group's memory."""
    text = (CGROUP / "memory.stat").read_text() if (CGROUP / "memory.stat").is_file() else ""
    lines = dict(line.split(" ", 1) for line in text.splitlines())
    return int(lines.get("inactive_file", 0))


def _bytes(file: Path) -> int | None:
    """A number of a control group; None where there is no such file, or no limit."""
    text = file.read_text().strip() if file.is_file() else "max"
    return None if text == "max" else int(text)
