"""`harness -m` from another folder, after a normal and after an editable install."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL


@pytest.mark.parametrize("mode", ["normal", "editable"])
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
    assert "1 trials (1 variants x 1 seeds)" in done.stdout
    (report,) = (work / "runs" / "reports").glob("grid-*/report.html")
    assert (work / "runs" / "sweeps" / report.parent.name / "manifest.jsonl").is_file()


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
