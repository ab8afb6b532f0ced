"""What a report says of a tuning, and when it does not let its results stand."""

import dataclasses
import json
from typing import Any

import pytest
from synthetic_store import BASE_TUNED, GRPO_TUNED, RATE, SOUND, manifest, seal, write

from analysis import record, report
from analysis.findings import findings
from analysis.fixed import plain
from analysis.manifest import Manifest
from analysis.revisions import History
from analysis.study import Study, read_study
from analysis.tuned import Tuned
from harness.errors import ConfigError


def planned(*tuned: Tuned) -> Manifest:
    return seal(manifest(SOUND), tuned=list(tuned))


def with_tuned(study: Study, *tuned: Tuned) -> Study:
    return dataclasses.replace(study, history=History([planned(*tuned)], []))


def gate(data: dict[str, Any]) -> tuple[str, str]:
    (found,) = (g for g in data["gates"] if g["question"].startswith("Equal tuning budget"))
    return found["level"], found["detail"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study without a tuning."""
    runs = tmp_path_factory.mktemp("tuning") / "runs"
    write(runs, [SOUND])
    return read_study(runs, SOUND.name)


def test_both_budgets_are_stated(sound: Study) -> None:
    """Three trials each, of 30 updates and 30 x 9,000 or 30 x 10,500 tokens."""
    study = with_tuned(sound, BASE_TUNED, GRPO_TUNED)
    found = findings(study)
    text, data = report.write(study, found, set()), json.loads(record.written(study, found))
    assert gate(data) == (
        "OK",
        "24 trials of at most 20 updates for each of 2 variants, on seed 40, 41; confirmed on "
        "others",
    )
    assert "| `grpo` | 24 | 9 | 15 | 0 | 0 | 300 | 2,700,000 | 3 | 90 | 945,000 |" in text
    assert "| `reinforce` | 24 | 9 | 15 | 0 | 0 | 310 | 2,700,000 | 3 | 90 | 810,000 |" in text
    assert f"| `grpo` | `{RATE}=tag(log,interval(1e-4,1e-2))` | `{RATE}=0.0012` | 0.912 |" in text
    assert "searched on seed 40, 41 and are confirmed here on seeds 0, 1, 2" in text
    spent = data["tuning"]["confirming"][1]
    assert spent == {"variant": "grpo", "trials": 3, "updates": 90.0, "tokens": 945_000.0}
    assert data["tuning"]["tuned"][1]["values"] == {RATE: "0.0012"}


@pytest.mark.parametrize(
    ("tuned", "level", "words"),
    [
        ((), "OK", "nothing was searched"),
        ((BASE_TUNED,), "FAIL", "grpo was not tuned"),
        (
            (BASE_TUNED, dataclasses.replace(GRPO_TUNED, trials=48)),
            "FAIL",
            "trials reinforce: 24; grpo: 48",
        ),
        (
            (BASE_TUNED, dataclasses.replace(GRPO_TUNED, ceiling=["20 updates", "40 updates"])),
            "FAIL",
            "of at most reinforce: 20 updates; grpo: 20 updates, then 40 updates",
        ),
        ((BASE_TUNED, dataclasses.replace(GRPO_TUNED, seeds=[40, 2])), "FAIL", "the tuning saw: 2"),
        (
            (BASE_TUNED, dataclasses.replace(GRPO_TUNED, failed=3)),
            "WARN",
            "3 of 24 tuning trials of grpo",
        ),
        (
            (BASE_TUNED, dataclasses.replace(GRPO_TUNED, code_hash="0")),
            "WARN",
            "code has changed since",
        ),
    ],
)
def test_the_gate(sound: Study, tuned: tuple[Tuned, ...], level: str, words: str) -> None:
    found = findings(with_tuned(sound, *tuned))
    assert gate(plain({"gates": found.gates}))[0] == level
    assert words in gate(plain({"gates": found.gates}))[1]
    assert ("Equal tuning budget per arm, fresh seeds" in found.barred) == (level == "FAIL")


def test_a_seal_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="a seal is a sha256"):
        dataclasses.replace(GRPO_TUNED, seal="me")
