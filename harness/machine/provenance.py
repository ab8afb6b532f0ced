"""What produced a number: sources, commit, library versions."""

import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("harness", "conf", "sweeps", "analysis")
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


def code_hash() -> str:
    """sha256 over the Python and YAML sources of the project's packages."""
    total = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                total.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def git_state() -> tuple[str, bool]:
    """Commit of the project's sources and whether they differ from it; ("none", False) without."""
    if not (_ROOT / ".git").exists():
        return "none", False
    commit = _git("rev-parse", "HEAD")
    return commit or "none", bool(_git("status", "--porcelain"))


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
