"""Trials whose checkpoints were damaged end as if nothing had happened, to the last bit."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.distributed.ranks import ALONE
from harness.errors import CheckpointError
from harness.launch import run_trial
from harness.learner import checkpoint
from harness.trial import trial_folder
from tests.conftest import SMALL

WEIGHTS = "model.safetensors"


class StoppedError(Exception):
    """Raised where the trial reports a step."""


class Trial:
    """A finished trial in a runs folder of its own."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.folder = trial_folder(config)

    def run(self, stop: int | None = None) -> list[int]:
        """The steps that it went through."""
        steps: list[int] = []

        def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
            steps.append(step)
            if step == stop:
                raise StoppedError

        run_trial(self.config, observe)
        return steps

    def content(self) -> dict[str, str]:
        """Digest of every file of its models."""
        files = [p for name in ("best", "final") for p in (self.folder / name).rglob("*")]
        return {
            p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if p.name not in (checkpoint.RESULT, "digests.json")  # they hold clocks
        }

    def log(self) -> str:
        return (self.folder / "trial.log").read_text()


@pytest.fixture(scope="module")
def whole(
    small_base: Path, tmp_path_factory: pytest.TempPathFactory, composed: Callable[..., Any]
) -> Path:
    """Runs of an undamaged trial."""
    runs = tmp_path_factory.mktemp("damage") / "runs"
    shutil.copytree(small_base / "models", runs / "models")
    Trial(settings(composed, runs)).run()
    return runs


@pytest.fixture
def trial(whole: Path, tmp_path: Path, composed: Callable[..., Any]) -> Trial:
    return Trial(settings(composed, Path(shutil.copytree(whole, tmp_path / "runs"))))


def settings(composed: Callable[..., Any], runs: Path) -> Any:
    """The evaluation after step 2 is the best; a checkpoint after every step."""
    arguments = ("tracking=none", "evaluation.pass_k=0", "seed=1", f"runs={runs}")
    learning = ("trainer.optimizer.learning_rate=0.001", "trainer.save_every=0.125")
    return composed(*SMALL, *arguments, *learning, "trainer.keep_checkpoints=7")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def bests(trial: Trial) -> dict[int, float]:
    """The best accuracy that each checkpoint knows of."""
    counters = [step.plain["counters"] for step in checkpoint.steps(trial.folder, ALONE)]
    return {c["step"]: c["best"] for c in counters}


@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_a_damaged_final_is_written_again_from_the_last_step(trial: Trial, damage: str) -> None:
    before, weights = trial.content(), trial.folder / "final" / WEIGHTS
    {
        "bit": lambda: flip(weights),
        "cut": lambda: weights.write_bytes(weights.read_bytes()[:-1]),
        "gone": weights.unlink,
    }[damage]()
    assert trial.run() == [8]
    assert trial.content() == before
    assert trial.log().count("final is written again: ") == 1
    assert trial.run() == []  # finished


def test_a_damaged_step_and_final_are_made_again_from_the_step_before(trial: Trial) -> None:
    before = trial.content()
    flip(trial.folder / "final" / WEIGHTS)
    (trial.folder / "step_7" / checkpoint.STATE).write_bytes(b"")
    assert trial.run() == [7, 8]
    assert trial.content() == before
    assert trial.log().count("step_7 is passed over: ") == 1


def test_a_damaged_best_is_made_again_by_the_evaluation_that_made_it(trial: Trial) -> None:
    before, known = trial.content(), bests(trial)
    assert known[1] < known[2] == known[7]
    flip(trial.folder / "best" / WEIGHTS)
    assert trial.run() == [2, 3, 4, 5, 6, 7, 8]
    assert trial.content() == before
    assert trial.log().count("best is written again: ") == 1
    assert trial.run() == []


def test_a_damaged_best_is_made_again_although_the_trial_is_stopped_on_the_way(
    trial: Trial,
) -> None:
    """The first best that is written anew is not the last: nothing may pass for finished."""
    before = trial.content()
    shutil.rmtree(trial.folder / "best")
    shutil.rmtree(trial.folder / "step_1")
    with pytest.raises(StoppedError):
        trial.run(stop=1)
    assert not checkpoint.damage(trial.folder / "best")
    assert not checkpoint.damage(trial.folder / "final")
    assert checkpoint.final_result(trial.folder) is None
    trial.run()
    assert trial.content() == before
    assert trial.run() == []


def test_a_trial_of_another_shape_is_refused_in_one_line(trial: Trial) -> None:
    """Whole, with its digests, but not such a trial's."""
    shutil.rmtree(trial.folder / "final")
    newest = next(checkpoint.steps(trial.folder, ALONE))
    others: list[dict[str, Any]] = [
        {**newest.plain, "counters": {"step": 3}},
        {**newest.plain, "counters": {**newest.plain["counters"], "best": "x"}},
        {**newest.plain, "controllers": []},
        {**newest.plain, "reference_scores": None},
    ]
    for plain in others:
        checkpoint.save(newest.path, {"x": torch.zeros(1)}, plain, ALONE)
        with pytest.raises(CheckpointError, match=r"start over with fresh=true") as refusal:
            trial.run()
        assert "\n" not in str(refusal.value)
