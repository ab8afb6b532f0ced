"""Which model it is, by content: folders by their files, hub models by their commit."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub.constants
import pytest

from harness import config
from harness.errors import ConfigError
from harness.models import content
from harness.models.hf import HuggingFace
from harness.models.loading import Source, located
from tests.conftest import ROOT

COMMITS = ("1" * 40, "2" * 40)
NAME = "someone/small"
LARGE = content.KEPT_FROM_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a model."""
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "vocab.json"):
        (base / name).write_text("{}")
    for name in ("model-1.safetensors", "model-2.safetensors", "README.md", "training_args.bin"):
        (base / name).write_bytes(b"12345678")
    return base


def prepared(path: object, tmp_path: Path, tokenizer: str | None = None) -> Source:
    return HuggingFace(path=str(path), tokenizer=tokenizer).prepare(None, str(tmp_path / "runs"))


def test_every_file_that_decides_a_number_has_a_digest(folder: Path, tmp_path: Path) -> None:
    assert set(prepared(folder, tmp_path).files) == {
        *("model weights/model-1.safetensors", "model weights/model-2.safetensors"),
        *("model settings/config.json", "model settings/generation_config.json"),
        *("tokenizer/tokenizer.json", "tokenizer/vocab.json"),
    }
    assert not (tmp_path / "runs").exists(), "small files need no file of digests"


@pytest.mark.parametrize("name", ["model-2.safetensors", "config.json", "vocab.json"])
def test_another_content_under_the_same_path_is_another_model(
    folder: Path, tmp_path: Path, name: str
) -> None:
    before, file = prepared(folder, tmp_path), folder / name
    state = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size
    now = prepared(folder, tmp_path)
    assert now.path == before.path
    assert now.hash != before.hash
    (changed,) = (key for key in now.files if now.files[key] != before.files[key])
    assert changed.endswith(f"/{name}")


def test_the_same_content_elsewhere_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    before = prepared(folder, tmp_path)
    other = shutil.copytree(folder, tmp_path / "copy" / "deep")
    (other / "README.md").write_text("another text")
    for file in other.iterdir():
        os.utime(file, (1, 1))
    assert prepared(other, tmp_path).hash == before.hash
    assert prepared(other, tmp_path).files == before.files


def test_a_tokenizer_of_its_own_counts(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "tokenizer.json").write_text("[]")
    alone, both = prepared(folder, tmp_path), prepared(folder, tmp_path, str(other))
    assert {k for k in both.files if both.files[k] != alone.files[k]} == {
        "tokenizer/tokenizer.json"
    }


# --- digests that are kept ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is large enough for its digest to be kept, and that has settled; not to edit."""
    file = tmp_path_factory.mktemp("settled") / "large.safetensors"
    file.write_bytes(b"\0" * LARGE)
    settle(file)
    return file


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """One to edit."""
    file = tmp_path / "large.safetensors"
    file.write_bytes(b"\0" * LARGE)
    return file


def settle(*files: Path) -> None:
    newest = max(file.stat().st_ctime_ns for file in files)
    while time.time_ns() - newest <= content.SETTLED_NS:
        time.sleep(0.1)


def sealed(path: Path, files: object) -> None:
    path.write_text(json.dumps({"files": files, "seal": config.digest(files)}))


def test_a_large_file_is_hashed_once(large: Path, tmp_path: Path) -> None:
    kept = tmp_path / "models" / content.KEPT
    settle(large)
    found = content.sha256(large, kept)
    files = json.loads(kept.read_text())["files"]
    assert files[str(large)]["sha256"] == found
    sealed(kept, {str(large): {**files[str(large)], "sha256": "f" * 64}})
    assert content.sha256(large, kept) == "f" * 64, "it is taken from the file of digests"
    os.utime(large)
    assert content.sha256(large, kept) == found, "another time: it is hashed again"


def test_a_large_file_that_is_replaced_is_hashed_again(large: Path, tmp_path: Path) -> None:
    """In place or by another file, of the same size and with the same time of change."""
    settle(large)
    kept, state = tmp_path / "models" / content.KEPT, large.stat()
    found = [content.sha256(large, kept)]
    large.write_bytes(b"\1" * LARGE)
    os.utime(large, ns=(state.st_mtime_ns, state.st_mtime_ns))
    found.append(content.sha256(large, kept))
    other = tmp_path / "other"
    other.write_bytes(b"\2" * LARGE)
    os.utime(other, ns=(state.st_mtime_ns, state.st_mtime_ns))
    other.replace(large)
    found.append(content.sha256(large, kept))
    assert len(set(found)) == 3


def test_a_file_that_has_just_changed_is_not_kept(large: Path, tmp_path: Path) -> None:
    kept = tmp_path / "models" / content.KEPT
    large.touch()
    content.sha256(large, kept)
    assert not kept.exists()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-9],
    "null": lambda data: b"null",
    "a list": lambda data: b"[]",
    "no seal": lambda data: b'{"files": {}}',
    "binary": lambda data: b"\xff\x00" * 50,
    "nested": lambda data: b"[" * 100_000,
    "a digest that was edited": lambda data: data.replace(b'"sha256": "', b'"sha256": "0'),
    "files of another kind": lambda data: b'{"files": [3], "seal": ""}',
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_digests_are_not_trusted(
    settled: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    kept = tmp_path / "models" / content.KEPT
    found = content.sha256(settled, kept)
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert content.sha256(settled, kept) == found
    assert kept.read_bytes() == whole, "it is mended"


def test_several_processes_keep_digests_at_once(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.safetensors" for i in range(6)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]) * LARGE)
    settle(*files)
    kept = tmp_path / "models" / content.KEPT
    script = (
        "import sys; from pathlib import Path; from harness.models import content; "
        "[content.sha256(Path(f), Path(sys.argv[1])) for f in sys.argv[2:]]"
    )

    def work(own: list[Path]) -> int:
        arguments = [sys.executable, "-c", script, str(kept), *map(str, own)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(arguments, env=environment, check=False).returncode

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(work, [files[:3], files[3:], files[1:5]])) == [0, 0, 0]
    known = json.loads(kept.read_text())["files"]
    assert set(known) == {str(file) for file in files}
    files[0].unlink()
    kept_again = content.sha256(files[1], kept)
    assert known[str(files[1])]["sha256"] == kept_again


def test_digests_that_cannot_be_kept_are_still_found(settled: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    assert len(content.sha256(settled, tmp_path / "models" / content.KEPT)) == 64


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone' cannot be read \(No such file.*; make it"):
        content.sha256(tmp_path / "gone", tmp_path / content.KEPT)


# --- hub models -----------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one model in two commits, and no network. Returns its main ref."""
    cache = tmp_path / "hub"
    for name in (NAME, "someone/tokens"):
        repository = cache / f"models--{name.replace('/', '--')}"
        for commit in COMMITS:
            shutil.copytree(source.path, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMITS[0])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache / f"models--{NAME.replace('/', '--')}" / "refs" / "main"


def test_a_hub_model_is_its_commit(hub: Path, tmp_path: Path) -> None:
    before = prepared(NAME, tmp_path)
    assert (before.path, before.revision, before.tokenizer_revision) == (NAME, *COMMITS[:1] * 2)
    assert before.files == {"model revision": COMMITS[0], "tokenizer revision": COMMITS[0]}
    assert prepared(NAME, tmp_path) == before
    hub.write_text(COMMITS[1])
    now = prepared(NAME, tmp_path)
    assert now.hash != before.hash
    assert now.files == {"model revision": COMMITS[1], "tokenizer revision": COMMITS[1]}
    other = prepared(NAME, tmp_path, "someone/tokens")
    assert other.files == {"model revision": COMMITS[1], "tokenizer revision": COMMITS[0]}


def test_what_was_looked_at_is_what_is_loaded(hub: Path, tmp_path: Path) -> None:
    """The hub moves on, and the commit that it moves to is broken."""
    found = prepared(NAME, tmp_path)
    hub.write_text(COMMITS[1])
    shutil.rmtree(hub.parents[1] / "snapshots" / COMMITS[1])
    assert sum(p.numel() for p in found.model().parameters()) == 84_288
    assert found.context() == 512
    assert found.tokens.tokenizer.eos_token == "<eos>"


def test_a_critic_of_the_hub_has_its_own_commit(hub: Path, tmp_path: Path, source: Source) -> None:
    critic = source.at(NAME)
    assert (critic.path, critic.revision) == (NAME, COMMITS[0])
    assert prepared(NAME, tmp_path).at(source.path).revision is None
    assert critic.model().config.hidden_size == 64
    assert content.of_model(NAME, critic.revision, "", "critic") == {"critic revision": COMMITS[0]}


@pytest.mark.parametrize("name", ["someone/absent", "gpt2-absent"])
def test_a_hub_model_that_is_nowhere_is_refused_in_one_line(hub: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be loaded: .*; give model\.path") as caught:
        located(name, "model.path")
    assert "\n" not in str(caught.value)
