"""Shared fixtures: a small base model, configs composed in this process, real commands."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from harness.__main__ import use_sweeper_plugin

ROOT = Path(__file__).resolve().parent.parent
# A trial of seconds: a half-trained base, few prompts, few updates. It learns next to nothing, but
# it walks every step of the street, and some of its answers are right, so that gradients are not 0.
SMALL = (
    "model.warm_up.steps=400",
    "task.train_size=128",
    "task.eval_size=48",
    "trainer.prompts_per_step=8",
    "algorithm.group_size=4",
    "rollout.max_new_tokens=48",
    "evaluation.pass_k=2",
    "evaluation.every=0.25",
    "trainer.save_every=0.25",
    "budget.amount=8",
)

pytest_plugins = ("tests.tiny",)

torch.set_num_threads(1)
use_sweeper_plugin()


def pytest_runtest_setup() -> None:
    """A new store costs a second of migrations: MLflow makes its tables once in a process, and
    each further store of the process begins as a copy of those."""
    utils: Any = sys.modules.get("mlflow.store.db.utils")
    if utils is None or hasattr(utils, "_made_by_migrations"):
        return
    real = utils._made_by_migrations = utils._initialize_tables
    empty: list[bytes] = []

    def tables(engine: Any) -> None:
        if not empty:
            real(engine)
        with closing(engine.raw_connection()) as pooled:
            own = pooled.driver_connection
            if not empty:
                empty.append(own.serialize())
                return
            with closing(sqlite3.connect(":memory:")) as kept:
                kept.deserialize(empty[0])
                kept.backup(own)

    utils._initialize_tables = tables


@pytest.fixture(autouse=True)
def no_hydra_of_another_test() -> None:
    """Hydra is one per process, and commands that ran in this process leave theirs behind."""
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session")
def composed() -> Callable[..., Any]:
    """compose(overrides) -> the typed TrialConfig of a single run."""
    from harness.cli import labelled
    from harness.typed import typed

    def build(*overrides: str) -> Any:
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            config = compose("config", overrides=list(overrides), return_hydra_config=True)
        choices = config.hydra.runtime.choices
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return typed(labelled(config, choices))

    return build


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory, composed: Callable[..., Any]) -> Path:
    """A runs folder that holds the small base model and nothing else; one for all workers."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    runs = shared / "small_base" / "runs"
    config = composed(*SMALL, f"runs={runs}")
    config.model.prepare(config.task, str(runs))
    return runs


@pytest.fixture
def work(tmp_path: Path, small_base: Path) -> Path:
    """A folder to start commands in, whose runs/ holds the small base model."""
    shutil.copytree(small_base / "models", tmp_path / "runs" / "models")
    return tmp_path


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    """Run a command of `harness` in this process, in the test's own folder.

    It does what a process of its own does, without five seconds of imports.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as harness.__main__ sets it

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        from harness import cli

        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        capsys.readouterr()
        code = cli.run()
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


def command(*arguments: str, **extra: str) -> dict[str, Any]:
    """Arguments of subprocess for `python -m harness`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}
    return {"args": [sys.executable, "-m", "harness", *arguments], "env": environment}


def harness(
    work: Path, *arguments: str, timeout: float = 600, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m harness` in a folder to its end."""
    return subprocess.run(
        **command(*arguments, **extra), cwd=work, capture_output=True, text=True, timeout=timeout
    )
