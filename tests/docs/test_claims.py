"""The table of claims: whole, read from the findings that are kept, and filled by new ones."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import kept
from docs.generator import claimed
from tests.conftest import ROOT

CLAIMS = claimed.read()
ABLATIONS = ROOT / "sweeps" / "ablation"
READ = [each for claim in CLAIMS for each in claim.get("findings", [])]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def table(folder: Path, tmp_path: Path, *asked: dict[str, Any]) -> str:
    """The second cell of a table of one claim."""
    path = tmp_path / "claims.yaml"
    own = {"claim": "c", "source": "s", "own_size": "-", "findings": list(asked)}
    path.write_text(yaml.safe_dump([own]))
    return cells(claimed.claims(folder, path).splitlines()[-1])[1]


def test_no_cell_is_empty_and_every_recipe_is_there() -> None:
    rows = [line for line in claimed.claims().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if "---" not in row and not row.startswith("| claim |")]
    assert len(rows) == len(CLAIMS) > 20
    for row in rows:
        assert len(cells(row)) == len(claimed.COLUMNS), row
        assert all(cells(row)), row
    recipes = [claim["recipe"] for claim in CLAIMS if "recipe" in claim]
    assert [r for r in recipes if not (ROOT / "conf" / "recipe" / f"{r}.yaml").exists()] == []
    # Either its own size is not run, or the claim needs none: never both, never neither.
    assert [c["claim"] for c in CLAIMS if ("recipe" in c) is ("own_size" in c)] == []


@pytest.mark.parametrize("asked", READ, ids=lambda each: f"{each['finding']}: {each['says']}")
def test_what_a_row_reads_will_be_in_its_finding(asked: dict[str, Any]) -> None:
    """Of every ablation, run or not: its variants, and metrics that it predicts or decides by."""
    ablation = yaml.safe_load((ABLATIONS / f"{asked['finding']}.yaml").read_text())
    labels = [variant["label"] for variant in ablation["variants"]]
    named = {asked[key] for key in ("variant", "against", "level", "gain") if key in asked}
    assert named
    assert named <= set(labels)
    predicted = [(p["metric"], p["variant"], p["baseline"]) for p in ablation["predictions"]]
    if "against" in asked:
        compared = asked["metric"] == ablation["primary"]["metric"]
        told = (asked["metric"], asked["variant"], asked["against"]) in predicted
        assert told or (compared and asked["against"] == ablation["baseline"])
    if "level" in asked:
        assert asked["metric"] in {ablation["primary"]["metric"], *(p[0] for p in predicted)}


def test_a_finding_fills_its_row(tmp_path: Path) -> None:
    asked = {
        "finding": "updates_per_rollout",
        "says": "one against four",
        "metric": "eval/accuracy",
        "variant": "one",
        "against": "four",
    }
    empty = tmp_path / "empty"
    empty.mkdir()
    assert table(empty, tmp_path, asked) == f"one against four: {claimed.WAITS}"
    finding = kept.read(kept.FOLDER / "updates_per_rollout.json")
    (first, *_) = finding["verdicts"]
    said = table(kept.FOLDER, tmp_path, asked)
    assert said == f"one against four: {first['difference']}, 5 and 5 seeds ({first['verdict']})"
    # Kept anew with another result, the row says that one.
    finding["verdicts"][0] |= {"difference": "-0.300 [-0.400, -0.200]", "n": [7, 6]}
    (empty / "updates_per_rollout.json").write_text(kept.signed(finding))
    assert "-0.300 [-0.400, -0.200], 7 and 6 seeds" in table(empty, tmp_path, asked)


def test_levels_and_gains(tmp_path: Path) -> None:
    level = {"finding": "updates_per_rollout", "says": "four", "metric": "eval/accuracy"}
    # (.90625 + .892578125 + .884765625 + .89453125 + .857421875) / 5 = .887109375
    said = table(kept.FOLDER, tmp_path, {**level, "level": "four"})
    assert said == "four: 0.887 [0.862, 0.908], 5 seeds"
    gain = {"finding": "updates_per_rollout", "says": "gain", "gain": "one"}
    assert table(kept.FOLDER, tmp_path, gain) == "gain: +0.353 [+0.323, +0.383], 5 seeds"


def test_a_difference_that_no_finding_has_is_no_empty_cell(tmp_path: Path) -> None:
    asked = {
        "finding": "updates_per_rollout",
        "says": "",
        "metric": "eval/kl",
        "variant": "one",
        "against": "four",
    }
    with pytest.raises(LookupError, match="updates_per_rollout says nothing on eval/kl"):
        table(kept.FOLDER, tmp_path, asked)


def test_what_cache_and_schedule_spare_is_counted() -> None:
    """250 steps of one prompt each; 84 prompts, so that the third pass is the last.

    Five samples: 6 a visit; kept: 84 * 5 + 250 = 670. The schedule asks for 5 in steps 0 to 37, 3
    to step 87, then 2: 190 + 150 + 324 + 250 = 914; kept: the first pass draws 38 * 5 + 46 * 3 =
    328, later ones nothing: 578.
    """
    rows = [cells(row)[1:] for row in claimed.v_star().splitlines()[2:]]
    assert rows == [
        ["6.00", "+0 %"],
        [f"{670 / 250:.2f}", "-55 %"],  # 670 / 1500 - 1 = -.553
        [f"{914 / 250:.2f}", "-39 %"],  # -.391
        [f"{578 / 250:.2f}", "-61 %"],  # -.615
    ]
    # What is written by hand repeats these; beside the cache the schedule spares 578 / 670 - 1.
    written = [c["ours"] for c in CLAIMS if "the table below" in c.get("ours", "")]
    assert re.findall(r"-\d+ %", " ".join(written)) == ["-55 %", "-39 %", "-14 %", "-61 %"]
