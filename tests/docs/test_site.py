"""The site builds with warnings as errors, asks nothing of other hosts, and says all there is."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.generator import choices, code
from harness.schema import METRICS
from tests.conftest import ROOT

# Attributes of what a browser fetches by itself.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; mkdocs fails where a link, an anchor or a snippet leads nowhere."""
    folder = tmp_path_factory.mktemp("site")
    call = ("mkdocs", "build", "--strict", "-q", "-f", "docs/mkdocs.yml", "-d", str(folder))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *call], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


class Fetched(HTMLParser):
    """Addresses that a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = FETCHED.get(tag, "")
        self.addresses += [value or "" for key, value in attrs if key == name]


@pytest.mark.commands
def test_the_site_builds_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text("utf-8")
        assert not re.search(r"-{2}\s*8\s*&lt;", text), f"{page} shows an include, not the file"
        parser = Fetched()
        parser.feed(text)
        away = [address for address in parser.addresses if re.match(r"(\w+:)?//", address)]
        assert away == [], page
        assert not re.search(r"8(<[^>]*>| )*&lt;", page.read_text("utf-8")), "a file is not shown"
        assert "<em>-PO" not in page.read_text("utf-8"), "a star is taken for emphasis"
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", styles) == []


@pytest.mark.commands
def test_the_reference_is_whole(site: Path) -> None:
    """Every metric; every algorithm with its formula, source and tests; every key's meaning."""
    reference = site / "reference"
    metrics = (reference / "metrics.html").read_text("utf-8")
    assert [key for key in METRICS if f"<code>{key}</code>" not in metrics] == []
    names = sorted(path.stem for path in (ROOT / "conf" / "algorithm").glob("*.yaml"))
    for name in names:
        text = (reference / "algorithms" / f"{name}.html").read_text("utf-8")
        assert "tests/algorithms/test_" in text, name
        assert "<pre>" in text, f"{name} has no formula"
        assert "arXiv" in text or "Williams" in text or "seed" in text or "TinyZero" in text, name
    for page in ("keys", "tasks", "rewards"):
        text = (reference / f"{page}.html").read_text("utf-8")
        bare = r"<tr>\s*<td><code>(.+?)</code></td>\s*<td>.*?</td>\s*<td></td>"
        assert re.findall(bare, text) == []


def choices_with_keys() -> list[tuple[str, list[tuple[str, str]]]]:
    """(choice, its keys with their meanings) of every group."""
    found = []
    for group in choices.GROUPS:
        for name in choices.choices(group):
            node = choices.read(group, name)
            cls = choices.target(node) or choices.target(node[name])  # a listener's
            rows = choices.rows("", node if choices.TARGET in node else node[name], cls)
            found.append((f"{group}={name}", [(key, meaning) for key, _, meaning in rows]))
    return found


def test_no_two_keys_of_a_choice_share_a_meaning_and_none_is_a_bare_symbol() -> None:
    """`a, b: bounds` leaves a reader to guess which is which; `N.` says nothing."""
    for choice, keys in choices_with_keys():
        said = [meaning for _, meaning in keys]
        assert [key for key, meaning in keys if said.count(meaning) > 1] == [], choice
        assert [key for key, meaning in keys if len(meaning.split()) < 2] == [], choice


def test_every_member_on_the_page_for_python_says_what_it_is() -> None:
    page = code.python()
    assert re.findall(r"^\| `(.+)` \|  \|$", page, re.MULTILINE) == []
    assert not re.search(r"^ *>>>|^Example:", page, re.MULTILINE), "an example is shown as text"


def test_the_version_is_the_changelogs_newest() -> None:
    text = (ROOT / "docs" / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)
    version = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert text.index("## Unreleased") < text.index(f"## {released[0]}")
    assert version == released[:1]
