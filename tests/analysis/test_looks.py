"""Reports before the last result are looks: noted down once, told by a gate, never a new one."""

import dataclasses
import json
from pathlib import Path

import pytest
import synthetic_store as store
from synthetic_store import Plan, Trial

from analysis import looks
from analysis.gates import Level, gates
from analysis.gates.looking import inflated, note
from analysis.load import open_store
from analysis.report import build
from analysis.study import Study, read_study
from harness.errors import ConfigError

QUESTION = "No look at the results before the last one"
NAME = "looked"
TRIALS = [
    Trial(label, seed, value + 0.01 * seed, steps=5)
    for seed in range(3)
    for label, value in (("reinforce", 0.80), ("grpo", 0.85))
]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two of six trials have a result, two more run now."""
    waiting = [dataclasses.replace(t, status=None) for t in TRIALS[4:]]
    running = [dataclasses.replace(t, status="RUNNING") for t in TRIALS[2:4]]
    store.write(tmp_path / "runs", [Plan(NAME, [*TRIALS[:2], *running, *waiting])])
    return tmp_path / "runs"


def go_on(runs: Path, number: int) -> None:
    """So many more of the trials come to their end."""
    client = open_store(runs)
    (manifest,) = read_study(runs, NAME).history.revisions
    experiment = client.get_experiment_by_name(NAME).experiment_id
    there = {run.info.run_name: run for run in client.search_runs([experiment])}
    done = sum(run.info.status == "FINISHED" for run in there.values())
    for trial in TRIALS[done : done + number]:
        if trial.name in there:
            client.set_terminated(there[trial.name].info.run_id)
        else:
            store.write_trial(client, experiment, manifest, trial, 9)


def gate(study: Study) -> tuple[Level, str]:
    (own,) = [gate for gate in gates(study) if gate.question == QUESTION]
    return own.level, own.detail


def lines(runs: Path) -> list[str]:
    path = runs / "sweeps" / NAME / looks.LOOKS
    return path.read_text().splitlines() if path.exists() else []


def test_looks_are_counted_until_the_last_result(runs: Path) -> None:
    """At 2 and at 4 of 6 results, each twice; then the end, twice, which is no look."""
    pages = []
    for more in (0, 2, 2):
        go_on(runs, more)
        for _ in range(2):
            build(runs, NAME)
            pages.append((runs / "reports" / NAME / "report.html").read_bytes())
    assert pages[::2] == pages[1::2]

    assert [json.loads(line)["planned"] for line in lines(runs)] == [6, 6]
    assert [len(json.loads(line)["results"]) for line in lines(runs)] == [2, 4]
    level, detail = gate(read_study(runs, NAME))
    assert level is Level.WARN
    assert detail == (
        "2 reports were built or plans extended at 2, 4 results; where a look can end a study, "
        "3 tests at 5 % err in about 10.7 % of studies without an effect"
    )


def test_a_look_that_nothing_followed_is_named_as_one(runs: Path) -> None:
    study = read_study(runs, NAME)
    study = dataclasses.replace(study, looks=note(runs, study))
    assert gate(study) == (Level.WARN, "2 of 6 results so far: this report is a look itself")


def test_before_the_first_and_after_the_last_result_there_is_nothing_to_note(runs: Path) -> None:
    study = read_study(runs, NAME)
    nothing = dataclasses.replace(study, trials=study.trials.with_columns(status=None))
    assert note(runs, nothing) == []
    go_on(runs, 4)
    assert note(runs, read_study(runs, NAME)) == []
    assert lines(runs) == []
    assert gate(read_study(runs, NAME))[0] is Level.OK


def test_a_trial_that_was_started_over_was_seen_before(runs: Path) -> None:
    study = read_study(runs, NAME)
    note(runs, study)
    go_on(runs, 4)
    whole = read_study(runs, NAME)
    assert "1 report was built or plan extended at 2 results" in gate(whole)[1]
    again = whole.trials.with_columns(started_ms=whole.trials["started_ms"] + 5)
    seen_all = [*whole.looks, looks.Look("2027-01-15", "", 6, looking(whole))]
    level, detail = gate(dataclasses.replace(whole, trials=again, looks=seen_all))
    assert level is Level.WARN
    assert "at 2, 6 results" in detail


def looking(study: Study) -> dict[str, int]:
    return dict(study.finished["trial", "started_ms"].rows())


def test_seeds_that_were_added_to_results_are_a_look(runs: Path) -> None:
    """Whoever adds them may have seen the results, report or not."""
    go_on(runs, 4)
    study = read_study(runs, NAME)
    (last,) = study.history.revisions
    first = store.seal(dataclasses.replace(last, jobs=last.jobs[:4]))
    second = store.seal(last, first, known=[job.trial for job in first.jobs])
    history = dataclasses.replace(study.history, revisions=[first, second])
    level, detail = gate(dataclasses.replace(study, history=history))
    assert level is Level.WARN
    assert "1 report was built or plan extended at 4 results" in detail
    assert "2 tests at 5 % err in about 8.3 %" in detail


def test_a_cut_line_does_not_count_and_is_cut_off(runs: Path) -> None:
    path = runs / "sweeps" / NAME / looks.LOOKS
    path.write_bytes(b'{"time": "2027')
    assert looks.recorded(runs, NAME) == []
    note(runs, read_study(runs, NAME))
    assert len(looks.recorded(runs, NAME)) == 1


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"time": 3}', '{"a": 1}', "null"])
def test_a_damaged_file_is_refused_in_one_line(runs: Path, text: str) -> None:
    path = runs / "sweeps" / NAME / looks.LOOKS
    path.write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=r"looks.jsonl line 1 is no look at results") as caught:
        read_study(runs, NAME)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tests", "rate"), [(1, 0.05), (5, 0.142), (7, 0.142), (11, 0.193)])
def test_rates_are_those_of_the_table_from_below(tests: int, rate: float) -> None:
    assert inflated(tests) == rate
