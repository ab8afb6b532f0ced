"""What a record says of where its numbers come from."""

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.facts import facts
from harness.machine import provenance
from harness.tracking import Names
from harness.tracking.none import NoTracking
from harness.tracking.record import read
from harness.tracking.recording import recording

COMMIT = {"git_commit", "git_dirty"}


def test_a_record_has_every_fact_that_the_report_compares(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    config = composed()

    class Source:
        hash = "f" * 64

    known = facts(config, Source())  # type: ignore[arg-type]
    with recording(tmp_path, tmp_path, NoTracking(), Names("t", "v"), known, seal="") as run:
        run.finish()
    record = read(tmp_path)
    assert record is not None
    assert set(record.facts) == COMMIT | set(provenance.FACTS)
    libraries = json.loads(record.facts["libraries"])
    assert libraries["python"] == platform.python_version()
    assert {"torch", "transformers", "polars"} <= set(libraries)
    assert all(record.facts.values())


def test_hardware_is_processor_and_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC\ncache\t: 1\n" * 2)
    for number, name in enumerate(["NVIDIA L4", "NVIDIA H100", "NVIDIA L4"]):
        (tmp_path / "gpus" / str(number)).mkdir(parents=True)
        (tmp_path / "gpus" / str(number) / "information").write_text(f"Model: \t {name}\nIRQ: 1\n")
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance, "GPU_INFO", tmp_path / "gpus")
    assert provenance.hardware() == "AMD EPYC, 1 x NVIDIA H100, 2 x NVIDIA L4"
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "none")
    assert provenance.hardware().endswith(", 1 x NVIDIA H100, 2 x NVIDIA L4")
