"""Whole trials with vLLM, through the real command."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import OpenAIGPTConfig

from harness.errors import ConfigError
from harness.tracking.store import open_store
from tests.conftest import SMALL, command, harness
from tests.processes import FIRST_S, alive, folder_of, pids, started, wait_for

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

TRIAL = (
    *(*SMALL, "rollout=vllm", "rollout.max_new_tokens=48", "rollout.cache_gb=0.2"),
    *("model.architecture.heads=2", "evaluation.pass_k=0", "tracking=none"),
)
TWENTY = (*TRIAL, "budget.amount=20")
MISMATCH = 1e-4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, composed: Callable[..., Any]) -> Path:
    """A runs folder with the model that vLLM's kernels for the CPU can run."""
    runs = tmp_path_factory.mktemp("vllm_base") / "runs"
    config = composed(*TRIAL, f"runs={runs}")
    config.model.prepare(config.task, str(runs))
    return runs


@pytest.fixture
def work(tmp_path: Path, base: Path) -> Path:
    shutil.copytree(base / "models", tmp_path / "runs" / "models")
    return tmp_path


def steps(folder: Path) -> list[dict[str, float]]:
    """Metrics of every step, from the trial's log."""
    lines = re.findall(r"step \d+ (\{.*\})$", (folder / "trial.log").read_text(), re.MULTILINE)
    return [json.loads(line) for line in lines]


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if not path.is_dir()}


def trained(work: Path, composed: Callable[..., Any], *overrides: str) -> list[dict[str, float]]:
    done = harness(work, *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # vLLM's words are in the log
    return steps(folder_of(work, composed, *overrides))


def test_twenty_steps_on_one_rank_on_two_and_on_two_that_share_an_engine(
    work: Path, composed: Callable[..., Any]
) -> None:
    layouts = {
        "one": (),
        "two": ("trainer.ranks=2",),
        "together": ("trainer.ranks=2", "rollout.tensor_parallel=2"),
    }
    found = {name: trained(work, composed, *TWENTY, *extra) for name, extra in layouts.items()}
    for name, rows in found.items():
        assert len(rows) == 21
        worst = max(row["rollout/mismatch/max"] for row in rows[1:])
        print(name, "largest log-prob difference of 20 steps:", worst)  # shown by -s
        assert worst <= MISMATCH
        assert max(row["rollout/sync/gap"] for row in rows[1:]) <= MISMATCH
        assert any(row["actor/grad_norm"] > 0 for row in rows[1:])
        # Equal seeds, equal responses, whoever draws them: base and first step, before rounding
        # can tell the layouts apart.
        for key in ("eval/accuracy", "eval/response_length/mean"):
            assert rows[0][key] == found["one"][0][key]
        assert rows[1]["response_length/mean"] == found["one"][1]["response_length/mean"]
        assert rows[1]["reward/accuracy"] == found["one"][1]["reward/accuracy"]


def test_kill_9_of_a_rank_with_an_engine_leaves_nothing_and_is_resumed(
    work: Path, composed: Callable[..., Any]
) -> None:
    long = (
        *(*TRIAL, "trainer.ranks=2", "rollout.tensor_parallel=2"),
        *("budget.amount=30", "trainer.save_every=0.1", "evaluation.every=0.5"),
    )
    folder = folder_of(work, composed, *long)
    before = shared_memory()
    process = started(work, folder, *long)
    ranks = pids(folder)
    os.kill(ranks[1], signal.SIGKILL)
    killed = time.monotonic()
    out = process.communicate(timeout=120)[0]
    assert time.monotonic() - killed < 30
    assert process.returncode == 1
    assert "error: rank 1 of 2 failed: its process was killed or crashed" in out
    wait_for(lambda: not any(map(alive, ranks)), 10)
    assert shared_memory() <= before  # nor a name in shared memory, which nobody would take back
    again = harness(work, *long)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumed after step" in (folder / "trial.log").read_text()
    assert steps(folder)[-1]["training/global_step"] == 30


def test_the_whole_stack_from_a_grid_to_its_report_with_a_rank_killed_on_the_way(
    work: Path,
) -> None:
    """Ray Tune, two ranks with FSDP2 each, an engine of vLLM on each, MLflow, the report."""
    trial = [key for key in TRIAL if key != "tracking=none"]
    grid = (
        *("-m", "algorithm=grpo,a_star_po", "seed=0,1", "name=stack", *trial),
        *("trainer.ranks=2", "budget.amount=4", "evaluation.every=0.5", "trainer.save_every=0.25"),
    )
    process = subprocess.Popen(
        **command(*grid), cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    folders = work / "runs" / "checkpoints"
    wait_for(lambda: bool(list(folders.glob("*/step_*"))) or process.poll() is not None, FIRST_S)
    assert process.poll() is None, process.communicate()[0]
    (folder,) = {path.parent for path in folders.glob("*/step_*")}
    os.kill(pids(folder)[1], signal.SIGKILL)
    printed, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, printed
    assert "resumed after step" in (folder / "trial.log").read_text()
    client = open_store(work / "runs")
    found = client.search_runs([client.get_experiment_by_name("stack").experiment_id])
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.tags["trial"] for run in found} == {path.name for path in folders.iterdir()}
    assert sorted(run.data.tags["attempt"] for run in found) == ["1", "1", "1", "2"]
    report = (work / "runs" / "reports" / "stack" / "report.md").read_text()
    assert "4 of 4 planned trials have a result" in report


def test_a_checkpoint_is_measured_with_the_engine_of_its_trial(
    work: Path, composed: Callable[..., Any]
) -> None:
    trial = (*TRIAL, "budget.amount=2", "evaluation.pass_k=2")
    rows = trained(work, composed, *trial)
    environment = command()["env"]
    final = str(folder_of(work, composed, *trial) / "final")
    done = subprocess.run(
        [sys.executable, "-m", "harness.evaluate", final, "evaluation.pass_k=2"],
        cwd=work,
        env={**environment, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expected = rf"eval/greedy_accuracy +. +{rows[-1]['eval/greedy_accuracy']:.3f}"
    assert re.search(expected, done.stdout), done.stdout


# --- what is refused ------------------------------------------------------------------------------


def test_a_cache_that_is_too_small_is_refused_before_anything_starts(work: Path) -> None:
    done = harness(work, *TRIAL, "rollout.cache_gb=0.00001")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert re.search(
        r"error: rollout.cache_gb must hold the keys and values of at least one response, "
        r"[\d.e-]+ GB for \d+ tokens, received 1e-05; raise it or lower",
        done.stderr,
    )
    assert not (work / "runs" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("trainer.ranks=2", "rollout.tensor_parallel=4"),
            "rollout.tensor_parallel must divide trainer.ranks=2 and the model's 2 attention heads",
        ),
        (
            ("trainer.ranks=4", "rollout.tensor_parallel=4"),
            "rollout.tensor_parallel must divide trainer.ranks=4 and the model's 2 attention heads",
        ),
        (
            ("model.architecture.heads=4",),
            "attention heads of width 32, 64",
        ),
    ],
)
def test_layouts_and_models_that_the_engine_cannot_run(
    base: Path, composed: Callable[..., Any], overrides: tuple[str, ...], message: str
) -> None:
    config = composed(*TRIAL, f"runs={base}", *overrides)
    source = config.model.prepare(config.task, str(base))
    with pytest.raises(ConfigError, match=re.escape(message)):
        config.rollout.check(source, config.trainer.ranks, "cpu")


def test_a_model_that_vllm_does_not_know(
    base: Path, composed: Callable[..., Any], tmp_path: Path
) -> None:
    config = composed(*TRIAL, f"runs={base}")
    OpenAIGPTConfig(architectures=["OpenAIGPTLMHeadModel"]).save_pretrained(tmp_path)
    source = config.model.prepare(config.task, str(base))
    stranger = type(source)(**{**vars(source), "path": str(tmp_path)})
    with pytest.raises(ConfigError, match="vLLM does not know the architecture OpenAIGPTLMHeadMod"):
        config.rollout.check(stranger, 1, "cpu")
