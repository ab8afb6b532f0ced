"""What memory there is, and what torch computes with."""

from pathlib import Path

import pytest
import torch

from harness.machine import devices


def test_the_machine_has_what_linux_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """1,000 pages of 4,096; 2,000 kB of them are available."""
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(devices.os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    monkeypatch.setattr(devices, "MEMINFO", tmp_path / "meminfo")
    assert devices.host() == devices.Room(free=4_096_000, total=4_096_000), "not on Linux"
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable:    2000 kB\n")
    assert devices.host() == devices.Room(free=2_048_000, total=4_096_000)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert devices.host().total == 4_096_000, "a container without a limit"
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 400000\n")
    # 3,000,000 - 1,000,000 + 400,000 are more than what the machine has.
    assert devices.host() == devices.Room(free=2_048_000, total=3_000_000)
    (tmp_path / "memory.current").write_text("2500000\n")
    assert devices.host() == devices.Room(free=900_000, total=3_000_000)


def test_here_is_no_gpu_or_it_has_room() -> None:
    room = devices.gpu()
    assert (room is not None) == torch.cuda.is_available()


def test_deterministic_kernels_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        devices.settle(1, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert devices.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        devices.settle(1, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_attention_that_plans_each_shape_anew_is_left_out() -> None:
    """By what torch is told: whether it is fast can be seen on a GPU alone."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    devices.settle(1, deterministic=False)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.mem_efficient_sdp_enabled(), "which takes a mask"
