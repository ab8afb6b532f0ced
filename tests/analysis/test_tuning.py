"""What a report says of a tuning, and when it does not let its results stand."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from analysis import report
from analysis.ablation import Manifest
from analysis.tuned import Tuned
from harness.errors import ConfigError
from tests.analysis.synthetic_store import SOUND, manifest, save, seal, write

RATE = "trainer.optimizer.learning_rate"
# Two attempts of 12 trials; 300 of 480 updates were spent.
GRPO = Tuned(
    variant="grpo",
    space={RATE: "tag(log,interval(1e-4,1e-2))"},
    values={RATE: "0.0012"},
    winner=7,
    trial="grpo__s40__abababab",
    result=0.912,
    trials=24,
    finished=9,
    stopped=15,
    failed=0,
    repeated=0,
    ceiling=["20 updates"],
    updates=300.0,
    tokens=2_700_000.0,
    seeds=[40, 41],
    searcher="TPE, 4 at once",
    scheduler="ASHA, from 0.2 of the budget, 1 in 2 goes on",
    attempts=2,
    seal="5" * 64,
    code_hash="e" * 64,
    command="harness -m +ablation=sound sweep.stage=tune",
)
BASE = dataclasses.replace(GRPO, variant="reinforce", values={RATE: "0.0003"}, updates=310.0)


def planned(*tuned: Tuned) -> Manifest:
    return seal(manifest(SOUND), tuned=list(tuned))


def built(runs: Path, *tuned: Tuned) -> tuple[str, dict[str, Any]]:
    """The report's text and data, of a store whose trials ran under that plan."""
    write(runs, [SOUND])
    save(runs, [planned(*tuned)])
    made = report.build(runs, SOUND.name)
    return made.markdown.read_text(), json.loads(made.html.with_name("report.json").read_text())


def gate(data: dict[str, Any]) -> tuple[str, str]:
    (found,) = (g for g in data["gates"] if g["question"].startswith("Equal tuning budget"))
    return found["level"], found["detail"]


def test_both_budgets_are_stated(tmp_path: Path) -> None:
    """Three trials each, of 30 updates and 30 x 9,000 or 30 x 10,500 tokens."""
    text, data = built(tmp_path, BASE, GRPO)
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
        ((BASE,), "FAIL", "grpo was not tuned"),
        ((BASE, dataclasses.replace(GRPO, trials=48)), "FAIL", "trials reinforce: 24; grpo: 48"),
        (
            (BASE, dataclasses.replace(GRPO, ceiling=["20 updates", "40 updates"])),
            "FAIL",
            "of at most reinforce: 20 updates; grpo: 20 updates, then 40 updates",
        ),
        ((BASE, dataclasses.replace(GRPO, seeds=[40, 2])), "FAIL", "the tuning saw: 2"),
        ((BASE, dataclasses.replace(GRPO, failed=3)), "WARN", "3 of 24 tuning trials of grpo"),
        ((BASE, dataclasses.replace(GRPO, code_hash="0")), "WARN", "code has changed since"),
    ],
)
def test_the_gate(tmp_path: Path, tuned: tuple[Tuned, ...], level: str, words: str) -> None:
    _, data = built(tmp_path, *tuned)
    assert gate(data)[0] == level
    assert words in gate(data)[1]
    if level == "FAIL":
        assert "Equal tuning budget per arm, fresh seeds" in data["withheld"]


def test_a_seal_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="a seal is a sha256"):
        dataclasses.replace(GRPO, seal="me")
