"""What a multirun's dry_run=true says: states, cost by past trials, and that it writes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.config import TrialConfig, resolved, trial_name
from harness.identity import Identity
from harness.launch import run_trial
from harness.standing import Standing
from harness.tracking import record
from sweeps import evidence
from sweeps.early import early
from sweeps.estimate import Past, estimate, makespan, past, shape
from sweeps.preview import (
    CHANGED,
    FAILED,
    LEFT,
    NEW,
    RESUME,
    RUNNING,
    STATES,
    Seen,
    _asked,
    preview,
)
from sweeps.preview import _left as left_of
from sweeps.preview import _state as state_of
from sweeps.words import counted, percent, ranges
from tests.conftest import SMALL
from tests.sweeps.test_plan import planned


def lines(*events: dict[str, Any]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def written(folder: Path, config: TrialConfig, attempts: int = 1) -> record.Record:
    """A finished record of two steps: 4 s of start, 2 of testing, 30 of training, 3 + 1 of rest."""
    folder.mkdir(parents=True)
    (folder / record.CONFIG).write_text(json.dumps(resolved(config)))
    first = {"timing_s/start": 4.0, "timing_s/testing": 2.0, "budget/tokens": 0}
    later = {"timing_s/step": 17.0, "timing_s/testing": 2.0, "budget/tokens": 500}
    last = {"timing_s/step": 15.0, "budget/tokens": 900, "budget/updates": 2}
    start = {"event": "start", "id": "a", "seal": "", "facts": {}, "time_ms": 1_000_000}
    (folder / record.RECORD).write_text(
        lines(
            *[start] * attempts,
            {"event": "step", "step": 0, "metrics": first, "time_ms": 1_006_000},
            {"event": "step", "step": 1, "metrics": later, "time_ms": 1_024_000},
            {"event": "step", "step": 2, "metrics": last, "time_ms": 1_041_000},
            {"event": "end", "status": "FINISHED", "error": "", "last": 2, "time_ms": 1_042_000},
        )
    )
    found = record.read(folder)
    assert found is not None
    return found


def test_a_finished_trial_costs_its_start_its_training_and_the_rest(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    """Start 4, first evaluation 2, then 1042 - 1006 = 36 s, of them (17 - 2) + 15 = 30 training."""
    config = composed("budget.amount=2")
    found = past([written(tmp_path / "a", config)])
    assert found == {shape(resolved(config)): [Past(12.0, 30.0, 900.0, "updates", 2.0)]}


def test_training_is_in_proportion_to_the_budget_and_the_seed_costs_nothing(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    """Three times the updates: 12 + 3 x 30 = 102 s and 3 x 900 tokens."""
    known = past([written(tmp_path / "a", composed("budget.amount=2"))])
    made = estimate(composed("budget.amount=6", "seed=7"), known)
    assert made is not None
    assert (made.seconds, made.tokens, made.past) == (102.0, 2700.0, 1)


@pytest.mark.parametrize(
    "other", ["trainer.prompts_per_step=16", "budget.unit=tokens", "evaluation.every=0.5"]
)
def test_another_shape_is_not_guessed(
    tmp_path: Path, composed: Callable[..., Any], other: str
) -> None:
    known = past([written(tmp_path / "a", composed("budget.amount=2"))])
    assert estimate(composed("budget.amount=2"), known) is not None
    assert estimate(composed("budget.amount=2", other), known) is None


def test_a_resumed_trial_says_nothing_about_time(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    assert past([written(tmp_path / "a", composed("budget.amount=2"), attempts=2)]) == {}


def test_trials_start_in_order_as_many_as_there_is_room_for() -> None:
    """On two: 5 | 3, then 4 behind the 3 (until 7), then 2 behind the 5 (until 7)."""
    assert makespan([5, 3, 4, 2], 2) == 7
    assert makespan([5, 3, 4, 2], 1) == 14
    assert makespan([], 2) == 0


def test_seeds_and_counts_are_short() -> None:
    assert ranges([5, 0, 2, 1, 9]) == "0-2, 5, 9"
    assert [counted(n, "trial") for n in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
    assert [percent(share) for share in (0.0, 0.58, 0.997, 1.0)] == ["0%", "58%", "99%", "100%"]


def shown(*arguments: str) -> str:
    text = StringIO()
    # As the project's own console: a line is not broken at a width, wherever its numbers end.
    preview(planned(*arguments), Console(file=text, width=160, soft_wrap=True), set())
    return text.getvalue()


def test_results_that_were_there_before_the_predictions_are_told_of(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    """Seeds 0, 1 and 2 are planned: the next three are those that nobody has seen."""
    ablation = planned("+ablation=length_bias", *SMALL).ablation
    ran = written(tmp_path / "checkpoints" / "grpo__s0__a", composed("budget.amount=2"))
    said = early(ablation, tmp_path, [ran])
    assert "length_bias: 1 trial (grpo__s0__a) began before these predictions" in said
    assert "(seed=3,4,5)" in said
    assert early(ablation, tmp_path, []) == ""
    assert early(replace(ablation, predictions=[]), tmp_path, [ran]) == "", "exploratory anyway"
    assert early(ablation, tmp_path, [replace(ran, status=record.Status.RUNNING)]) == said


def test_the_preview_tells_what_is_there_and_leaves_no_trace(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    grid = ("algorithm=grpo,dr_grpo", "seed=0,1,2", *SMALL)
    first = planned(*grid)
    trials = {(job.labels.variant, job.seed): job for job in first.jobs}
    run_trial(trials["grpo", 0], lambda step, progress, metrics: None)
    failed = work / "runs" / "checkpoints" / trial_name(trials["dr_grpo", 1])
    failed.mkdir()
    for name in (record.CONFIG, record.IDENTITY):
        done = work / "runs" / "checkpoints" / trial_name(trials["grpo", 0]) / name
        (failed / name).write_text(done.read_text())
    start = {"event": "start", "id": "b", "seal": "", "facts": {}, "time_ms": 1}
    step = {"event": "step", "step": 0, "metrics": {"budget/updates": 0.0}, "time_ms": 2}
    (failed / record.RECORD).write_text(lines(start, step))
    before = {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*")}
    text = shown(*grid, "ray.price_per_device_hour=3600")
    assert {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*")} == before
    rows = {row.split("│")[1].strip(): row for row in text.splitlines() if row.startswith("│")}
    header = next(row for row in text.splitlines() if row.startswith("┃"))
    assert [cell.strip() for cell in header.split("┃")[1:5]] == [
        *("variant", "new: seeds", "changed since: seeds", "finished: seeds")
    ]
    assert [cell.strip() for cell in rows["grpo"].split("│")[1:5]] == ["grpo", "1-2", "", "0"]
    assert [cell.strip() for cell in rows["dr_grpo"].split("│")[1:4]] == ["dr_grpo", "0, 2", "1"]
    assert "1 trial │" in rows["grpo"]
    assert "no trial yet" in rows["dr_grpo"]
    assert "dr_grpo: algorithm.std_epsilon: 1e-06 in grpo, '(absent)' here" in text
    assert "to do: 5 trials, 3 of them of a shape that never finished: not counted" in text
    assert "at 3600 an hour" in text
    assert "what 3 seeds can detect is known once two seeds" in text


def test_a_preview_in_an_empty_folder_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = shown("algorithm=grpo,dr_grpo", *SMALL)
    assert "to do: 2 trials; what they take is known once one of each shape has finished" in text
    assert "memory: known once the base model is made" in text
    assert list(tmp_path.iterdir()) == []


def test_the_preview_says_how_often_its_predictions_would_err(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three finished seeds of each arm spread by .01; six are planned; only accuracy is known."""
    monkeypatch.chdir(tmp_path)
    ablation = planned("+ablation=length_bias", "seed=0,1,2,3,4,5")
    records = []
    for label, config in ablation.variants.items():
        for seed, value in enumerate((0.80, 0.81, 0.82)):
            one = replace(config, seed=seed)
            found = written(tmp_path / label / str(seed), one)
            found.steps[found.last].metrics["eval/accuracy"] = value
            records.append(found)
    text = list(evidence.lines(ablation, records))
    known = [line for line in text if line.startswith("prediction")]
    about = [p for p in ablation.ablation.predictions if p.metric == "eval/accuracy"]
    assert len(known) == len(about) > 0
    assert all("called supported in" in line and "collapses)" in line for line in known)
    assert known[0].startswith(
        f"prediction {ablation.ablation.predictions.index(about[0]) + 1} ({about[0].variant}"
    )
    assert not [line for line in evidence.lines(ablation, []) if line.startswith("prediction")]


def test_a_trial_without_a_checkpoint_begins_anew(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    """Interrupted after one of two updates; half is left once there is a checkpoint."""
    config = composed("budget.amount=2")
    found = written(tmp_path / "a", config)
    steps = {step: found.steps[step] for step in (0, 1)}
    steps[1] = record.Step(1, {"budget/updates": 1.0})
    kept = replace(found, status=record.Status.INTERRUPTED, steps=steps)
    look = Standing(found.folder, Identity("", {}, {}, {}), None, [], "", False)
    assert (state_of(look, kept, own=True), left_of(config, kept)) == (NEW, 1.0)
    (found.folder / "step_1").mkdir()
    assert (state_of(look, kept, own=True), left_of(config, kept)) == (RESUME, 0.5)


def test_what_has_not_failed_is_left_as_it_is(tmp_path: Path, composed: Callable[..., Any]) -> None:
    """sweep.only=failed: also a trial that failed before its first step is one that has failed."""
    config = composed("budget.amount=2", "sweep.only=failed")
    found = written(tmp_path / "a", config)
    kept = replace(found, status=record.Status.FAILED, steps={})
    look = Standing(found.folder, Identity("", {}, {}, {}), None, [], "", False)
    assert state_of(look, kept, own=True) == FAILED
    states = {state: _asked(Seen(config, state, 1.0, None), set()).state for state in STATES}
    left = {NEW, RESUME, RUNNING, CHANGED, LEFT}
    assert {state for state, shown in states.items() if shown == LEFT} == left
    assert states[FAILED] == FAILED


def test_a_trial_of_two_ablations_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, before = StringIO(), set[str]()
    for grid in ("algorithm=grpo,dr_grpo", "algorithm=grpo,rloo"):
        preview(planned(grid, *SMALL), Console(file=text, width=200, soft_wrap=True), before)
    assert [line.split(";")[0] for line in text.getvalue().splitlines() if "to do" in line] == [
        *("to do: 2 trials", "to do: 1 trial")
    ]
    assert "in an ablation above: seeds" in text.getvalue()
