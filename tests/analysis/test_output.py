"""Pages and figures: a text that the report did not write is shown, and never becomes a part."""

import dataclasses
import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import synthetic_store as store
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from analysis import frame, labels, page, report, style, text
from analysis.ablation import Prediction, Relation, Variant
from analysis.findings import findings
from analysis.manifest import Manifest
from analysis.panels import panels
from analysis.reading import columns
from analysis.revisions import History
from analysis.study import FINISHED, Study
from analysis.summary import summary
from harness.machine import shown, terminal
from tests.hostile import HOSTILE

TEXTS = pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
PLAIN = "harmless"
LOGGED = ("eval/accuracy", "eval/pass_at_k", "budget/updates", "budget/tokens")
TRIALS = [store.Trial(variant, seed, 0.8) for seed in range(2) for variant in ("reinforce", "grpo")]
SPECIAL = "*_`[]()<>!#&;\\|~-+=.:/@$ 01ax\n\t\r\u202e'\"{}"


def study() -> Study:
    """A small study with one failed trial, made without a store."""
    plan = store.Plan("plan", TRIALS, store.PREDICTIONS[:1])
    manifest = store.manifest(plan)
    rows = [
        ("id", t.name, t.variant, t.seed, *row)
        for number, t in enumerate(TRIALS[:-1])
        for row in store.metric_rows(t, number)
        if row[0] in LOGGED and row[1] in (0, store.STEPS)
    ]
    metrics = pl.DataFrame(rows, schema=columns.METRICS, orient="row")
    runs = pl.DataFrame(
        [
            {
                **dict.fromkeys(columns.RUNS, ""), "run_id": "id", "trial": t.name,
                "variant": t.variant, "seed": t.seed, "status": FINISHED, "attempt": 1,
                "started_ms": 0, "ended_ms": 1, "seal": manifest.seal, "identity": "same",
                "git_commit": store.COMMIT, "git_dirty": False,
            }
            for t in TRIALS
        ],
        schema=columns.RUNS,
    )  # fmt: skip
    trials = runs.with_columns(config_hash=pl.lit("ab" * 32), planned=pl.lit("same"))
    failed = pl.col("trial") == TRIALS[-1].name
    return Study(
        history=History([manifest], []),
        trials=trials.with_columns(
            status=pl.when(failed).then(pl.lit("FAILED")).otherwise(pl.col("status"))
        ),
        metrics=metrics,
        results=frame.results(metrics, manifest.ablation.primary),
        tables={t.name: pl.DataFrame(store.table(t, 0)).head(2) for t in TRIALS[:-1]},
        config={"evaluation": {"pass_k": 16}},
        strangers=[],
        runs=runs,
        seals={manifest.seal: "plan"},
    )


STUDY = study()


def renamed(name: str) -> Study:
    """The study with another label for its baseline, everywhere."""
    name = shown.storable(name)
    m = STUDY.manifest
    variants = [Variant("grpo"), Variant("reinforce")]
    object.__setattr__(variants[1], "label", name)  # the label's own check refuses most names
    change: dict[str, Any] = {"baseline": name, "variants": variants[::-1]}
    change["predictions"] = [dataclasses.replace(p, baseline=name) for p in m.ablation.predictions]
    jobs = [dataclasses.replace(j, variant=name) if j.variant == "reinforce" else j for j in m.jobs]
    own = pl.col("variant").replace({"reinforce": name})
    return dataclasses.replace(
        STUDY,
        history=History(
            [dataclasses.replace(m, ablation=dataclasses.replace(m.ablation, **change), jobs=jobs)],
            [],
        ),
        **{key: getattr(STUDY, key).with_columns(own) for key in ("trials", "metrics", "results")},
    )


def planned(**change: Any) -> Study:
    m = STUDY.manifest
    return dataclasses.replace(STUDY, history=History([dataclasses.replace(m, **change)], []))


def asked(**change: Any) -> Study:
    return planned(ablation=dataclasses.replace(STUDY.manifest.ablation, **change))


def because(x: str) -> Study:
    p = Prediction("eval/accuracy", "grpo", Relation.GREATER, "reinforce", x, 0.02)
    return asked(predictions=[p])


def of_trials(column: str) -> Callable[[str], Study]:
    def change(x: str) -> Study:
        cell = pl.lit(shown.storable(x)).alias(column)
        unfinished = pl.col("status") != FINISHED
        if column == "status":
            cell = pl.when(unfinished).then(cell).otherwise(pl.col("status")).alias(column)
        return dataclasses.replace(STUDY, trials=STUDY.trials.with_columns(cell))

    return change


def of_tables(column: str) -> Callable[[str], Study]:
    def change(x: str) -> Study:
        cell = pl.lit(shown.storable(x)).alias(column)
        tables = {trial: t.with_columns(cell) for trial, t in STUDY.tables.items()}
        return dataclasses.replace(STUDY, tables=tables)

    return change


def changed_since(x: str) -> Study:
    cells = {"accepted": pl.lit(shown.storable(x))}
    cells |= {"planned": pl.lit("other"), "accepted_as": pl.lit("other")}
    return dataclasses.replace(STUDY, trials=STUDY.trials.with_columns(**cells))


def differing(x: str) -> Study:
    jobs = [dataclasses.replace(j, differs={x: [x, x]}) for j in STUDY.manifest.jobs]
    return planned(jobs=jobs)


def tuned(x: str) -> Study:
    words = {"space": {x: x}, "values": {x: x}, "searcher": x, "scheduler": x, "command": x}
    change = {**words, "ceiling": [x, x]}
    return planned(
        tuned=[dataclasses.replace(each, **change) for each in (store.BASE_TUNED, store.GRPO_TUNED)]
    )


# Every place of a report that holds a text of others.
PLACES: dict[str, Callable[[str], Study]] = {
    "question": lambda x: asked(question=x),
    "hypothesis": lambda x: asked(hypothesis=x),
    "because": because,
    "label": renamed,
    "overrides": lambda x: asked(overrides=[x, x]),
    "factors": lambda x: asked(factors=[x, x]),
    "differences": differing,
    "deviations": lambda x: planned(deviations=[x, x]),
    "command": lambda x: planned(command=x),
    "tuned": tuned,
    "created": lambda x: planned(git_commit=x),
    "hashes": lambda x: planned(model_hash=x, task_digest=x, code_hash=x),
    "versions": lambda x: planned(versions={x: x}),
    "trial's status": of_trials("status"),
    "run": of_trials("run_id"),
    "commit": of_trials("git_commit"),
    "config hash": of_trials("config_hash"),
    "what had changed": lambda x: changed_since(x),
    "origin": of_trials("origin"),
    "problems": lambda x: dataclasses.replace(
        STUDY, history=dataclasses.replace(STUDY.history, problems=[x, x])
    ),
    "prompt": of_tables("prompt"),
    "response": of_tables("response"),
    "strangers": lambda x: dataclasses.replace(STUDY, strangers=[x, x]),
    "pass_k": lambda x: dataclasses.replace(STUDY, config={"evaluation": {"pass_k": x}}),
}


# Columns of frames, which hold no lone surrogates, and those that the report cuts.
OF_RUNS = ("trial's status", "run", "commit", "config hash", "prompt", "response", "label")
CUT = {"commit": text.SHORT_HASH, "config hash": text.SHORT_HASH}


class Skeleton(HTMLParser):
    """Tags of a page in their order, and the words between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.words += data


def made(changed: Study) -> tuple[str, str]:
    """Markdown and page of a study; its figures are not drawn, so the page names them."""
    found = findings(changed)
    markdown = report.write(changed, found, panels(changed, found))
    return markdown, page.render(markdown, changed.manifest.ablation.name, {})


@cache
def plain_page(place: str, word: str = PLAIN) -> Skeleton:
    """What the page is where the place holds a plain word."""
    return Skeleton(made(PLACES[place](word))[1])


def harmless(output: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in output)


# Every text in six places or so, and every place with nine texts or so: a page takes .1 s.
PAIRS = [
    pytest.param(place, text, id=f"{place}-{name}")
    for i, place in enumerate(PLACES)
    for j, (name, text) in enumerate(HOSTILE.items())
    if (i + j) % 4 == 0
]


@pytest.mark.parametrize(("place", "hostile"), PAIRS)
def test_page_has_the_same_parts_whatever_a_text_holds(place: str, hostile: str) -> None:
    markdown, html = made(PLACES[place](hostile))
    found = Skeleton(html)

    # A label that figures shorten is listed once more, in full.
    is_long = place == "label" and labels.short(shown.storable(hostile)) != shown.line(hostile)
    word = PLAIN + "s" * labels.WORD if is_long else PLAIN
    like = plain_page(place, word)
    assert found.tags == like.tags
    assert found.targets == like.targets
    assert all(target.startswith("#") for target in found.targets)
    assert harmless(markdown)
    assert harmless(html)
    words = like.words.count(word)
    assert words > 0
    stored = shown.storable(hostile) if place in OF_RUNS else hostile
    if place in ("prompt", "response"):
        for row in shown.block(stored).split("\n"):
            assert row[:1000] in found.words
    else:
        want = shown.line(stored[: CUT.get(place)])
        assert found.words.count(want) >= words


@TEXTS
@pytest.mark.parametrize("place", ["label", "deviations", "strangers", "factors"])
def test_summary_shows_texts(
    place: str, hostile: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20000")
    made = PLACES[place](hostile)
    terminal.console().print(summary(made, findings(made)))
    out = capsys.readouterr().out
    assert harmless(out)
    if place == "label":
        assert shown.line(shown.storable(hostile)) in out


# --- Markdown -------------------------------------------------------------------------------------

TEXT = st.one_of(st.text(), st.text(alphabet=SPECIAL, max_size=30))
WORDS = ("text", "text_special")
# Those who read report.md elsewhere let HTML through and strike text out.
PARSERS = [
    MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])
    for html in (False, True)
]


def content(inline: Token) -> str:
    """The words of a paragraph; fails on any token that is more than words."""
    children = inline.children or []
    assert {token.type for token in children} <= {*WORDS, "code_inline"}
    return "".join(token.content for token in children)


def inlines(tokens: list[Token]) -> list[Token]:
    return [token for token in tokens if token.type == "inline"]


@given(TEXT)
@example("a\\")
@example("**a** __b__ `c` [d](e) ![f](g) <h> &lt; ~~i~~")
def test_prose_is_one_paragraph_of_words(words: str) -> None:
    expected = shown.line(words)
    for parser in PARSERS:
        tokens = parser.parse(text.prose(words))
        parts = ["paragraph_open", "inline", "paragraph_close"] if expected else []
        assert [token.type for token in tokens] == parts
        assert "".join(map(content, inlines(tokens))) == expected


@given(TEXT)
def test_prose_is_words_in_a_heading_and_behind_bold(words: str) -> None:
    for parser in PARSERS:
        (heading,) = inlines(parser.parse(f"# {text.prose(words)}"))
        assert content(heading) == shown.line(words)
        (inline,) = inlines(parser.parse(f"**Question.** {text.prose(words)}"))
        parts = [token for token in inline.children or [] if token.type not in WORDS]
        assert [token.type for token in parts] == ["strong_open", "strong_close"]
        found = "".join(token.content for token in inline.children or [])
        assert found.strip() == f"Question. {shown.line(words)}".strip()


@given(TEXT)
@pytest.mark.parametrize("written", [text.prose, text.code])
def test_cells_hold_their_text(written: Callable[[object], str], words: str) -> None:
    for parser in PARSERS:
        tokens = parser.parse(text.table(["a", "b"], [[written(words), "x"]]))
        cells = [content(token) for token in inlines(tokens)]
        nothing = text.NONE if written is text.code else ""
        assert cells == ["a", "b", shown.line(words) or nothing, "x"]


@given(TEXT)
def test_a_block_holds_its_text(words: str) -> None:
    (token,) = PARSERS[0].parse(text.fenced(words))
    assert (token.type, token.content) == ("fence", f"{shown.block(words)}\n")


def test_prose_escapes_only_what_is_needed() -> None:
    kept = "Does group_size=8 (not 16) help, at p < .05 & 3 + 4 = 7? C:\\runs, a-b; 50% #1!"
    assert text.prose(kept) == kept


# --- files and figures ----------------------------------------------------------------------------


def test_only_drawn_figures_are_inlined(tmp_path: Path) -> None:
    secret = tmp_path / "secret.svg"
    secret.write_text("secret")
    figure = '<svg xmlns="http://www.w3.org/2000/svg"><title>t</title><style>x</style></svg>'
    markdown = f"![x](drawn.svg)\n\n![y](secret.svg) ![]({secret}) [z](https://example.com)"
    html = page.render(markdown, "t", {"drawn.svg": figure})
    found = Skeleton(html)

    assert html.count("<svg") == 1
    assert '<div class="figures">' in html
    assert found.targets == []
    assert "a" not in found.tags
    for words in ("![y](secret.svg)", f"![]({secret})", "[z](https://example.com)"):
        assert words in found.words


@given(TEXT)
def test_an_image_says_its_text_and_nothing_else(words: str) -> None:
    for parser in PARSERS:
        (inline,) = inlines(parser.parse(text.image("a.svg", words)))
        (image,) = inline.children or []
        assert (image.type, image.attrs["src"]) == ("image", "a.svg")
        told = image.children or []
        assert {token.type for token in told} <= set(WORDS)
        assert "".join(token.content for token in told) == shown.line(words)


def test_parts_are_folded_where_they_are_long_and_can_be_reached() -> None:
    row = ["| a | b |", "| --- | --- |"]
    long = "\n".join([*row, *(["| 1 | 2 |"] * 20)])
    short = "\n".join([*row, "| 1 | **x** |"])
    fences = "```text\none\n```\n\n```text\ntwo\n```"
    markdown = (
        f"# T\n\nfirst\n\n## Short\n\n{short}\n\n### Deep\n\n{long}\n\n## Long\n\n{long}\n\n"
        f"## Predictions\n\n{long}\n\n## Beside\n\n{fences}"
    )
    html = page.render(markdown, "t", {})

    assert re.findall(r"<summary>(.*?)</summary>", html) == ["<h3>Deep</h3>", "<h2>Long</h2>"]
    links = re.findall(r'<a href="#([^"]+)">', html)
    assert links == ["short", "long", "predictions", "beside"]
    assert all(html.count(f'id="{link}"') == 1 for link in links)
    assert html.index("first") < html.index("<nav") < html.index("<h2>Short")
    assert html.split('<div class="beside">')[1].count("<pre>") == 2


def test_marks_are_chips_only_where_the_report_wrote_them() -> None:
    words = text.prose("**FAIL** and **supported**")
    html = page.render(f"1 **WARN** **other**. {words}", "t", {})

    assert '<strong class="fair">WARN</strong>' in html
    assert "<strong>other</strong>" in html
    assert html.count("<strong") == 2


def test_a_cell_knows_its_column() -> None:
    wide = page.render("| a | *b* | c | d | e |\n|-|-|-|-|-|\n| 1 | 2 | 3 | 4 | 5 |", "t", {})
    narrow = page.render("| a | b |\n|-|-|\n| 1 | 2 |", "t", {})

    assert re.findall(r'data-label="(\w)"', wide) == ["a", "b", "c", "d", "e"]
    assert '<div class="table wide">' in wide
    assert '<div class="table narrow">' in narrow
    long = page.render(f"| a | b | c |\n|-|-|-|\n| 1 | 2 | {'facts ' * 9} |", "t", {})
    assert '<div class="table wide">' in long, "a column of text leaves no room beside it"


def test_style_is_legible_in_the_light_and_in_the_dark() -> None:
    """WCAG AA: 4.5 to 1 between every colour of words and what lies behind it."""
    palettes = re.findall(r":root \{([^}]*)\}", style.PAGE)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", palette))
        for ink in ("ink", "good", "fair", "bad"):
            for ground in ("paper", "quiet"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(a: str, b: str) -> float:
    darker, lighter = sorted(map(luminance, (a, b)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_manifest_is_what_the_places_change() -> None:
    """A field of texts that a later manifest gains must gain a place here."""
    known = {
        *("ablation", "jobs", "created", "code_hash", "git_commit", "git_dirty"),
        *("model_hash", "task_digest", "command", "deviations", "versions"),
        *("known", "previous", "seal", "tuned"),
        *("grid", "revision", "looks"),  # no texts but labels of the ablation
    }
    assert {field.name for field in dataclasses.fields(Manifest)} == known


def test_a_card_names_only_columns_that_have_a_name() -> None:
    html = page.render("| | b | c | d |\n|-|-|-|-|\n| 1 | 2 | 3 | 4 |", "t", {})
    assert re.findall(r"<td[^>]*>", html) == [
        '<td class="number">', *(f'<td class="number" data-label="{x}">' for x in "bcd")
    ]  # fmt: skip


def test_a_long_label_over_a_column_may_be_broken() -> None:
    html = page.render(f"| metric | {'x' * 21} |\n|-|-|\n| a | 1 |", "t", {})
    assert re.findall(r"<th(?: [^>]*)?>", html) == ["<th>", '<th class="long">']
