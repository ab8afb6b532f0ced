"""Markdown -> one HTML page that needs nothing beside itself, and no script."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from analysis import style, svg
from harness.machine import shown

# Words that stand alone in a table cell, or in bold, and carry a colour.
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
    "To write:": "fair",
}
# The page holds all that it shows: nothing runs in it, and nothing is fetched.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
LONG_CELL = 45  # characters from which a cell wraps anywhere, but not to one word per line
LONG_WORD = 20  # characters of a column's name, of which some is a label, that may be broken
NUMBER_STARTS = set("+-<>0123456789")
WIDE = 4  # columns from which a table becomes cards where there is no room for it
WIDE_TEXT = 3  # the same, where a cell is long
LONG = 12  # rows of tables from which a part of the page is folded; every fenced block counts as 6
FENCE_ROWS = 6
# Parts that are never folded: they are what a reader came for.
OPEN = ("Predictions", "Write-up")


@dataclass(frozen=True)
class Part:
    """A heading with what stands under it, up to the next heading.

    Attributes:
        level: of the heading, 1 to 3; 0 without one.
        title: its words.
        tokens: with the heading's own.
    """

    level: int
    title: str
    tokens: list[Token]


def render(markdown: str, title: str, drawn: Mapping[str, str]) -> str:
    """A self-contained page.

    Args:
        markdown: CommonMark with tables. HTML and links in it are shown as text.
        title: of the browser's tab.
        drawn: file name of each figure -> its SVG, which is put in its place. Any other image is
            shown as text: its file may be one that the reader never meant to pass on.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "autolink", "reference"])
    tokens = parser.parse(markdown)
    _mark_tables(tokens)
    for token in tokens:
        _mark_words(token.children or [])
        _inline_images(token.children or [], drawn)
    _gather_figures(tokens)
    parts = list(_parts(tokens))
    body = _body(parts, parser)
    body = body.replace("</table>", "</table></div>")
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(shown.line(title))}</title>\n<style>{style.css()}</style></head>\n"
        f"<body>\n{body}</body></html>\n"
    )


# --- marks ----------------------------------------------------------------------------------------


def _mark_tables(tokens: list[Token]) -> None:
    """What a cell holds, its column's name for where there is no room for a header row."""
    header: list[str] = []
    column = 0
    for token, following in pairwise(tokens):
        if token.type == "table_open":
            header = []
        elif token.type == "th_open":
            words = _words(following.children or [])
            header.append(words)
            if max(map(len, words.split()), default=0) > LONG_WORD:
                token.attrSet("class", "long")
        elif token.type == "tr_open":
            column = 0
        elif token.type == "td_open":
            _mark_cell(token, following.content)
            if header[column]:
                token.attrSet("data-label", header[column])
            column += 1
    for start, rows in _tables(tokens):
        width = sum(token.type == "th_open" for token in rows)
        limit = WIDE_TEXT if any(token.attrGet("class") == "long" for token in rows) else WIDE
        start.attrSet("class", "wide" if width >= limit else "narrow")


def _tables(tokens: list[Token]) -> Iterator[tuple[Token, list[Token]]]:
    start = 0
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            start = i
        elif token.type == "table_close":
            yield tokens[start], tokens[start : i + 1]


def _words(children: Iterable[Token]) -> str:
    return "".join(c.content for c in children if c.type in ("text", "text_special", "code_inline"))


def _mark_cell(cell: Token, content: str) -> None:
    """Class of a table cell by what it holds."""
    if content in MARKS:
        cell.attrSet("class", MARKS[content])
    elif len(content) >= LONG_CELL:
        cell.attrSet("class", "long")
    elif content[:1] in NUMBER_STARTS:
        cell.attrSet("class", "number")


def _mark_words(children: list[Token]) -> None:
    """Class of a mark in bold. Only the report writes in bold: texts of others are escaped."""
    for token, following in pairwise(children):
        if token.type == "strong_open" and following.content in MARKS:
            token.attrSet("class", MARKS[following.content])


# --- figures --------------------------------------------------------------------------------------


def _inline_images(tokens: list[Token], drawn: Mapping[str, str]) -> None:
    for token in tokens:
        if token.type != "image":
            continue
        name = str(token.attrs["src"])
        if name in drawn:
            token.type, token.content = "html_inline", svg.inside(drawn[name])
        else:
            words = _words(token.children or [])
            token.type, token.content = "text", f"![{words}]({name})"


def _gather_figures(tokens: list[Token]) -> None:
    """A paragraph of figures only is a row of them that wraps."""
    for i, token in enumerate(tokens):
        inside = token.children or []
        if token.type == "inline" and inside:
            kinds = {child.type for child in inside}
            if kinds <= {"html_inline", "softbreak"} and tokens[i - 1].type == "paragraph_open":
                tokens[i - 1].tag = tokens[i + 1].tag = "div"
                tokens[i - 1].attrSet("class", "figures")


# --- parts ----------------------------------------------------------------------------------------


def _parts(tokens: list[Token]) -> Iterator[Part]:
    """The page cut at its headings."""
    starts = [i for i, t in enumerate(tokens) if t.type == "heading_open" and t.tag != "h4"]
    for start, end in pairwise([*([] if 0 in starts else [0]), *starts, len(tokens)]):
        own = tokens[start:end]
        if own and own[0].type == "heading_open":
            yield Part(int(own[0].tag[1]), _words(own[1].children or []), own)
        elif own:
            yield Part(0, "", own)


def _body(parts: list[Part], parser: MarkdownIt) -> str:
    """The first screen, then what it contains, then a section for each part of level 2."""
    head = [part for part in parts if part.level < 2][:1]
    rest = parts[len(head) :]
    names = _names(part.title for part in rest if part.level == 2)
    blocks, number = [_rendered(part.tokens, parser) for part in head], -1
    if names:
        titles = [part.title for part in rest if part.level == 2]
        links = zip(names, titles, strict=True)
        rows = "".join(f'<li><a href="#{n}">{escape(title)}</a></li>\n' for n, title in links)
        blocks.append(f'<nav aria-label="Contents"><ul>\n{rows}</ul></nav>\n')
    for part in rest:
        name = ""
        if part.level == 2:
            number += 1
            name = names[number]
        blocks.append(_section(part, name, parser))
    return "".join(blocks)


def _names(titles: Iterable[str]) -> list[str]:
    """Names for links, `at-equal-tokens`; a repeated one gets its number."""
    plain = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part" for title in titles]
    return [
        name if plain.count(name) == 1 else f"{name}-{number}"
        for number, name in enumerate(plain, 1)
    ]


def _section(part: Part, name: str, parser: MarkdownIt) -> str:
    """The part, folded where it is long; its name is inside, so that a link to it unfolds it."""
    anchor = f'<span id="{name}"></span>' if name else ""
    if not _is_long(part):
        return f"<section>{anchor}\n{_rendered(part.tokens, parser)}</section>\n"
    heading = _rendered(part.tokens[:3], parser).strip()
    rest = _rendered(part.tokens[3:], parser)
    return f"<details><summary>{heading}</summary>{anchor}\n{rest}</details>\n"


def _is_long(part: Part) -> bool:
    rows = sum(token.type == "tr_open" for token in part.tokens)
    fences = sum(token.type == "fence" for token in part.tokens)
    return part.title not in OPEN and rows + FENCE_ROWS * fences > LONG


def _rendered(tokens: list[Token], parser: MarkdownIt) -> str:
    """HTML; fenced blocks that follow each other stand side by side, tables can be scrolled."""
    found = []
    for fenced, run in groupby(tokens, key=lambda token: token.type == "fence"):
        html = str(parser.renderer.render(list(run), parser.options, {}))
        found.append(f'<div class="beside">\n{html}</div>\n' if fenced else html)
    words = "".join(found)
    return re.sub(r'<table class="(wide|narrow)">', r'<div class="table \1"><table>', words)
