"""The checks for a GPU, run on the CPU with a tiny model: that they run at all is not left to luck.

And that they need nothing that is not on a bare GPU machine.
"""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from tests.benchmarks import gpu
from tests.benchmarks.verdict import NOT_RUN
from tests.conftest import ROOT
from tests.gpu import checks
from tests.gpu.world import TINY, World

# What `pytest -m gpu` is promised to do without.
ABSENT = ("ray", "mlflow", "polars", "matplotlib")
IMPORTED = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # None: as if it were not installed
import pytest
import torch
sys.exit(pytest.main(["-o", "addopts=", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/gpu"]))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World("cpu", TINY, tmp_path_factory.mktemp("gpu"), steps=2, new_tokens=8, prompts=4)


@pytest.mark.distributed
@pytest.mark.parametrize("family", checks.FAMILIES)
def test_a_family_trains(world: World, family: str) -> None:
    checks.trains(world, family)


@pytest.mark.distributed
@pytest.mark.parametrize("check", checks.ON_THE_DEVICE, ids=lambda check: check.__name__)
def test_on_the_device(world: World, check: Callable[[World], None]) -> None:
    check(world)


@pytest.mark.distributed
def test_a_bare_gpu_machine_can_import_them_and_says_why_they_do_not_run() -> None:
    """Collected without Ray, MLflow, polars and matplotlib; one line says what is missing."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *ABSENT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pytest -m gpu: not run: torch sees no GPU here" in done.stdout
    assert "skipped" in done.stdout


def test_the_benchmarks_lines_are_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """494M parameters, 6 operations each on 1e5 tokens in 1 s of an H100; a sync of 2 GB in 5 s.

    6 * 494e6 * 1e5 / 989e12 is 0.3 of its peak.
    """
    assert round(gpu.parameters() / 1e6) == 494
    step = {f"timing_s/{name}": 1.0 for name in ("old_log_prob", "update_actor")}
    step |= {"timing_s/update_weights": 5.0, "timing_s/step": 8.0, "rollout/sync/bytes": 2e9}
    steps = [step | {"perf/total_num_tokens": tokens} for tokens in (1e5, 9e4, 2e5)]
    lines = gpu.report("vllm", steps, "NVIDIA H100 80GB HBM3")
    text = [" ".join(line.split()) for line in lines]
    assert "vllm tokens/s 12500" in text
    assert "vllm MFU of learning 30.0%" in text
    assert "vllm sync 2.500 s/GB, its check counted" in text
    assert not any("MFU" in line for line in gpu.report("vllm", steps, "another card"))
    if not torch.cuda.is_available():
        assert gpu.main([]) == NOT_RUN
        assert capsys.readouterr().out == "gpu: not run: torch sees no GPU here\n"
