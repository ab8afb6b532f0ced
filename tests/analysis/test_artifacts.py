"""Files of a store whose trials' folders are gone: damage and links end in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.report import build
from analysis.study import read_study
from harness.errors import ConfigError, StoreError
from tests.analysis import synthetic_store as store

CONFIG, TABLE = "config.yaml", "eval/step_*.json"
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("made") / "runs"
    store.write(runs, [store.SINGLE])
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "runs")


def refusal(runs: Path, name: str, damage: Damage) -> str:
    """What is said of a store in which every artifact of a name is damaged."""
    for path in list(runs.glob(f"artifacts/*/*/artifacts/{name}")):
        damage(path)
    with pytest.raises(StoreError) as refused:
        read_study(runs, store.SINGLE.name)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", [CONFIG, TABLE])
@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[", b"a: [", b"[1]", b"7", b"null", b"{" * 9999]
)
def test_garbage_is_one_line(runs: Path, name: str, content: bytes) -> None:
    said = refusal(runs, name, lambda path: path.write_bytes(content) and None)
    assert "is damaged, and the folder of its trial is gone" in said


@pytest.mark.parametrize(
    "content",
    [
        b'{"data": [[1]], "columns": 3}',
        b'{"data": 3, "columns": ["a"]}',
        b'{"data": [[1, 2], [3]], "columns": ["a", "b"]}',
        b'{"data": [[1]], "columns": [["a"]]}',
    ],
)
def test_a_table_that_is_none_is_one_line(runs: Path, content: bytes) -> None:
    assert "is damaged" in refusal(runs, TABLE, lambda path: path.write_bytes(content) and None)


@pytest.mark.parametrize("name", [CONFIG, TABLE])
@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "../elsewhere", "no file"])
def test_a_link_is_not_followed(runs: Path, name: str, target: str) -> None:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    assert "is a link to /" in refusal(runs, name, link)


def test_a_link_where_the_report_should_be_is_refused(runs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (runs / "reports").mkdir()
    (runs / "reports" / store.SINGLE.name).symlink_to(mine)
    with pytest.raises(ConfigError, match=r"leads to .*; remove the link"):
        build(runs, store.SINGLE.name)
    assert list(mine.iterdir()) == []
