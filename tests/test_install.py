"""`harness -m` from another folder, after a normal and after an editable install."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL


@pytest.mark.parametrize("mode", [pytest.param("normal", marks=pytest.mark.commands), "editable"])
def test_a_command_from_another_folder_after_a_real_install(work: Path, mode: str) -> None:
    """An editable install differs in what it finds, not in what it then does."""
    place = work / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    # The libraries are this environment's; only the project itself is installed anew.
    site = next((place / "lib").glob("python*/site-packages"))
    (site / "zz_libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    target = ["-e", str(ROOT)] if mode == "editable" else [str(_copied(work))]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "-q"),
            *("--no-deps", "--force-reinstall", *target),
        ],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    where = subprocess.run(
        [python, "-c", "import harness; print(harness.__file__)"],
        cwd="/", env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(ROOT if mode == "editable" else site))
    if mode == "normal":
        _multirun(work, place, environment)
        _own_questions(work, place, environment)
    unknown = subprocess.run(
        [place / "bin" / "harness", "-m", "+ablation=nope"],
        cwd=work, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert unknown.returncode == 2
    assert "length_bias" in unknown.stderr


def _multirun(work: Path, place: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [place / "bin" / "harness", "-m", "seed=5", *SMALL, "budget.amount=1"],
        cwd=work, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 trial (1 variant x 1 seed)" in done.stdout
    (report,) = (work / "runs" / "reports").glob("grid-*/report.html")
    assert (work / "runs" / "sweeps" / report.parent.name / "manifest.jsonl").is_file()


GRADERS = """
def a_float(response, answer): return 1.0 if response == answer else 0.0
def exact(response, answer): return response == answer
def close(prompt, response, answer, correct): return 1.0 if correct else 0.5
"""


def _own_questions(work: Path, place: Path, environment: dict[str, str]) -> None:
    """A new user's file, grader and reward beside an installed package: refused, mended, measured.

    The module lies where the console script is started.
    """
    (work / "mine.py").write_text(GRADERS)
    rows = [{"prompt": f"Q{a} {b}?", "answer": str(a + b)} for a in range(8) for b in range(8)]
    (work / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    base = next(path for path in (work / "runs" / "models").iterdir() if path.is_dir())
    small = [s for s in SMALL if not s.startswith(("model", "task", "budget", "evaluation.pass"))]
    request = (
        *("task=jsonl", "task.path=q.jsonl", "task/template=plain", "reward=function"),
        *("reward.function=mine.close", "model=hf", f"model.path={base}", "tracking=none", *small),
        *("budget.amount=1", "evaluation.pass_k=0"),
    )

    def said(*call: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            call, cwd=work, env=environment, capture_output=True, text=True, timeout=240
        )

    before = set((work / "runs" / "checkpoints").iterdir())
    refused = said(place / "bin" / "harness", *request, "task.grader=mine.a_float")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "mine.a_float must return True or False, returned " in refused.stderr
    assert set((work / "runs" / "checkpoints").iterdir()) == before
    trained = said(place / "bin" / "harness", *request, "task.grader=mine.exact")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (folder,) = set((work / "runs" / "checkpoints").iterdir()) - before
    measured = said(
        place / "bin" / "python", "-m", "harness.evaluate", folder / "final", "trust=true"
    )
    assert measured.returncode == 0, measured.stdout + measured.stderr
    accuracy = json.loads((folder / "final" / "result.json").read_text())["eval/accuracy"]
    assert f"{accuracy:.3f}" in measured.stdout


def _copied(work: Path) -> Path:
    """A clean copy of the sources: a build must not leave anything in the repository."""
    copy = work / "source"
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy
