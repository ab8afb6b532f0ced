"""Where a number was made: commit, library versions."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "rl-harness",
    "torch",
    "transformers",
    "ray",
    "mlflow",
    "hydra-core",
    "numpy",
    "scipy",
    "polars",
)
_ROOT = Path(__file__).resolve().parents[2]


def git_state() -> tuple[str, bool]:
    """Commit of the project's sources and whether they differ from it; ("none", False) without."""
    if not (_ROOT / ".git").exists():
        return "none", False
    commit = _git("rev-parse", "HEAD")
    return commit or "none", bool(changed_files())


def changed_files() -> list[str]:
    """Files in which the project's sources differ from their commit; [] without git."""
    if not (_ROOT / ".git").exists():
        return []
    return [line.split(maxsplit=1)[-1] for line in _git("status", "--porcelain").splitlines()]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Library name -> installed version."""
    return {name: found for name in LIBRARIES if (found := _version(name))}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
