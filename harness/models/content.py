"""Which model it is, by content: a digest of every file that its numbers come from.

Large files are hashed once: what was found is kept beside the base models, under the file's size,
times and inode. What is kept is sealed; a damaged file of digests is as none.
"""

import fnmatch
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from harness import config
from harness.errors import ConfigError
from harness.machine import files
from harness.machine.progress import Unit, advance, waiting

WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.index.json", "adapter_config.json")
SETTINGS = ("config.json", "generation_config.json")
# What tokenizers of transformers are saved as.
TOKENIZER = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*"),
    *("vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json"),
)
# Where digests are kept, under the folder of base models.
KEPT = "digests.json"
# Smaller files are hashed in less time than a file of digests is written in.
KEPT_FROM_BYTES = 1 << 24
# Read at once of a large file.
READ_BYTES = 1 << 20
# A file that changed so short a time ago may change again without its times telling.
SETTLED_NS = 2_000_000_000
LOCK_WAIT_S = 30.0


def of_model(path: str, revision: str | None, runs: str, whose: str = "model") -> dict[str, str]:
    """Digests of a model's weights and settings.

    Args:
        path: its folder, or its hub name.
        revision: commit of a hub model; None for a folder.
        runs: the runs folder, where digests of large files are kept.
        whose: model or critic.

    Returns:
        "model weights/FILE" and "model settings/FILE" -> sha256, or "model revision" -> commit.
    """
    if revision is not None:
        return {f"{whose} revision": revision}
    kinds = {f"{whose} weights": WEIGHTS, f"{whose} settings": SETTINGS}
    return _digests(Path(path), kinds, runs)


def of_tokenizer(path: str, revision: str | None, runs: str) -> dict[str, str]:
    """Digests of a tokenizer's files, as of_model: "tokenizer/FILE" or "tokenizer revision"."""
    if revision is not None:
        return {"tokenizer revision": revision}
    return _digests(Path(path), {"tokenizer": TOKENIZER}, runs)


def _digests(folder: Path, kinds: Mapping[str, Sequence[str]], runs: str) -> dict[str, str]:
    kept = Path(runs).expanduser() / "models" / KEPT
    return {
        f"{kind}/{file.name}": sha256(file, kept)
        for kind, patterns in kinds.items()
        for file in sorted(folder.iterdir())
        if any(fnmatch.fnmatchcase(file.name, p) for p in patterns) and file.is_file()
    }


def sha256(file: Path, kept: Path) -> str:
    """sha256 of a file's bytes, hashed or kept from before.

    Args:
        kept: the file of digests.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with file.open("rb") as handle:
            state = _state(handle.fileno())
            if state["size"] < KEPT_FROM_BYTES:
                return hashlib.file_digest(handle, "sha256").hexdigest()
            name = str(file.absolute())
            known = _read(kept).get(name)
            if isinstance(known, dict) and known.get("state") == state:
                return str(known["sha256"])
            found = _hashed(handle, state["size"])
            settled = time.time_ns() - max(state["mtime_ns"], state["ctime_ns"]) > SETTLED_NS
            if settled and _state(handle.fileno()) == state:
                _keep(kept, name, {"state": state, "sha256": found})
            return found
    except OSError as error:
        raise ConfigError(
            f"model file {str(file)!r} cannot be read ({error.strerror}); make it readable or "
            f"choose another model.path"
        ) from error


def _hashed(handle: BinaryIO, size: int) -> str:
    digest, buffer = hashlib.sha256(), bytearray(READ_BYTES)
    with waiting(Unit.BYTES, "reading", f"{Path(handle.name).name}, {size / 1e9:.1f} GB", size):
        while count := handle.readinto(buffer):  # type: ignore[attr-defined]
            digest.update(memoryview(buffer)[:count])
            advance(Unit.BYTES, count)
    return digest.hexdigest()


def _state(descriptor: int) -> dict[str, int]:
    """What tells one content of a file from another; nobody can set the time of change (ctime)."""
    found = os.fstat(descriptor)
    return {
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
    }


def _read(kept: Path) -> dict[str, Any]:
    """The digests that are kept; none where the file is missing, damaged or not ours."""
    try:
        found = json.loads(kept.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    known = found.get("files") if isinstance(found, dict) else None
    if not isinstance(known, dict) or found.get("seal") != config.digest(known):
        return {}
    return known


def _keep(kept: Path, name: str, entry: dict[str, Any]) -> None:
    """Add a digest to those that others have kept meanwhile; files that are gone are dropped."""
    try:
        with files.locked(kept.with_suffix(".lock"), LOCK_WAIT_S):
            others = {path: known for path, known in _read(kept).items() if Path(path).exists()}
            known = {**others, name: entry}
            text = json.dumps({"files": known, "seal": config.digest(known)})
            files.write(kept, text.encode())
    except (OSError, ConfigError) as error:  # the next start hashes it again, that is all
        logging.getLogger("harness").warning("the digest of %s is not kept: %s", name, error)
