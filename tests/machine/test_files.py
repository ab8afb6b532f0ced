"""Locks and atomic replacement, with real processes that are really killed."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.machine.files import locked, replacing, writable_folder, write

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from harness.machine.files import locked
with locked(Path(sys.argv[1]), wait_s=0):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def holder(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock by the time the block begins."""
    arguments = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def names(folder: Path) -> set[str]:
    """All that lies in a folder, hidden entries included."""
    return {path.name for path in folder.iterdir()}


# --- locked ---------------------------------------------------------------------------------------


def test_a_held_lock_is_refused_and_freed_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "trial" / "lock"
    with holder(path, 600) as process:
        with pytest.raises(ConfigError) as caught, locked(path, wait_s=0.3):
            pass
        assert str(caught.value) == (
            f"{path.parent} is in use by another process; wait for it or end it"
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(path, wait_s=0):
            assert process.returncode == -signal.SIGKILL


def test_waiting_is_rewarded(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path, 0.7), locked(path, wait_s=60):
        pass  # the holder let go while this process waited


def test_the_lock_keeps_others_out_and_ends_with_the_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    arguments = [sys.executable, "-c", HOLDER, str(path), "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, capture_output=True, text=True, env=environment)

    def fail_while_held() -> None:
        with locked(path, wait_s=0):
            refused = other()
            assert refused.stdout == ""
            assert "ConfigError" in refused.stderr
            raise KeyError

    with pytest.raises(KeyError):
        fail_while_held()
    assert other().stdout == "held\n"


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught, locked(path, wait_s=0):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"cannot lock {path} (")
    assert "remove what lies there" in message
    return message


def test_a_lock_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    assert "Is a directory" in refused(tmp_path / "lock")


def test_a_lock_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trial").write_text("")
    refused(tmp_path / "trial" / "lock")


def test_a_lock_that_is_a_link_is_one_line_and_empties_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    refused(tmp_path / "lock")
    assert (tmp_path / "mine").read_text() == "kept"


FORBIDDEN = """
import os, sys
from pathlib import Path
from harness.errors import ConfigError
from harness.machine.files import locked
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with locked(Path(sys.argv[1]), wait_s=0):
        print("held")
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("forbidden", ["lock", "folder"])
def test_a_lock_that_may_not_be_written_is_one_line(forbidden: str) -> None:
    """As somebody whom the folder's permissions bind: not pytest's, which none but us may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777 if forbidden == "lock" else 0o555)
        if forbidden == "lock":
            (folder / "lock").touch(0o000)
            (folder / "lock").chmod(0o000)
        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN, str(folder / "lock")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
    assert done.stderr == ""
    assert done.stdout.startswith(f"cannot lock {folder / 'lock'} (Permission denied)")
    assert len(done.stdout.splitlines()) == 1


# --- replacing ------------------------------------------------------------------------------------


def test_a_folder_is_made_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "step_1"
    with replacing(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text("1")
        assert not folder.exists()
        assert temporary.parent == folder.parent  # the same disk: a rename, not a copy
    assert (folder / "sub" / "a").read_text() == "1"
    assert names(folder.parent) == {"step_1"}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path, umask: int, mode: int) -> None:
    """Writers of weights make files that only they can read."""
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "final") as temporary:
            (temporary / "sub").mkdir()
            for name in ("model.safetensors", "sub/part"):
                (temporary / name).touch()
                (temporary / name).chmod(0o600)
    finally:
        os.umask(before)
    made = tmp_path / "final"
    assert [(made / name).stat().st_mode & 0o777 for name in ("model.safetensors", "sub/part")] == (
        [mode, mode]
    )
    assert sorted(path.name for path in made.iterdir()) == ["model.safetensors", "sub"]


def test_new_content_replaces_the_old_wholly(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    for name in ("a", "b"):
        with replacing(folder) as temporary:
            (temporary / name).write_text(name)
    assert names(folder) == {"b"}
    assert names(tmp_path) == {"best"}


def fail_half_way(folder: Path, error: type[BaseException]) -> None:
    with replacing(folder) as temporary:
        (temporary / "a").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_block_leaves_the_old_folder(tmp_path: Path, error: type[BaseException]) -> None:
    folder = tmp_path / "best"
    with replacing(folder) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(error):
        fail_half_way(folder, error)
    assert (folder / "a").read_text() == "old"
    assert names(tmp_path) == {"best"}


def test_a_failed_first_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fail_half_way(tmp_path / "best", KeyError)
    assert names(tmp_path) == set()


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.machine.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    (temporary / "a").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_folder_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    with replacing(folder) as temporary:
        (temporary / "a").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == -signal.SIGKILL
    assert (folder / "a").read_text() == "old"
    with replacing(folder) as temporary:
        assert names(temporary) == set()  # nothing of the killed one's
        (temporary / "b").write_text("new")
    assert names(folder) == {"b"}
    assert names(tmp_path) == {"best"}


# --- writable_folder ------------------------------------------------------------------------------


def test_a_writable_folder_is_made_and_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = writable_folder(Path("a/b"), "runs")
    assert made == tmp_path / "a" / "b"
    assert names(made) == set()
    assert writable_folder(Path("a/b"), "runs") == made


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert writable_folder(Path("~/runs"), "runs") == tmp_path / "runs"


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_file_in_the_way_is_named_in_one_line(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        writable_folder(Path(path), "runs")
    message = str(caught.value)
    assert message.startswith(f"runs: cannot write to '{path}' (")
    assert message.endswith("set runs to a folder that you may write to")
    assert "\n" not in message


def test_a_file_is_replaced_whole_and_a_folder_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer one")
    write(path, b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "folder", b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
