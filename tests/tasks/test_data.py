"""What files hold, cell by cell: each case has its right value, or is refused by file, row, column.

In the cases a value is what the task makes of a cell; a tuple of words is what the one line of its
refusal says beside the place.
"""

import json
import pickle
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.cli import composed
from harness.commands import data
from harness.errors import ConfigError
from harness.tasks import rows
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.gsm8k import Gsm8k
from harness.tasks.jsonl import Jsonl
from harness.tasks.multiplication import Multiplication
from harness.tasks.templates import Chat, Compact, Hashes, Plain, TinyZeroBase, TinyZeroInstruct

GRADER = f"{__name__}.same"
Case = str | tuple[str, ...]

# ChatML. It raises where the roles do not alternate, as Gemma's and Mistral's do, and says nothing
# of a developer.
CHATML = (
    "{% for m in messages %}{% if loop.index0 and messages[loop.index0 - 1].role == m.role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role != 'developer' %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
START = "<|im_start|>assistant\n"


def same(response: str, answer: str) -> bool:
    return response.strip() == answer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer with a chat template."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "hi": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<|im_start|>", "<|im_end|>"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="!", additional_special_tokens=special
    )
    made.chat_template = CHATML
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    made.save_pretrained(folder)
    return folder


def turn(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def written(file: Path, content: bytes | str) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


def prompts(task: Any) -> list[Any]:
    return [*task.pool(), *task.held_out()]


def refusal(task: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        task.held_out()
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def two(file: Path, bad: str) -> dict[str, str]:
    """Paths of a training file whose second row is `bad`, and of a held-out file."""
    train = '{"prompt": "first", "answer": "1"}\n' + bad
    held_out = '{"prompt": "last", "answer": "1"}'
    return {
        "path": written(file / "train.jsonl", train),
        "held_out_path": written(file / "test.jsonl", held_out),
    }


def check(task: Any, case: Case, place: str, read: Any) -> None:
    """The value of the second prompt, or a refusal with the place and the words."""
    if isinstance(case, str):
        assert read(task.pool()[1]) == case
        return
    message = refusal(task)
    for word in (place, *case):
        assert word in message, message


# --- answers in JSON lines ------------------------------------------------------------------------

NO_NUMBER = ("column 'answer'", "must be text or a number")
JSON_ANSWERS: dict[str, Case] = {
    '"4"': "4", '" 4 "': " 4 ", "4": "4", "-4": "-4", "0": "0",
    "4.0": "4", "4.50": "4.5", "-0.0": "0", "0.1": "0.1", "1e3": "1000", "1E-7": "0.0000001",
    # Read as floats these would end on ...68 and on ...01, and 1e400 would be infinity.
    "12345678901234567890.5": "12345678901234567890.5",
    "0.30000000000000004441": "0.30000000000000004441",
    "123456789012345678901234567890": "123456789012345678901234567890",
    "1e400": ("column 'answer'", "out of the range"),
    "1e99999999999999999999": ("is no JSON", "line 2"),
    "9" * 5000: ("is no JSON", "4300 digits"),
    '"NaN"': "NaN", '"true"': "true", '"null"': "null", '"[1, 2]"': "[1, 2]",
    '"\\u00e9"': "é", '"\\ud83d\\ude00"': "😀", '"a\\r\\nb"': "a\r\nb",
    '"\\u2028"x': ("is no JSON",),
    "NaN": ("column 'answer'", "must be a finite number, is nan"),
    "Infinity": ("column 'answer'", "must be a finite number, is inf"),
    "-Infinity": ("column 'answer'", "is -inf"),
    "true": (*NO_NUMBER, "is true"), "false": (*NO_NUMBER, "is false"),
    "null": ("has no 'answer'", "its columns: prompt"),
    "[1, 2]": (*NO_NUMBER, "is list [1, 2]"), "[]": (*NO_NUMBER, "is list []"),
    '["4"]': (*NO_NUMBER, "list ['4']"),
    '{"value": 4}': (*NO_NUMBER, "is dict {'value': 4}"),
    '""': ("column 'answer'", "is empty ('')"), '" \\n"': ("column 'answer'", "is empty (' \\n')"),
    '"\\ud83d"': ("column 'answer'", "half of a surrogate pair, '\\ud83d'"),
    '1, "answer": 2': ("'answer' stands twice in one object",),
    "4,": ("is no JSON",), "four": ("is no JSON",), "'4'": ("is no JSON",), "04": ("is no JSON",),
    "[" * 100_000: ("is no JSON",),
}  # fmt: skip


@pytest.mark.parametrize("cell", JSON_ANSWERS, ids=lambda cell: cell[:30])
def test_an_answer_in_json_lines(tmp_path: Path, cell: str) -> None:
    task = Jsonl(**two(tmp_path, f'{{"prompt": "x", "answer": {cell}}}'), grader=GRADER)
    case = JSON_ANSWERS[cell]
    broken = isinstance(case, tuple) and not case[0].startswith(("column", "has no"))
    path = f"'{tmp_path / 'train.jsonl'}'"
    place = f"task.path: line 2 of {path}" if broken else f"task.path: row 2 of {path}"
    check(task, case, place, lambda prompt: prompt.answer)


# --- answers in parquet ---------------------------------------------------------------------------

PARQUET_ANSWERS: dict[str, tuple[pl.Series, Case]] = {
    "whole numbers in floats": (pl.Series([1.0, 4.0]), "4"),
    "a float": (pl.Series([1.0, 0.1]), "0.1"),
    "a float of four bytes": (pl.Series([1.0, 0.1], dtype=pl.Float32), "0.1"),
    "a whole one of four bytes": (pl.Series([1.0, 4.0], dtype=pl.Float32), "4"),
    "a small float": (pl.Series([1.0, 1e-7]), "0.0000001"),
    "the last exact float": (pl.Series([1.0, 2.0**53 - 1]), "9007199254740991"),
    "a float that is two": (pl.Series([1.0, 2.0**53]), ("floats skip whole numbers", "as text")),
    "NaN": (pl.Series([1.0, float("nan")]), ("must be a finite number, is nan",)),
    "infinity": (pl.Series([1.0, float("-inf")]), ("must be a finite number, is -inf",)),
    "the largest integer": (pl.Series([1, 2**63 - 1]), "9223372036854775807"),
    "the largest of all": (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), "18446744073709551615"),
    "a decimal": (pl.Series([Decimal("1.00"), Decimal("4.00")]), "4"),
    "cents": (pl.Series([Decimal("1.00"), Decimal("4.50")]), "4.5"),
    "text": (pl.Series(["1", "4.0"]), "4.0"),
    "a category": (pl.Series(["1", "yes"], dtype=pl.Categorical), "yes"),
    "empty text": (pl.Series(["1", ""]), ("is empty",)),
    "truth": (pl.Series([True, False]), ("row 1", "text or a number, is true")),
    "a date": (pl.Series([date(2020, 1, 2)] * 2), ("row 1", "is date datetime.date(2020, 1, 2)")),
    "a time": (pl.Series([datetime(2020, 1, 2)] * 2), ("row 1", "is datetime datetime")),
    "an hour": (pl.Series([time(3)] * 2), ("row 1", "is time datetime.time(3, 0)")),
    "a duration": (pl.Series([timedelta(3)] * 2), ("row 1", "is timedelta")),
    "bytes": (pl.Series([b"1", b"4"]), ("row 1", "is bytes b'1'")),
    "lists": (pl.Series([[1], [4]]), ("row 1", "is list [1]")),
    "arrays": (pl.Series([[1], [4]], dtype=pl.Array(pl.Int64, 1)), ("row 1", "is list [1]")),
    "objects": (pl.Series([{"v": 1}, {"v": 4}]), ("row 1", "is dict {'v': 1}")),
    "null": (pl.Series([1.0, None]), ("row 2", "has no 'answer'")),
    "nothing but null": (pl.Series([None, None]), ("row 1", "has no 'answer'")),
}


@pytest.mark.parametrize("what", PARQUET_ANSWERS)
def test_an_answer_in_parquet(tmp_path: Path, what: str) -> None:
    column, case = PARQUET_ANSWERS[what]
    path = str(tmp_path / "train.parquet")
    pl.DataFrame({"prompt": ["a", "b"], "answer": column}).write_parquet(path)
    held_out = written(tmp_path / "test.jsonl", '{"prompt": "last", "answer": "1"}')
    task = Jsonl(path=path, held_out_path=held_out, grader=GRADER)
    check(task, case, f" of '{path}'", lambda prompt: prompt.answer)
    if isinstance(case, tuple):
        assert "'answer'" in refusal(task)


# --- prompts --------------------------------------------------------------------------------------

HI = said("user", "hi")
NO_TEXT = ("must be text or a list of messages",)
PROMPTS: dict[str, tuple[Any, Case]] = {
    "text": ("hi", "hi"),
    "text with spaces": (" hi \n", " hi \n"),
    "text about a list": ("[{1}] is a list", "[{1}] is a list"),
    "one message": ([HI], turn("user", "hi") + START),
    "a system message": (
        [said("system", "Be brief."), HI],
        turn("system", "Be brief.") + turn("user", "hi") + START,
    ),
    "an empty system message": (
        [said("system", ""), HI],
        turn("system", "") + turn("user", "hi") + START,
    ),
    "several turns": (
        [HI, said("assistant", "yes?"), said("user", "2 + 2")],
        turn("user", "hi") + turn("assistant", "yes?") + turn("user", "2 + 2") + START,
    ),
    "null keys": ([{**HI, "name": None, "tool_calls": None}], turn("user", "hi") + START),
    "quotes and braces": (
        [said("user", "{'a': \"{{ b }}\"}!")],
        turn("user", "{'a': \"{{ b }}\"}!") + START,
    ),
    "no messages": ([], ("chat without messages",)),
    "no role": ([{"content": "hi"}], ("message 1 must have role and content", "has content")),
    "other keys": ([{"from": "human", "value": "hi"}], ("message 1", "has from, value")),
    "more keys": ([{**HI, "name": "Ann"}], ("message 1", "has role, content, name")),
    "another role": (
        [said("human", "hi")],
        ("role of message 1", "system, developer, user, assistant", "'human'"),
    ),
    "a role that is none": ([said(3, "hi")], ("role of message 1", "is 3")),  # type: ignore[arg-type]
    "parts": (
        [said("user", [{"type": "text", "text": "hi"}])],
        ("content of message 1 must be text",),
    ),
    "null content": ([said("user", None)], ("message 1", "has role")),
    "a number as content": ([said("user", 4)], ("content of message 1 must be text, is 4",)),
    "blank content": ([said("user", " ")], ("is empty (' ')",)),
    "half a pair": ([said("user", "a\ud800")], ("half of a surrogate pair",)),
    "a response": (
        [HI, said("assistant", "4")],
        ("last message", "is the assistant's", "leave the response out"),
    ),
    "text in a list": (["hi"], ("message 1 must have role and content", "is 'hi'")),
    "a mapping": (HI, (*NO_TEXT, "is dict")),
    "a number": (4, (*NO_TEXT, "is int 4")),
    "truth": (True, (*NO_TEXT, "is true")),
    "a float": (4.0, (*NO_TEXT, "is 4.0")),
    "null": (None, ("has no 'prompt'", "its columns: answer")),
    "empty": ("", ("is empty",)),
    "half a pair in text": ("a\udc00b", ("half of a surrogate pair, '\\udc00'",)),
    "JSON in text": (json.dumps([HI]), ("is a chat written as text", "store it as a list")),
    "Python in text": (str([HI]), ("is a chat written as text",)),
    "not its order": ([HI, HI], ("cannot render", "messages", "roles must alternate")),
    "left out": ([said("developer", "Be brief."), HI], ("leaves out the developer message",)),
    "its own tokens": (
        [said("user", turn("user", "hi"))],
        ("the user message has '<|im_start|>'", "leave it out"),
    ),
}


# No parquet column holds these.
ONLY_JSON = ("a role that is none", "half a pair", "half a pair in text", "no messages")
KINDS = [
    (kind, what)
    for what in PROMPTS
    for kind in (("jsonl",) if what in ONLY_JSON else ("jsonl", "parquet"))
]


@pytest.mark.parametrize(("kind", "what"), KINDS)
def test_a_prompt(tmp_path: Path, tokenizer: str, kind: str, what: str) -> None:
    cell, case = PROMPTS[what]
    paths = two(tmp_path, json.dumps({"prompt": cell, "answer": "4"}))
    if kind == "parquet":
        paths["path"] = str(tmp_path / "train.parquet")
        first = cell if isinstance(cell, list) else "first"
        column = [first, cell] if isinstance(cell, str | list) else [cell, cell]
        made = {"prompt": column, "answer": ["4", "4"]}
        pl.DataFrame(made, strict=False).write_parquet(paths["path"])
    task = Jsonl(**paths, grader=GRADER, template=Plain(tokenizer))
    if isinstance(case, str):
        assert [p.text for p in task.pool()][-1] == case
        return
    message = refusal(task)
    for word in (f" of '{paths['path']}'", "row ", "'prompt'", *case):
        assert word in message
    if kind == "jsonl":
        assert "row 2 of" in message


def test_the_format_is_asked_for_behind_the_last_message(tmp_path: Path, tokenizer: str) -> None:
    chat = [said("system", "Be brief."), HI]
    paths = two(tmp_path, json.dumps({"prompt": chat, "answer": "4"}))
    text, asked = Jsonl(**paths, grader=GRADER, template=Chat(tokenizer)).pool()
    form = (
        "Show your work in <think> </think> tags. And return the final answer in <answer> "
        "</answer> tags, for example <answer> 42 </answer>."
    )
    assert text.text == turn("user", f"first {form}") + START
    assert asked.text == turn("system", "Be brief.") + turn("user", f"hi {form}") + START


@pytest.mark.parametrize("template", [Compact(), Hashes(), TinyZeroBase(), TinyZeroInstruct()])
def test_templates_of_text_refuse_chats(tmp_path: Path, template: Any) -> None:
    paths = two(tmp_path, json.dumps({"prompt": [HI], "answer": "4"}))
    message = refusal(Jsonl(**paths, grader=GRADER, template=template))
    for word in ("row 2 of", "column 'prompt'", f"{type(template).__name__} frames text", "=plain"):
        assert word in message


def test_a_chat_needs_a_tokenizer_with_a_template(tmp_path: Path) -> None:
    paths = two(tmp_path, json.dumps({"prompt": [HI], "answer": "4"}))
    task = Jsonl(**paths, grader=GRADER)
    assert "task.template.tokenizer must name the tokenizer" in refusal(task)
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    bare.save_pretrained(tmp_path / "bare")
    task = Jsonl(**paths, grader=GRADER, template=Plain(str(tmp_path / "bare")))
    assert f"tokenizer '{tmp_path / 'bare'}' has no chat template" in refusal(task)
    task = Jsonl(**paths, grader=GRADER, template=Plain(str(tmp_path / "none")))
    for word in ("task.template.tokenizer", repr(str(tmp_path / "none"))):
        assert word in refusal(task)


def test_a_template_travels_without_its_tokenizer(tokenizer: str) -> None:
    for template in (Plain(tokenizer), Chat(tokenizer)):
        text = template.spoken([HI])
        sent = pickle.loads(pickle.dumps(template))
        assert sent == template
        assert "_loaded" in vars(template)
        assert vars(sent) == {"tokenizer": tokenizer}
        assert sent.spoken([HI]) == text


def test_plain_takes_the_tokenizer_of_the_model(tokenizer: str) -> None:
    chosen = ["model=hf", f"model.path={tokenizer}", "task=jsonl", "task/template=plain"]
    files = ["task.path=q.jsonl", f"task.grader={GRADER}"]
    assert composed([*chosen, *files]).task.template == Plain(tokenizer)
    assert composed(["task/template=plain"]).task.template == Plain(None)


def test_what_harness_data_writes_is_read_as_chats(tmp_path: Path, tokenizer: str) -> None:
    out = str(tmp_path / "m.parquet")
    sizes = ["task.train_size=40", "task.eval_size=4"]
    assert data.main(["multiplication", "--out", out, "task/template=hashes", *sizes]) == 0
    made = Multiplication(train_size=40, eval_size=4, template=Hashes())
    task = Jsonl(path=out, answer=rows.GROUND_TRUTH, grader=GRADER, template=Plain(tokenizer))
    expected = {
        turn("user", p.text) + START: str(p.answer) for p in [*made.pool(), *made.held_out()]
    }
    assert {p.text: p.answer for p in prompts(task)} == expected


# --- whole files ----------------------------------------------------------------------------------


def line(n: int, text: str = "é") -> str:
    return json.dumps({"prompt": f"{text} {n}", "answer": n}, ensure_ascii=False)


LINES = [line(n) for n in range(1, 21)]
RIGHT = {f"é {n}": str(n) for n in range(1, 21)}
BODY = "\n".join(LINES)
FILES: dict[str, tuple[bytes, Case]] = {
    "as it should be": (BODY.encode(), ""),
    "a last line end": (BODY.encode() + b"\n", ""),
    "BOM": (BODY.encode("utf-8-sig"), ""),
    "CRLF": ("\r\n".join(LINES).encode(), ""),
    "BOM and CRLF": ("\r\n".join([*LINES, ""]).encode("utf-8-sig"), ""),
    "blank lines": ("\n \n\r\n".join(LINES).encode(), ""),
    "each twice": ("\n".join([*LINES, *LINES]).encode(), ""),
    "4 and 4.0": ((BODY + '\n{"prompt": "é 4", "answer": 4.0}').encode(), ""),
    "escapes": ("\n".join(json.dumps(json.loads(x)) for x in LINES).encode(), ""),
    "Latin-1": (BODY.encode("latin-1"), ("line 1 of", "byte 13, 0xe9, is not UTF-8", "save the")),
    "UTF-16": (BODY.encode("utf-16"), ("is in UTF-16; save it as UTF-8",)),
    "UTF-16, the other": (BODY.encode("utf-16-be"), ("line 1 of", "is no JSON")),
    "CR": ("\r".join(LINES).encode(), ("line 1 of", "is no JSON: Extra data")),
    "one list": (f"[{','.join(LINES)}]".encode(), ("line 1 of", "must be an object")),
    "pretty": (b'{\n"prompt": "a"\n}', ("line 1 of", "is no JSON")),
    "cut": (BODY.encode()[:-5], ("line 20 of", "is no JSON")),
    "nothing": (b"", ("has no rows",)),
    "BOM alone": (b"\xef\xbb\xbf\n", ("has no rows",)),
    "behind blank lines": ((BODY + '\n\n\n{"prompt": "x"}').encode(), ("row 21 (line 23) of",)),
    "another answer": (
        (BODY + '\n{"prompt": "é 4", "answer": 5}').encode(),
        ("row 21 of", "column 'answer'", "the answer is '5', but row 4 of", "answers '4'"),
    ),
    "its chat": (
        (BODY + '\n{"prompt": [{"role": "user", "content": "é 4"}], "answer": 5}').encode(),
        ("row 21 of", "the answer is '5', but row 4 of"),
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file(tmp_path: Path, tokenizer: str, what: str) -> None:
    content, case = FILES[what]
    path = written(tmp_path / "q.jsonl", content)
    task = Jsonl(path=path, grader=GRADER, template=Plain(tokenizer), hold_out=4)
    if case == "":
        assert {p.text: p.answer for p in prompts(task)} == RIGHT
        assert len(prompts(task)) == len(RIGHT)
        return
    message = refusal(task)
    for word in ("task.path: ", repr(path), *case):
        assert word in message
    # The same file is refused in the same way where it is the held-out one, and by gsm8k.
    first = written(tmp_path / "first.jsonl", '{"prompt": "first", "answer": "1"}')
    other = Jsonl(path=first, held_out_path=path, grader=GRADER, template=Plain(tokenizer))
    assert refusal(other) == message.replace("task.path: ", "task.held_out_path: ")
    if what not in ("behind blank lines", "another answer", "its chat"):
        assert refusal(Gsm8k(source=path)) == message.replace("task.path: ", "task.source: ")


def test_two_files_must_agree(tmp_path: Path) -> None:
    train = written(tmp_path / "a.jsonl", f"{line(1)}\n{line(2)}\n{line(3)}")
    test = tmp_path / "b.jsonl"
    written(test, line(2))  # leaves the pool
    task = Jsonl(path=train, held_out_path=str(test), grader=GRADER)
    assert [p.answer for p in task.pool()] == ["1", "3"]
    written(test, '{"prompt": "é 2", "answer": 7}')
    message = refusal(Jsonl(path=train, held_out_path=str(test), grader=GRADER))
    assert f"task.held_out_path: row 1 of '{test}', column 'answer': the answer is '7'" in message
    assert f"row 2 of '{train}' asks the same and answers '2'" in message


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    whole = tmp_path / "w.parquet"
    pl.DataFrame({"prompt": ["a"] * 99, "answer": ["b"] * 99}).write_parquet(whole)
    for content in (b"", whole.read_bytes()[:-9], b"PAR1" + bytes(90) + whole.read_bytes()[94:]):
        path = written(tmp_path / "q.parquet", content)
        assert f"task.path: '{path}' is no parquet file" in refusal(Jsonl(path=path, grader=GRADER))


def test_columns_of_columns(tmp_path: Path) -> None:
    row = {"q": {"text": "a"}, "a.b": 1, "a": {"b": 2, "c": None}}
    path = written(tmp_path / "q.jsonl", json.dumps(row))
    held_out = written(tmp_path / "t.jsonl", json.dumps({**row, "q": {"text": "z"}}))

    def task(answer: str) -> Jsonl:
        files = {"path": path, "held_out_path": held_out}
        return Jsonl(**files, grader=GRADER, prompt="q.text", answer=answer)

    assert task("a.b").pool()[0].answer == "1"  # a column's own name comes first
    for missing in ("a.c", "a.d", "q.text.deep", "b", ""):
        message = refusal(task(missing))
        assert f"row 1 of '{path}' has no {missing!r}; its columns: q, a.b, a" in message


# --- GSM8K's gold answers -------------------------------------------------------------------------

GOLD: dict[str, Case] = {
    '"so\\n#### 18"': "18", '"#### $18"': "18", '"#### 18."': "18", '"#### 18.0"': "18",
    '"#### 1,234"': "1234", '"#### -3"': "-3", '"#### 0.50"': "0.5", '"####18"': "18",
    '"#### 17\\n#### 18"': "18", '"#### 007"': "7", '"#### $1,234.50"': "1234.5",
    '"18"': ("must end with #### and a number, ends with '18'",),
    '"#### "': ("must end with #### and a number",),
    '"#### seven"': ("must end with #### and a number",),
    '"18 ####"': ("must end with #### and a number",),
    '"#### NaN"': ("must end with #### and a number",),
    "18": ("must be text, is int 18",), "18.0": ("must be text, is 18.0",),
    "NaN": ("must be text, is nan",), "true": ("must be text, is true",),
    '["#### 18"]': ("must be text, is list",), '""': ("is empty",),
    '"\\ud800 #### 18"': ("half of a surrogate pair",), "null": ("has no 'answer'",),
}  # fmt: skip


@pytest.mark.parametrize("cell", GOLD)
@pytest.mark.parametrize("held_out", [False, True])
def test_a_gold_answer(tmp_path: Path, cell: str, held_out: bool) -> None:
    good = written(tmp_path / "good.jsonl", '{"question": "a?", "answer": "#### 1"}')
    path = written(tmp_path / "q.jsonl", f'{{"question": "b?", "answer": {cell}}}')
    files = (good, path) if held_out else (path, good)
    task = Gsm8k(source=files[0], held_out_source=files[1])
    case = GOLD[cell]
    if isinstance(case, tuple):
        key = "task.held_out_source" if held_out else "task.source"
        for word in (f"{key}: row 1 of '{path}'", "'answer'", *case):
            assert word in refusal(task)
        return
    (prompt,) = task.held_out() if held_out else task.pool()
    assert prompt.answer == case
    assert task.grade(prompt, f"#### {case}", finished=True).correct
    assert not task.grade(prompt, f"#### 1{case.removeprefix('-')}", finished=True).correct


def test_gsm8k_does_not_ask_the_hub_for_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", "question,answer")
    assert f"task.source must end in .parquet or .jsonl, received '{path}'" in refusal(
        Gsm8k(source=path)
    )


def test_gsm8k_refuses_a_question_with_two_answers(tmp_path: Path) -> None:
    row = '{"question": "a?%s", "answer": "#### %s"}'
    right = [row % (" ", "18"), row % ("", "18.0"), row % ("", "$18")]
    test = written(tmp_path / "t.jsonl", row % ("b", "1"))
    path = written(tmp_path / "q.jsonl", "\n".join(right))
    assert [p.answer for p in Gsm8k(source=path, held_out_source=test).pool()] == ["18"]
    written(tmp_path / "q.jsonl", "\n".join([*right, row % ("", "81")]))
    message = refusal(Gsm8k(source=path, held_out_source=test))
    assert f"row 4 of '{path}', column 'answer': the answer is '81', but row 1 of" in message


def test_gsm8k_reads_the_work_of_the_row_whose_answer_it_takes(tmp_path: Path) -> None:
    row = '{"question": "a?", "answer": "%s\\n#### 4"}'
    path = written(tmp_path / "q.jsonl", "\n".join([row % "2 + 2", row % "1 + 3"]))
    test = written(tmp_path / "t.jsonl", '{"question": "b?", "answer": "#### 4"}')
    task = Gsm8k(source=path, held_out_source=test)
    assert task.traces(0, range(1)) == [(task.pool()[0].text, "2 + 2\n#### 4")]


def test_rows_of_the_hub_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    good = {"question": "a?", "answer": "#### 1"}
    found = {"train": [good], "test": [{**good, "question": "b?"}, {**good, "answer": "one"}]}
    made = {split: datasets.Dataset.from_list(part) for split, part in found.items()}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: made)
    assert "task.source: row 2 of 'openai/gsm8k' (test), column 'answer'" in refusal(Gsm8k())


# --- Countdown's numbers --------------------------------------------------------------------------

TRUTH = "reward_model.ground_truth"
COUNTDOWN: dict[str, tuple[str, ...] | CountdownAnswer] = {
    '{"numbers": [1, 2, 3], "target": 6}': CountdownAnswer((1, 2, 3), 6),
    '{"numbers": [1.0, 2.0, 3.0], "target": 6.0}': CountdownAnswer((1, 2, 3), 6),
    '{"numbers": [1.5, 2, 3], "target": 6}': (f"{TRUTH}.numbers", "a whole number, is 1.5"),
    '{"numbers": [true, 2, 3], "target": 6}': (f"{TRUTH}.numbers", "is true"),
    '{"numbers": ["1", 2, 3], "target": 6}': (f"{TRUTH}.numbers", "is str '1'"),
    '{"numbers": [1, null, 3], "target": 6}': (f"{TRUTH}.numbers", "is NoneType None"),
    '{"numbers": "123", "target": 6}': ("must have numbers and target",),
    '{"numbers": [], "target": 6}': ("must have numbers and target",),
    '{"numbers": [1, 2, 3]}': ("must have numbers and target",),
    '{"numbers": [1, 2, 3], "target": NaN}': (f"{TRUTH}.target", "finite number, is nan"),
    '{"numbers": [1, 2, 3], "target": "6"}': (f"{TRUTH}.target", "is str '6'"),
    '{"numbers": [1, 2, 3], "target": 1e9999}': (f"{TRUTH}.target", "out of the range"),
    "6": ("must have numbers and target, is 6",),
}


@pytest.mark.parametrize("truth", COUNTDOWN)
def test_numbers_of_countdown(tmp_path: Path, truth: str) -> None:
    good = '{"reward_model": {"ground_truth": {"numbers": [%d, 2, 9], "target": 6}}}'
    content = [f'{{"reward_model": {{"ground_truth": {truth}}}}}', *(good % n for n in range(20))]
    path = written(tmp_path / "c.jsonl", "\n".join(content))
    task = Countdown(source=path, train_size=1, eval_size=1, hold_out=2)
    case = COUNTDOWN[truth]
    if isinstance(case, tuple):
        for word in (f"task.source: row 1 of '{path}', column '{TRUTH}", *case):
            assert word in refusal(task)
        return
    assert case in [p.answer for p in prompts(task)]
