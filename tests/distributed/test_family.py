"""Every algorithm of conf/ as a whole trial on FSDP: two ranks, and one that shards."""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.config import TrialConfig
from harness.curricula.none import NoCurriculum
from harness.distributed.ranks import Ranks
from harness.errors import HarnessError
from harness.trial import run_rank, trial_folder
from harness.types import Prompt
from tests.conftest import ROOT, SMALL
from tests.distributed.replay import spawned
from tests.processes import equal, weights

pytestmark = pytest.mark.distributed

ALGORITHMS = sorted(path.stem for path in (ROOT / "conf" / "algorithm").glob("*.yaml"))
# Those with state beside the policy: cached V*, a critic, groups that are drawn again.
RESUMED = [name for name in ALGORITHMS if name.startswith("a_star_po") or name in ("ppo", "dapo")]
# Evaluated at both ends, with a checkpoint after each step.
SHORT = (
    *SMALL,
    "evaluation.every=1",
    "task.eval_size=8",
    "rollout.max_new_tokens=64",
    "trainer.save_every=0.3",
    "trainer.threads=1",
    "tracking=none",
)
FLAG = "stop_here"


@dataclass
class Stopping(NoCurriculum):
    """Ends a trial on all ranks before its third step, while a file says so.

    Attributes:
        folder: where that file lies.
    """

    folder: str = ""

    def prompts(self, pool: Any, seed: int, progress: float, count: int) -> list[Prompt]:
        # The preflight tries it too, before anything was drawn.
        if self.drawn and progress > 0.5 and (Path(self.folder) / FLAG).exists():
            raise RuntimeError("stopped")
        return super().prompts(pool, seed, progress, count)


def trials(configs: dict[str, TrialConfig], ranks: Ranks) -> dict[str, dict[str, float] | str]:
    """Run trials one after the other: metrics of the last step, or the error that ended it."""
    found: dict[str, dict[str, float] | str] = {}
    for name, config in configs.items():
        try:
            found[name] = run_rank(config, lambda *seen: None, ranks)
        except HarnessError as error:
            found[name] = str(error)
    return found


def three_steps(config: TrialConfig) -> TrialConfig:
    """Some algorithms take several updates a step."""
    budget = dataclasses.replace(config.budget, amount=3 * config.trainer.mini_batches)
    return dataclasses.replace(config, budget=budget)


def ran(
    composed: Callable[..., Any], names: list[str], ranks: int, runs: Path, *more: str
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Folders of the trials of some algorithms, and what became of them."""
    given = (*SHORT, f"trainer.ranks={ranks}", "trainer.sharding.fsdp=true", f"runs={runs}", *more)
    # Another seed each: none finds the base's responses that another has drawn.
    configs = {
        name: three_steps(composed(f"algorithm={name}", f"seed={seed}", *given))
        for seed, name in enumerate(names)
    }
    folders = {name: trial_folder(config) for name, config in configs.items()}
    return folders, spawned(trials, configs, ranks, runs)


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_algorithm_of_the_family_is_a_whole_trial(
    work: Path, composed: Callable[..., Any], ranks: int
) -> None:
    folders, found = ran(composed, ALGORITHMS, ranks, work / "runs")
    errors = {name: what for name, what in found.items() if isinstance(what, str)}
    assert not errors
    for name, metrics in found.items():
        assert metrics["budget/updates"] >= 3, name
        assert 0 <= metrics["eval/accuracy"] <= 1, name
        assert (folders[name] / "final" / "model.safetensors").exists(), name


def test_on_two_ranks_a_trial_that_was_stopped_goes_on_to_the_bit(
    work: Path, composed: Callable[..., Any]
) -> None:
    whole, parts = work / "whole", work / "parts"
    for runs in (whole, parts):
        shutil.copytree(work / "runs" / "models", runs / "models")
    target = f"curriculum._target_={__name__}.Stopping"
    folders, _ = ran(composed, RESUMED, 2, whole, target, f"+curriculum.folder={work}")
    (work / FLAG).touch()
    again, stopped = ran(composed, RESUMED, 2, parts, target, f"+curriculum.folder={work}")
    assert all("stopped" in str(what) for what in stopped.values()), stopped
    (work / FLAG).unlink()
    ran(composed, RESUMED, 2, parts, target, f"+curriculum.folder={work}")
    for name in RESUMED:
        assert "resumed after step" in (again[name] / "trial.log").read_text(), name
        assert equal(weights(again[name]), weights(folders[name])), name
