"""The section on where a gain comes from: planted skills, read from stored tables."""

import dataclasses
import re
from typing import Any

import in_memory
import polars as pl
import pytest
import searching
import synthetic_store as store
from searching import TASK, Searchers

from analysis import gains, references
from analysis.findings import findings
from analysis.skills import PARTS
from analysis.study import Study

BASE = Searchers(patient=0.8)
TAUGHT = dataclasses.replace(BASE, near=1.0, far=0.0)
CONFIG = {
    "task": {
        "_target_": "harness.tasks.countdown.Countdown",
        "template": {"_target_": "harness.tasks.templates.Compact"},
    }
}


def table(who: Searchers, seed: int) -> pl.DataFrame:
    """What an evaluation would store of a policy that plays these searchers."""
    rows = [
        (p.problem, p.difficulty, response, TASK.grade(p, response, True).correct)
        for p, response in searching.played(who, 600, seed)
    ]
    return pl.DataFrame(rows, schema=["problem", "difficulty", "response", "correct"], orient="row")


@pytest.fixture(scope="module")
def study() -> Study:
    """Two variants at three seeds; both go from the mixture to its best proposals."""
    plain = in_memory.study(store.SOUND)
    trials = plain.finished.select("trial", "seed").iter_rows()
    seeds = dict(trials)
    before = {seed: table(BASE, seed) for seed in set(seeds.values())}
    after = {seed: table(TAUGHT, seed) for seed in set(seeds.values())}
    return dataclasses.replace(
        plain,
        first_tables={trial: before[seed] for trial, seed in seeds.items()},
        tables={trial: after[seed] for trial, seed in seeds.items()},
        config=CONFIG,
    )


def test_the_section_says_what_was_planted(study: Study) -> None:
    page = gains.section(study)
    assert page.startswith("## Where the gain comes from\n")
    rows = [line.split("|") for line in page.splitlines() if "proposals |" in line]
    assert len(rows) == 2  # of both variants
    assert all(90 <= int(re.sub(r"\D", "", row[4])) <= 110 for row in rows)
    assert "[+" in rows[0][3]  # an interval over seeds that excludes 0


def test_the_record_has_the_same_numbers_and_they_add_up(study: Study) -> None:
    data = gains.data(study)
    assert list(data) == study.labels
    for of in data.values():
        parts = {part: of["parts"][part]["mean"] for part in PARTS}
        assert sum(parts.values()) == pytest.approx(of["gain"]["mean"], abs=1e-9)
        assert parts["proposals"] > 0.8 * of["gain"]["mean"]
        alone = sum(of["alone"][part]["mean"] for part in PARTS)
        assert of["interaction"]["mean"] == pytest.approx(of["gain"]["mean"] - alone, abs=1e-9)
        assert list(of["seeds"]) == ["0", "1", "2"]


def test_the_method_is_cited_where_it_is_used(study: Study) -> None:
    plain = in_memory.study(store.SOUND)
    found = findings(plain)
    assert "Shapley" in references.section(study, found)
    assert "Shapley" not in references.section(plain, found)


def test_the_gain_is_that_of_the_tables(study: Study) -> None:
    trial = "grpo__s1__abababab"
    before, after = study.first_tables[trial], study.tables[trial]
    own = gains.of_variants(study)["grpo"][1]
    assert own.before == pytest.approx(before["correct"].to_numpy().mean())
    assert own.after == pytest.approx(after["correct"].to_numpy().mean())


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {}},
        {"config": {"task": {**CONFIG["task"], "_target_": "harness.tasks.coin.Coin"}}},
        {"config": {"task": {**CONFIG["task"], "template": None}}},
        {"first_tables": {}},
    ],
    ids=["no config", "another task", "another template", "no first tables"],
)
def test_other_studies_have_no_such_section(study: Study, changed: dict[str, Any]) -> None:
    other = dataclasses.replace(study, **changed)
    assert gains.section(other) == ""
    assert gains.data(other) == {}


def test_tables_of_something_else_are_passed_over(study: Study) -> None:
    spoilt = {
        trial: rows.with_columns(problem=pl.lit("7,8,3->4")) for trial, rows in study.tables.items()
    }
    assert gains.data(dataclasses.replace(study, tables=spoilt)) == {}
    lacking = {trial: rows.drop("difficulty") for trial, rows in study.tables.items()}
    assert gains.data(dataclasses.replace(study, tables=lacking)) == {}
