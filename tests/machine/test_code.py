"""What a digest of code sees: every module that a root is made of, and nothing but its meaning."""

import os
import py_compile
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.machine import code
from harness.machine.code import modules
from tests.conftest import ROOT

CRASH = '''"""A plug-in."""

from dataclasses import dataclass

from plug.near import near
from . import beside
from .deep.down import bottom


@dataclass(frozen=True)
class Crash:
    """Crashes."""

    step: int = 3
    """Where."""

    def loss(self, x):
        # how far
        from plug import lazy
        return near(x) + beside.one + bottom(self.step) + lazy.two
'''
FILES = {
    "plug/__init__.py": "",
    "plug/crash.py": CRASH,
    "plug/near.py": "import torch\nfrom plug.farther import far\n\nnear = lambda x: far(x)\n",
    "plug/farther.py": "def far(x):\n    return x + 1\n",
    "plug/beside.py": "one = 1\n",
    "plug/deep/__init__.py": "depth = 2\n",
    "plug/deep/down.py": "from .. import lowest\n\ndef bottom(x):\n    return lowest.low(x)\n",
    "plug/lowest.py": "def low(x):\n    return -x\n",
    "plug/lazy.py": "two = 2\n",
    "plug/unused.py": "three = 3\n",
}
ALL = {name[:-3].replace("/", ".").removesuffix(".__init__") for name in FILES}


def lay(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of this repository that modules are found in."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    lay(tmp_path, FILES)
    return tmp_path


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def test_a_module_counts_with_what_it_imports_of_its_own_package(elsewhere: Path) -> None:
    assert set(modules(["plug.crash"])) == ALL - {"plug.unused"}
    assert not [name for name in sys.modules if name.partition(".")[0] == "plug"]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("plug/crash.py", id="the plug-in"),
        pytest.param("plug/near.py", id="absolute import"),
        pytest.param("plug/farther.py", id="import of an import"),
        pytest.param("plug/beside.py", id="relative import of a module"),
        pytest.param("plug/deep/down.py", id="relative import below"),
        pytest.param("plug/lowest.py", id="relative import from above"),
        pytest.param("plug/lazy.py", id="import inside a function"),
        pytest.param("plug/deep/__init__.py", id="package on the way"),
        pytest.param("plug/__init__.py", id="package above"),
    ],
)
def test_an_edit_is_seen_and_named(elsewhere: Path, file: str) -> None:
    before = modules(["plug.crash"])
    path = elsewhere / file
    path.write_text(path.read_text() + "\nmore = 4\n")
    edited = file[:-3].replace("/", ".").removesuffix(".__init__")
    assert changed(before, modules(["plug.crash"])) == {edited}


def test_an_edit_of_the_same_size_and_time_is_seen(elsewhere: Path) -> None:
    before, path = modules(["plug.crash"]), elsewhere / "plug" / "beside.py"
    time = path.stat().st_mtime_ns
    path.write_text("one = 2\n")
    os.utime(path, ns=(time, time))
    assert changed(before, modules(["plug.crash"])) == {"plug.beside"}


EDITS: dict[str, Callable[[str], str]] = {
    "comment": lambda text: text.replace("# how far", "# how near\n        # or far"),
    "docstring of the module": lambda text: text.replace("A plug-in.", "A plug-in that fails."),
    "docstring of the class": lambda text: text.replace("Crashes.", "Fails."),
    "docstring of an attribute": lambda text: text.replace("Where.", "When."),
    "no docstring": lambda text: text.replace('"""Crashes."""', ""),
    "blank lines": lambda text: text.replace("\n\n", "\n\n\n"),
    "other quotes": lambda text: text.replace('"""', "'''"),
    "line breaks": lambda text: text.replace("near(x) + ", "near(\n  x\n ) + "),
    "line ends": lambda text: text.replace("\n", "\r\n"),
    "brackets": lambda text: text.replace("near(x) +", "(near(x)) +"),
    "how a number is written": lambda text: text.replace("= 3", "= 0x3"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_spelling_is_no_change(elsewhere: Path, edit: Callable[[str], str]) -> None:
    before, path = modules(["plug.crash"]), elsewhere / "plug" / "crash.py"
    edited = edit(CRASH)
    assert edited != CRASH
    path.write_bytes(edited.encode())
    assert modules(["plug.crash"]) == before


MEANT: dict[str, tuple[str, str]] = {
    "number": ("= 3", "= 4"),
    "type of a number": ("= 3", "= 3.0"),
    "truth for a number": ("= 3", "= True"),
    "operator": ("near(x) +", "near(x) -"),
    "name": ("beside.one", "beside.two"),
    "decorator": ("frozen=True", "frozen=False"),
    "order of statements": (
        "from plug.near import near\nfrom . import beside",
        "from . import beside\nfrom plug.near import near",
    ),
    "text": ("lazy.two", "len('a')"),
}


@pytest.mark.parametrize(("old", "new"), MEANT.values(), ids=MEANT)
def test_meaning_is_a_change(elsewhere: Path, old: str, new: str) -> None:
    before, path = modules(["plug.crash"]), elsewhere / "plug" / "crash.py"
    assert old in CRASH
    path.write_text(CRASH.replace(old, new))
    assert "plug.crash" in changed(before, modules(["plug.crash"]))


def test_texts_are_told_from_other_texts(elsewhere: Path) -> None:
    digests = set()
    for line in ("a = 'x'", "a = 'y'", "a = b'x'", "a = x", "a = None", "a = ...", "a: str = 'x'"):
        lay(elsewhere, {"lone.py": line})
        digests.add(modules(["lone"])["lone"])
    assert len(digests) == 7


def test_touching_and_moving_is_no_change(
    elsewhere: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = modules(["plug.crash"])
    for path in elsewhere.rglob("*.py"):
        path.touch()
    assert modules(["plug.crash"]) == before
    other = tmp_path_factory.mktemp("other")
    lay(other, FILES)
    monkeypatch.setattr(sys, "path", [str(other), *sys.path])
    assert modules(["plug.crash"]) == before


def test_files_that_are_no_code_of_it_are_no_change(elsewhere: Path) -> None:
    before = modules(["plug.crash"])
    lay(elsewhere, {"README.md": "# new", "plug/notes.md": "x", "plug/unused.py": "four = 4"})
    assert modules(["plug.crash"]) == before


def test_a_module_that_is_imported_anew_is_named(elsewhere: Path) -> None:
    before = modules(["plug.crash"])
    lay(elsewhere, {"plug/crash.py": CRASH + "from plug import unused\n"})
    assert changed(before, modules(["plug.crash"])) == {"plug.crash", "plug.unused"}


@pytest.mark.parametrize(
    "line",
    [
        "from importlib import import_module\nhelp = import_module('plug.unused')",
        "import importlib\nhelp = importlib.import_module('.unused', __package__)",
        "help = __import__('plug.unused')",
        "if True:\n    import plug.unused as u",
        "try:\n    from plug.unused import three\nexcept ImportError:\n    three = 0",
        "class A:\n    def f(self):\n        async def g():\n            from . import unused",
    ],
)
def test_other_ways_to_import(elsewhere: Path, line: str) -> None:
    lay(elsewhere, {"plug/other.py": line})
    assert "plug.unused" in modules(["plug.other"])


def test_a_star_counts_the_modules_that_it_may_bring(elsewhere: Path) -> None:
    lay(elsewhere, {"plug/other.py": "from plug.deep import *"})
    assert "plug.deep.down" in modules(["plug.other"])


def test_circles_and_imports_of_nothing_end(elsewhere: Path) -> None:
    lay(elsewhere, {"plug/a.py": "from plug import b, gone\nfrom ..... import x"})
    lay(elsewhere, {"plug/b.py": "import plug.a\nimport plug.nowhere.at_all"})
    assert set(modules(["plug.a"])) == {"plug", "plug.a", "plug.b"}


def test_a_single_file_counts_with_the_files_beside_it(elsewhere: Path) -> None:
    """And not with torch, json or whatever else is installed."""
    lay(elsewhere, {"grader.py": "import json\nimport numpy\nimport pytest\nimport helper\n"})
    lay(elsewhere, {"helper.py": "import torch"})
    before = modules(["grader"])
    assert set(before) == {"grader", "helper"}
    lay(elsewhere, {"helper.py": "import torch\nx = 1"})
    assert changed(before, modules(["grader"])) == {"helper"}


def test_an_installed_module_does_not_count_what_is_installed_beside_it() -> None:
    assert {name.partition(".")[0] for name in modules(["omegaconf.errors"])} == {"omegaconf"}


def test_a_plug_in_counts_with_the_core_that_it_is_made_of(elsewhere: Path) -> None:
    lay(elsewhere, {"mine.py": "from harness.algorithms.grpo import Grpo\nclass Mine(Grpo): ..."})
    assert "harness.algorithms.grpo" in modules(["mine", "harness.trial"])
    assert "harness.algorithms.grpo" not in modules(["harness.trial"])


def test_namespace_packages_in_several_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "one", {"space/inner/a.py": "from space.inner import b"})
    lay(tmp_path / "two", {"space/inner/b.py": "x = 1", "space/inner/deep/c.py": "y = 2"})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two"), *sys.path])
    assert set(modules(["space.inner.a"])) == {"space.inner.a", "space.inner.b"}
    assert set(modules(["space.inner.deep.c"])) == {"space.inner.deep.c"}
    assert "space" not in sys.modules


def test_modules_without_source_are_their_bytes(elsewhere: Path) -> None:
    lay(elsewhere, {"plug/other.py": "from plug import bare, compiled"})
    lay(elsewhere, {"bare.py": "x = 1"})
    py_compile.compile(str(elsewhere / "bare.py"), str(elsewhere / "plug" / "bare.pyc"))
    library = elsewhere / "plug" / "compiled.abi3.so"
    library.write_bytes(b"\x7fELF one")
    before = modules(["plug.other"])
    assert set(before) == {"plug", "plug.other", "plug.bare", "plug.compiled"}
    library.write_bytes(b"\x7fELF two")
    assert changed(before, modules(["plug.other"])) == {"plug.compiled"}


def test_modules_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("packed/__init__.py", "")
        packed.writestr("packed/a.py", "from . import b")
        packed.writestr("packed/b.py", "x = 1")
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    assert set(modules(["packed.a"])) == {"packed", "packed.a", "packed.b"}


def test_python_s_own_modules_have_a_digest() -> None:
    assert len(modules(["math"])["math"]) == len(modules(["operator"])["operator"]) == 64


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:\n",
        b"x = '\xff'",
        b"a = 1\0",
        b"x = " + b"-" * 3000 + b"1",
        b"x = '\\d'",  # a warning of newer Pythons
        b"# -*- coding: latin-1 -*-\nx = '\xe9'",
        b"x = 0x" + b"f" * 5000,  # too long a number to be written in decimals
    ],
)
def test_any_source_has_a_digest(elsewhere: Path, source: bytes) -> None:
    digests = []
    for end in (b"\n", b"\ny = 1\n"):
        (elsewhere / "odd.py").write_bytes(source + end)
        digests.append(modules(["odd"])["odd"])
    assert digests[0] != digests[1]


def test_nothing_is_executed(elsewhere: Path) -> None:
    trap = f"import pathlib\npathlib.Path({str(elsewhere)!r}, 'canary').touch()\n"
    lay(elsewhere, {"trap/__init__.py": trap, "trap/a.py": f"from trap import b\n{trap}"})
    lay(elsewhere, {"trap/b.py": trap})
    assert set(modules(["trap.a"])) == {"trap", "trap.a", "trap.b"}
    assert not (elsewhere / "canary").exists()


@pytest.mark.parametrize("root", ["nowhere", "plug.nowhere", "plug.crash.Crash", "", "__main__x"])
def test_a_root_that_is_not_there_is_refused(elsewhere: Path, root: str) -> None:
    with pytest.raises(ConfigError, match=r"is not to be found.*; put it into a file") as caught:
        modules(["plug.crash", root])
    assert "\n" not in str(caught.value)


def test_what_is_left_out_is_not_followed(elsewhere: Path) -> None:
    found = modules(["plug.crash"], without=["plug.near", "plug.deep"])
    assert set(found) == {"plug", "plug.crash", "plug.beside", "plug.lazy"}


# The digest of that source on 3.11, 3.12 and 3.13.
PINNED = "d8c704669d88998086a00ae8b4cd310823183a38fbe670768adc1d49bb5488d9"


def test_the_form_is_pinned() -> None:
    """The digest must not move with the version of Python."""
    source = b"def f(x: int = 3, *a) -> str:\n    return f'{x!r:>{a}} {a=}' 'b'\n"
    assert code._read(source).digest == PINNED


def test_the_core_counts_itself_and_no_plug_in() -> None:
    core = set(modules(["harness.trial"]))
    assert {"harness.loop", "harness.learner.update", "harness.maths.streams"} <= core
    assert {name.partition(".")[0] for name in core} == {"harness"}
    plug_ins = ("algorithms", "rewards", "windows", "commands", "cli", "launch")
    assert not [name for name in core if name.split(".")[1:2] and name.split(".")[1] in plug_ins]
    files = {path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py")}
    assert {name.replace(".", "/") for name in core} <= files | {
        file.removesuffix("/__init__") for file in files
    }
