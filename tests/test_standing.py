"""A result stands while what it was made of does; nothing continues on other content."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import standing
from harness.errors import ConfigError
from harness.identity import code_now
from harness.launch import run_trial
from harness.tracking.record import RECORD, read
from harness.trial import clear, trial_folder
from tests.conftest import ROOT, SMALL, Here, harness
from tests.processes import equal, weights
from tests.test_exactness import Steps, StoppedError, recorded, stored
from tests.tracking.test_tracking import only_run

QUESTIONS = [{"prompt": f"{i}+{i % 7}=", "answer": str(i + i % 7)} for i in range(160)]
GRADER = "def right(response, answer):\n    return response.strip() == answer\n"


@pytest.fixture
def jsonl(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A trial on a file of ours, graded by a function of ours."""
    (work / "mine.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    (work / "mygrader.py").write_text(GRADER)
    monkeypatch.syspath_prepend(str(work))
    return lambda composed, *more: composed(
        *(key for key in SMALL if not key.startswith("task.")),
        *("task=jsonl", f"task.path={work / 'mine.jsonl'}", "task.grader=mygrader.right"),
        *("task/template=plain", "task.eval_size=16", "model.warm_up.steps=20"),
        *("tracking=none", f"runs={work / 'runs'}", *more),
    )


def until(step: int) -> Callable[..., None]:
    def stop(at: int, progress: float, metrics: Any) -> None:
        if at == step:
            raise StoppedError

    return stop


def ignore(step: int, progress: float, metrics: Any) -> None:
    pass


EDITS = {
    "a question of the pool": ("mine.jsonl", '"3+3="', '"3+3 ="', "data"),
    "an answer": ("mine.jsonl", '"answer": "6"', '"answer": "7"', "data"),
    "the grader": ("mygrader.py", "==", "!=", "code of mygrader"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_interrupted_trial_never_continues_on_other_content(
    work: Path, composed: Callable[..., Any], jsonl: Callable[..., Any], edit: str
) -> None:
    name, old, new, said = EDITS[edit]
    with pytest.raises(StoppedError):
        run_trial(jsonl(composed), until(4))
    before = (trial_folder(jsonl(composed)) / RECORD).read_bytes()
    text = (work / name).read_text()
    assert old in text
    (work / name).write_text(text.replace(old, new))
    for more in ((), ("accept_stale=true",)):
        with pytest.raises(ConfigError, match=f"{said}.* changed since .*fresh=true"):
            run_trial(jsonl(composed, *more), ignore)
    assert (trial_folder(jsonl(composed)) / RECORD).read_bytes() == before
    (work / name).write_text(text)
    assert run_trial(jsonl(composed), ignore)["training/global_step"] == 8


def test_a_comment_is_no_change(
    work: Path, composed: Callable[..., Any], jsonl: Callable[..., Any]
) -> None:
    with pytest.raises(StoppedError):
        run_trial(jsonl(composed), until(2))
    (work / "mygrader.py").write_text(
        "# strict\n" + GRADER.replace("\n    ", '\n    """Is it?"""\n    ')
    )
    assert run_trial(jsonl(composed), ignore)["training/global_step"] == 8


@pytest.mark.commands
def test_another_model_under_the_same_path_is_another_trial(
    work: Path, composed: Callable[..., Any]
) -> None:
    base = next(path for path in (work / "runs" / "models").iterdir() if path.is_dir())
    model = Path(shutil.copytree(base, work / "model"))

    def config(*more: str) -> Any:
        return composed(
            *(key for key in SMALL if not key.startswith("model.")),
            *("model=hf", f"model.path={model}", "task/template=compact", "tracking=none"),
            *(f"runs={work / 'runs'}", *more),
        )

    first = run_trial(config(), ignore)
    file = model / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=r"weights.*model\.safetensors changed since"):
        run_trial(config(), ignore)
    assert run_trial(config("accept_stale=true"), ignore) == first
    record = read(trial_folder(config()))
    assert record is not None
    assert list(record.accepted.values()) == [["model weights model.safetensors"]]
    assert run_trial(config(), ignore) == first, "what was accepted once is asked once"
    clear(config())
    assert run_trial(config(), ignore)["training/global_step"] == 8


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, small_base: Path, composed: Callable[..., Any]
) -> tuple[Path, Steps]:
    """A runs folder with one published trial, and the metrics of its steps."""
    runs = tmp_path_factory.mktemp("finished") / "runs"
    shutil.copytree(small_base / "models", runs / "models")
    return runs, recorded(composed(*SMALL, f"runs={runs}"))


@pytest.mark.parametrize("lost", [3, 5, 8])
def test_a_record_that_lacks_a_step_is_made_again_to_the_last_bit(
    finished: tuple[Path, Steps], tmp_path: Path, composed: Callable[..., Any], lost: int
) -> None:
    whole = finished[1]
    runs = shutil.copytree(finished[0], tmp_path / "runs")
    config = composed(*SMALL, f"runs={runs}")
    final = weights(trial_folder(config))
    record = trial_folder(config) / RECORD
    kept = [line for line in record.read_text().splitlines() if f'"step": {lost},' not in line]
    record.write_text("\n".join(kept) + "\n")
    made = recorded(config)
    assert lost in made
    assert {**whole, **made} == whole
    run, again = stored(runs, config)
    assert run.info.status == "FINISHED"
    assert again == whole
    assert equal(weights(trial_folder(config)), final)


def test_checkpoints_of_another_life_are_not_continued(
    work: Path, composed: Callable[..., Any]
) -> None:
    """The record is lost, its checkpoints stay: nothing says what they were made of."""
    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none")
    whole = recorded(config)
    folder = trial_folder(config)
    kept = shutil.copytree(folder / "step_6", work / "step_6")
    (folder / RECORD).unlink()
    with pytest.raises(StoppedError):
        run_trial(config, until(7))
    assert not (folder / "final").exists()
    shutil.rmtree(folder / "step_6")
    kept.rename(folder / "step_6")  # put back by hand: it is of another record
    made = recorded(config)
    assert min(made) == 5, "resumed from step_4, the newest of its own"
    assert {**whole, **made} == whole


def test_code_that_is_edited_while_the_base_model_is_made_is_refused(
    work: Path, composed: Callable[..., Any], jsonl: Callable[..., Any]
) -> None:
    config = jsonl(composed)
    source = config.model.prepare(config.task, str(work / "runs"))
    imported = code_now(config)
    (work / "mygrader.py").write_text(GRADER.replace("==", "!="))
    with pytest.raises(ConfigError, match=r"code of mygrader changed while .* was starting"):
        standing.entered(config, source, trial_folder(config), imported)
    assert not trial_folder(config).exists()


def test_a_store_that_is_deleted_in_mid_run_is_complete_in_the_end(
    work: Path, composed: Callable[..., Any]
) -> None:
    config = composed(*SMALL, f"runs={work / 'runs'}")

    def delete(step: int, progress: float, metrics: Any) -> None:
        if step == 3:
            (work / "runs" / "mlflow.db").unlink()
            shutil.rmtree(work / "runs" / "artifacts")

    run_trial(config, delete)
    record = read(trial_folder(config))
    assert record is not None
    run, steps = stored(work / "runs", config)
    assert run.info.status == "FINISHED"
    assert sorted(steps) == list(range(9)) == sorted(record.steps)
    assert len(list((work / "runs" / "artifacts").rglob("eval/*.json"))) == len(record.tables)


def test_what_ran_without_tracking_is_published_when_asked_again(
    work: Path, composed: Callable[..., Any]
) -> None:
    whole = recorded(composed(*SMALL, f"runs={work / 'runs'}", "tracking=none"))
    assert not (work / "runs" / "mlflow.db").exists()
    config = composed(*SMALL, f"runs={work / 'runs'}")
    run_trial(config, lambda *seen: pytest.fail("it ran again"))
    run, steps = stored(work / "runs", config)
    assert (run.info.status, steps) == ("FINISHED", whole)


@pytest.mark.commands
def test_an_edited_plug_in_is_not_reported_with_the_old_result(
    work: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command, with a plug-in from a package outside the repository."""
    package = work / "plugins" / "edited"
    (package / "conf" / "algorithm").mkdir(parents=True)
    for name in ("__init__.py", "conf/__init__.py"):
        (package / name).touch()
    (package / "crash.py").write_text(PLUGIN)
    (package / "conf" / "algorithm" / "crash.yaml").write_text("_target_: edited.crash.Crash\n")
    plugins = str(work / "plugins")
    arguments = ("algorithm=crash", "hydra.searchpath=[pkg://edited.conf]", *SMALL[:4], *SMALL[5:])

    first = harness(work, *arguments, PYTHONPATH=os.pathsep.join([str(ROOT), plugins]))
    assert first.returncode == 0, first.stderr
    (package / "crash.py").write_text(PLUGIN.replace("scale = 1.0", "scale = 2.0"))
    monkeypatch.syspath_prepend(plugins)
    refused = here(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert "code of edited.crash changed since" in line
    assert "fresh=true" in line
    assert "accept_stale=true" in line
    kept = here(*arguments, "accept_stale=true")
    assert kept.returncode == 0, kept.stderr
    assert "finished before" in kept.stdout
    assert only_run(work).data.tags["accepted"] == "code of edited.crash"


PLUGIN = """
from dataclasses import dataclass

from harness.algorithms.dr_grpo import DrGrpo

scale = 1.0


@dataclass(frozen=True)
class Crash:
    columns = frozenset({"old_logprobs_BT"})

    def rollout_plan(self, progress):
        return DrGrpo(4).rollout_plan(progress)

    def advantages(self, batch):
        return scale * DrGrpo(4).advantages(batch)

    def loss(self, minibatch):
        return DrGrpo(4).loss(minibatch)
"""
