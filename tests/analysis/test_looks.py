"""Reports before the last result are looks: noted down once, told by a gate, never a new one.

That a report on the same results has the same bytes is held in `test_analysis_report.py`.
"""

import dataclasses
from pathlib import Path

import in_memory
import pytest
import synthetic_store as store
from synthetic_store import Plan, Trial

from analysis import looks
from analysis.gates import Level
from analysis.gates.looking import inflated, interim_looks, note
from analysis.revisions import History
from analysis.study import Study
from harness.errors import ConfigError

NAME = "looked"
TRIALS = [
    Trial(label, seed, value + 0.01 * seed, steps=10)
    for seed in range(3)
    for label, value in (("reinforce", 0.80), ("grpo", 0.85))
]


def at(done: int, runs: Path) -> Study:
    """The study when so many of six trials have their result, and the others run."""
    trials = [dataclasses.replace(t, status="RUNNING") for t in TRIALS]
    plan = Plan(NAME, [*TRIALS[:done], *trials[done:]])
    store.save(runs, [store.manifest(plan)])
    return in_memory.study(plan, looks=looks.recorded(runs, NAME))


def told(study: Study) -> str:
    gate = interim_looks(study)
    assert gate.level is Level.WARN
    return gate.detail


def test_looks_are_counted_until_the_last_result(tmp_path: Path) -> None:
    """Nothing to see, then 2 and 4 of 6 results, each seen twice; then the end, twice."""
    for done in (0, 2, 2, 4, 4, 6, 6):
        note(tmp_path, at(done, tmp_path))
    found = looks.recorded(tmp_path, NAME)
    assert [(look.planned, len(look.results)) for look in found] == [(6, 2), (6, 4)]
    assert all(look.seal == at(6, tmp_path).manifest.seal for look in found)

    # Three tests: .107 in table 2 of Armitage, McPherson and Rowe.
    assert told(at(6, tmp_path)) == (
        "2 reports were built or plans extended at 2, 4 results; where a look can end a study, "
        "3 tests at 5 % err in about 10.7 % of studies without an effect"
    )


def test_a_report_before_the_last_result_says_that_it_is_a_look(tmp_path: Path) -> None:
    study = at(2, tmp_path)
    study = dataclasses.replace(study, looks=note(tmp_path, study))
    assert told(study) == "2 of 6 results so far: this report is a look itself"
    nothing = at(0, tmp_path / "other")
    assert interim_looks(nothing).detail == "no result so far, so none was looked at"


def test_results_without_a_look_are_ok(tmp_path: Path) -> None:
    gate = interim_looks(at(6, tmp_path))
    assert (gate.level, gate.detail) == (
        Level.OK,
        "no report was built before the last of 6 results",
    )


def test_a_trial_that_was_started_over_had_been_seen(tmp_path: Path) -> None:
    """All six results, one of which is thrown away and made again."""
    study = at(6, tmp_path)
    before = dict(study.trials["trial", "started_ms"].rows())
    before[TRIALS[0].name] -= 5000
    looks.noted(tmp_path, NAME, study.manifest.seal, 6, before)
    assert "1 report was built or plan extended at 6 results" in told(at(6, tmp_path))


def test_seeds_that_were_added_to_results_are_a_look(tmp_path: Path) -> None:
    """Whoever adds them may have seen the results, report or not."""
    study = at(6, tmp_path)
    last = study.manifest
    first = store.seal(dataclasses.replace(last, jobs=last.jobs[:4]))
    second = store.seal(last, first, known=[job.trial for job in first.jobs])
    grown = dataclasses.replace(study, history=History([first, second], []))
    assert "plan extended at 4 results; where a look can end a study, 2 tests" in told(grown)
    # A report on the four is the same look.
    seen = dict.fromkeys(second.known, 0)
    both = dataclasses.replace(grown, looks=[looks.Look("2027", first.seal, 6, seen)])
    assert "at 4 results; " in told(both)


def test_a_cut_line_does_not_count_and_is_cut_off(tmp_path: Path) -> None:
    study = at(2, tmp_path)
    path = tmp_path / "sweeps" / NAME / looks.LOOKS
    path.write_bytes(b'{"time": "2027')
    assert looks.recorded(tmp_path, NAME) == []
    note(tmp_path, study)
    assert len(looks.recorded(tmp_path, NAME)) == 1


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"time": 3}', '{"a": 1}', "null", "\udcff"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    at(2, tmp_path)
    path = tmp_path / "sweeps" / NAME / looks.LOOKS
    path.write_text(f"{text}\n", errors="surrogateescape")
    with pytest.raises(ConfigError, match=r"looks.jsonl line 1 is no look at results") as caught:
        looks.recorded(tmp_path, NAME)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tests", "rate"), [(1, 0.05), (5, 0.142), (7, 0.142), (11, 0.193)])
def test_rates_are_those_of_the_table_from_below(tests: int, rate: float) -> None:
    assert inflated(tests) == rate
