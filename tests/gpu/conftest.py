"""One line that says why nothing ran, where there is no GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu.world import HALF_BILLION, World

ABSENT = "not run: torch sees no GPU here"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The model's real shape on this machine's GPU."""
    folder: Path = tmp_path_factory.mktemp("gpu")
    return World("cuda", HALF_BILLION, folder, steps=20, new_tokens=16, prompts=8)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Said once, and only to who asked for these tests."""
    asked = any("tests/gpu/test_gpu" in r.nodeid for r in terminalreporter.getreports("skipped"))
    if asked and not torch.cuda.is_available():
        terminalreporter.write_line(f"pytest -m gpu: {ABSENT}")
