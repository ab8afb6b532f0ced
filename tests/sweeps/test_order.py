"""README's commands in any order, in one folder: each report is complete and its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, SMALL, harness
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


def analysis(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analysis", *arguments],
        cwd=work, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def complete(work: Path, name: str, *labels: str) -> None:
    report = (work / "runs" / "reports" / name / "report.md").read_text()
    assert "4 of 4 planned trials have a result" in report
    assert f"{labels[0]}: 2, {labels[1]}: 2" in report
    runs = runs_of(work, name)
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["variant"] for run in runs} == set(labels)


def test_a_single_run_a_grid_an_ablation_and_reports_in_one_folder(work: Path) -> None:
    single = harness(work, "algorithm=grpo", "tracking=none", *TINY)
    assert single.returncode == 0, single.stderr
    grid = harness(work, *GRID)
    assert grid.returncode == 0, grid.stdout + grid.stderr
    assert "1 finished before" in grid.stdout
    (name,) = re.findall(r"grid-\w+", grid.stdout)[:1]
    complete(work, name, "grpo", "dr_grpo")
    before = finals(work)
    assert len(before) == 4

    (work / "runs" / "mlflow.db").unlink()
    shutil.rmtree(work / "runs" / "artifacts")
    ablation = harness(work, *ABLATION)
    assert ablation.returncode == 0, ablation.stdout + ablation.stderr
    assert "4 finished before" in ablation.stdout
    complete(work, "length_bias", "grpo", "dr_grpo")

    assert analysis(work, "report", name).returncode == 0
    complete(work, name, "grpo", "dr_grpo")

    (work / "mine" / "conf" / "ablation").mkdir(parents=True)
    (work / "mine" / "conf" / "ablation" / "renamed.yaml").write_text(RENAMED)
    search = f"hydra.searchpath=[file://{work / 'mine' / 'conf'}]"
    renamed = harness(work, "-m", "+ablation=renamed", search, *TINY)
    assert renamed.returncode == 0, renamed.stdout + renamed.stderr
    assert "4 finished before" in renamed.stdout
    complete(work, "renamed", "divided", "undivided")
    origins = {run.data.tags["origin"].partition("__")[0] for run in runs_of(work, "renamed")}
    assert origins == {"grpo", "dr_grpo"}
    assert "record of grpo__s0__" in renamed.stdout

    report = (work / "runs" / "reports" / "length_bias" / "report.md").read_bytes()
    assert analysis(work, "report", "length_bias").returncode == 0
    assert (work / "runs" / "reports" / "length_bias" / "report.md").read_bytes() == report
    assert finals(work) == before, "a finished trial ran again"
