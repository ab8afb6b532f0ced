"""README's commands in any order, in one folder: each report is complete and its own."""

import re
import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main as analysis
from tests.conftest import SMALL, Here
from tests.sweeps.test_sweep import finals, runs_of

TINY = (*SMALL, "budget.amount=2", "evaluation.every=0.5")
GRID = ("-m", "algorithm=grpo,dr_grpo", "seed=0,1", *TINY)
ABLATION = ("-m", "+ablation=length_bias", "seed=0,1", *TINY)
RENAMED = """
_target_: analysis.ablation.Ablation
name: renamed
question: Is a trial known by what it is?
hypothesis: ""
baseline: divided
variants:
  - {label: divided, overrides: [algorithm=grpo]}
  - {label: undivided, overrides: [algorithm=dr_grpo]}
factors: [algorithm]
seeds: [0, 1]
budget: {unit: updates, amount: 2}
"""


def complete(work: Path, name: str, *labels: str) -> None:
    report = (work / "runs" / "reports" / name / "report.md").read_text()
    assert "4 of 4 planned trials have a result" in report
    assert f"{labels[0]}: 2, {labels[1]}: 2" in report
    runs = runs_of(work, name)
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["variant"] for run in runs} == set(labels)


@pytest.mark.commands
def test_a_single_run_a_grid_an_ablation_and_reports_in_one_folder(work: Path, here: Here) -> None:
    def printed(*arguments: str) -> str:
        done = here(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    printed("algorithm=grpo", "tracking=none", *TINY)
    grid = printed(*GRID)
    assert "1 finished before" in grid
    name = re.findall(r"grid-\w+", grid)[0]
    complete(work, name, "grpo", "dr_grpo")
    before = finals(work)
    assert len(before) == 4

    (work / "runs" / "mlflow.db").unlink()
    shutil.rmtree(work / "runs" / "artifacts")
    assert "4 finished before" in printed(*ABLATION)
    complete(work, "length_bias", "grpo", "dr_grpo")

    assert analysis(["report", name]) == 0
    complete(work, name, "grpo", "dr_grpo")

    (work / "mine" / "conf" / "ablation").mkdir(parents=True)
    (work / "mine" / "conf" / "ablation" / "renamed.yaml").write_text(RENAMED)
    search = f"hydra.searchpath=[file://{work / 'mine' / 'conf'}]"
    renamed = printed("-m", "+ablation=renamed", search, *TINY)
    assert "4 finished before" in renamed
    assert "record of grpo__s0__" in renamed
    complete(work, "renamed", "divided", "undivided")
    origins = {run.data.tags["origin"].partition("__")[0] for run in runs_of(work, "renamed")}
    assert origins == {"grpo", "dr_grpo"}

    report = (work / "runs" / "reports" / "length_bias" / "report.md").read_bytes()
    assert "4 finished before" in printed(*ABLATION)
    assert (work / "runs" / "reports" / "length_bias" / "report.md").read_bytes() == report
    assert finals(work) == before, "a finished trial ran again"
