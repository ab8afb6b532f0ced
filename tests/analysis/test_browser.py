"""The page in a browser: nothing overlaps, nothing is cut, nothing is fetched, all can be read."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_output import STUDY, renamed

from analysis import page, report
from analysis.findings import findings
from analysis.panels import panels
from analysis.study import Study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH"),
]
# Words that leave their figure, words below 11 pixels, and what is wider than the window.
CUT = """[...document.querySelectorAll('svg')].flatMap(s => { const r = s.getBoundingClientRect();
  return [...s.querySelectorAll('text')].filter(t => { const q = t.getBoundingClientRect();
    return q.width && (q.left < r.left - 1 || q.right > r.right + 1 || q.top < r.top - 1
      || q.bottom > r.bottom + 1); }).map(t => t.textContent); })"""
SMALL = """[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length
  && [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())
  && parseFloat(getComputedStyle(e).fontSize) < 11).map(e => e.tagName)"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HIDDEN = """[...document.querySelectorAll('table, .beside')].filter(
  e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"""
SPILT = (
    "[...document.querySelectorAll('.wide td')].filter(e => e.scrollWidth > e.clientWidth).length"
)
INK = "getComputedStyle(document.querySelector('svg text')).fill"
UNFOLD = "document.querySelectorAll('details').forEach(d => d.open = true)"


class Browser:
    """Chromium's own protocol over two pipes; what it reports is kept in `events`."""

    def __init__(self, profile: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._number, self._session = 0, ""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = (
            f"exec {CHROMIUM} --headless --no-sandbox --disable-gpu --remote-debugging-pipe "
            f"--user-data-dir={profile} about:blank 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null"
        )
        self._process = subprocess.Popen(["bash", "-c", command], pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "chromium has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, path: Path, width: int, scheme: str = "light", media: str = "screen") -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=800,
             deviceScaleFactor=1, mobile=False)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self("Emulation.setEmulatedMedia", media=media, features=features)
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._read())

    def value(self, expression: str) -> Any:
        found = self("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def said(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") in methods]

    def close(self) -> None:
        self("Browser.close")
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


def written(folder: Path, study: Study) -> Path:
    found = findings(study)
    shown = panels(study, found)
    drawn = {panel.file: panel.svg for panel in shown}
    path = folder / "report.html"
    path.write_text(page.render(report.write(study, found, shown), "t", drawn), encoding="utf-8")
    return path


@pytest.mark.parametrize("label", ["reinforce", "a.long+label=that" * 6, "漢字_ラベル"])
def test_page_fits_every_window_and_fetches_nothing(
    browser: Browser, tmp_path: Path, label: str
) -> None:
    path = written(tmp_path, renamed(label))
    inks = {}
    # A telephone, a tablet, the least width of a whole page (66 rem and one pixel), a desk.
    for width in (390, 768, 1057, 1280):
        for scheme in ("light", "dark"):
            browser.open(path, width, scheme)
            browser.value(UNFOLD)
            assert browser.value(WIDER) <= 0, (width, scheme)
            assert browser.value(HIDDEN) == 0, f"{width}: a table ends where nobody scrolls to"
            assert browser.value(CUT) == []
            assert browser.value(SMALL) == []
            inks[scheme] = browser.value(INK)
            requests = browser.said("Network.requestWillBeSent")
            assert [r["params"]["request"]["url"] for r in requests] == [path.as_uri()]
            assert browser.said("Log.entryAdded", "Runtime.consoleAPICalled") == []
    assert inks["light"] != inks["dark"], "words of figures follow the reader"


def test_paper_shows_what_is_folded_and_cuts_nothing(browser: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, STUDY)
    # A4 less its margins, at 96 pixels per inch.
    browser.open(path, 695, "dark", media="print")

    assert browser.value(HIDDEN) == 0
    folded = "[...document.querySelectorAll('details pre')].map(e => e.getClientRects().length)"
    assert browser.value(folded)
    assert all(browser.value(folded)), "closed on the screen, there on paper"
    assert browser.value(INK) == "rgb(92, 92, 92)", "paper is white whatever the screen is"


def test_a_card_on_a_telephone_holds_its_numbers(browser: Browser, tmp_path: Path) -> None:
    head = "| accuracy gained, by part [95 %] | b | c | d | e |\n|-|-|-|-|-|\n"
    path = tmp_path / "report.html"
    path.write_text(page.render(f"{head}| +0.283 [+0.267, +0.298] | 2 | 3 | 4 | 5 |", "t", {}))
    browser.open(path, 390)
    assert browser.value("document.querySelectorAll('.wide td').length") == 5
    assert browser.value(SPILT) == 0


def test_a_link_of_the_contents_unfolds_its_section(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, STUDY), 1280)
    folded = "document.querySelector('details:has(#sample-responses)').open"

    assert browser.value(folded) is False
    browser.value("location.hash = '#sample-responses'")
    assert browser.value(folded) is True
