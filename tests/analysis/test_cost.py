"""What a study took, of numbers written by hand."""

import dataclasses
import json
import math
from pathlib import Path

import polars as pl
import pytest

from analysis import cost
from analysis.study import Study, read_study
from tests.analysis import synthetic_store as store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Study:
    runs: Path = tmp_path_factory.mktemp("cost") / "runs"
    store.write(runs, [store.SOUND])
    return read_study(runs, store.SOUND.name)


def timed(study: Study, times: dict[str, dict[int, dict[str, float]]]) -> Study:
    """The study with nothing but these times: variant -> step -> metric -> seconds."""
    rows = [
        ("id", f"{variant}__s0", variant, 0, f"timing_s/{key}", step, value)
        for variant, steps in times.items()
        for step, values in steps.items()
        for key, value in values.items()
    ]
    metrics = pl.DataFrame(rows, schema=study.metrics.schema, orient="row")
    return dataclasses.replace(study, metrics=metrics)


def test_share_of_evaluations_and_what_sharing_spared(sound: Study) -> None:
    """The maker: 5 + 8 before, two steps of 10 of which 2 and 8 evaluate: 18 of 33 s.

    The other finds the first evaluation in 1 s: 11 of 26. Together 29 of 59.
    """
    later = {1: {"step": 10.0, "testing": 2.0}, 2: {"step": 10.0, "testing": 8.0}}
    made = {0: {"start": 5.0, "testing": 8.0, "testing_shared": 0.0}, **later}
    found = {0: {"start": 5.0, "testing": 1.0, "testing_shared": 7.5}, **later}
    first, second = sound.labels[:2]
    study = timed(sound, {first: made, second: found})
    costs = cost.costs(study)
    assert costs[first].evaluating == pytest.approx(18 / 33)
    assert costs[second].evaluating == pytest.approx(11 / 26)
    assert costs[None].evaluating == pytest.approx(29 / 59)
    assert [costs[label].shared_seconds for label in (first, second, None)] == [0.0, 7.5, 7.5]
    section = cost.section(study)
    assert [line.split("|")[-2].strip() for line in section.splitlines() if "|" in line][2:] == [
        *("55%", "42%"),
        "49%",
    ]
    assert "8 s of trials were spared" in section
    assert json.loads(json.dumps(cost.data(study)))["all"]["shared_seconds"] == 7.5


def test_without_times_nothing_is_said_of_evaluations(sound: Study) -> None:
    assert math.isnan(cost.costs(timed(sound, {}))[None].evaluating)
