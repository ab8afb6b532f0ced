"""Markdown -> one HTML page that needs nothing beside itself."""

import base64
from collections.abc import Collection, Iterable
from html import escape
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.machine import shown

# Words that stand alone in a table cell and carry a colour.
MARKS = {
    "OK": "good",
    "WARN": "fair",
    "FAIL": "bad",
    "supported": "good",
    "undecided": "fair",
    "refuted": "bad",
    "withheld": "fair",
    "FAILED": "bad",
    "MISSING": "bad",
    "KILLED": "bad",
    "INTERRUPTED": "bad",
    "RUNNING": "fair",
    "NO RESULT": "bad",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --quiet: #f5f5f5; --line: #e3e3e3;
  --rule: #bbb; --good: #0a6b3d; --fair: #8a5a00; --bad: #b00020; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --paper: #16181b; --quiet: #22252a;
  --line: #363a40; --rule: #666c75; --good: #63cf98; --fair: #e5b454; --bad: #ff8a94; } }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.8rem; padding-bottom: 0.25rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.5rem; }
.table { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.65rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th { border-bottom: 2px solid var(--rule); white-space: nowrap; }
td.number { white-space: nowrap; }
td.long { min-width: 11rem; overflow-wrap: break-word; }
code { font: 0.88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: var(--quiet); padding: 0.05em 0.3em; border-radius: 3px; }
td code { white-space: nowrap; }
td.long code { white-space: normal; }
pre { background: var(--quiet); border: 1px solid var(--line); border-radius: 4px;
  padding: 0.7rem 0.9rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; }
pre code { background: none; padding: 0; font-size: 0.84rem; }
img { display: block; box-sizing: border-box; max-width: 100%; height: auto; margin: 0.5rem 0;
  background: #fff; border-radius: 4px; }
.good, .fair, .bad { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); } .fair { color: var(--fair); } .bad { color: var(--bad); }
@media (max-width: 40rem) { body { padding: 1rem 0.9rem 3rem; font-size: 15px; } }
@media (prefers-color-scheme: dark) { img { padding: 0.5rem; } }
"""
# The page holds all that it shows: nothing runs in it, and nothing is fetched.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
LONG_CELL = 45  # characters from which a cell is prose that wraps, but not to one word per line
NUMBER_STARTS = set("+-<0123456789")


def render(markdown: str, title: str, folder: Path, drawn: Collection[str] = ()) -> str:
    """A self-contained page.

    Args:
        markdown: CommonMark with tables. HTML and links in it are shown as text.
        title: of the browser's tab.
        folder: where the figures lie; they are inlined.
        drawn: file names of the figures. Any other image is shown as text: its file may be one
            that the reader never meant to pass on.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "autolink", "reference"])
    tokens = parser.parse(markdown)
    for token, following in pairwise(tokens):
        if token.type == "td_open":
            _mark_cell(token, following.content)
        _inline_images(token.children or (), folder, drawn)
    body = str(parser.renderer.render(tokens, parser.options, {}))
    body = body.replace("<table>", '<div class="table"><table>')
    body = body.replace("</table>", "</table></div>")
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(shown.line(title))}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n{body}</body></html>\n"
    )


def _mark_cell(cell: Token, content: str) -> None:
    """Class of a table cell by what it holds."""
    if content in MARKS:
        cell.attrSet("class", MARKS[content])
    elif len(content) >= LONG_CELL and " " in content:
        cell.attrSet("class", "long")
    elif content[:1] in NUMBER_STARTS:
        cell.attrSet("class", "number")


def _inline_images(tokens: Iterable[Token], folder: Path, drawn: Collection[str]) -> None:
    for token in tokens:
        if token.type != "image":
            continue
        name = str(token.attrs["src"])
        if name in drawn:
            data = (folder / name).read_bytes()
            token.attrs["src"] = "data:image/png;base64," + base64.b64encode(data).decode()
        else:
            token.type, token.content = "text", f"![{token.content}]({name})"
