"""Tasks that read files: GSM8K, your own questions, and TinyZero's row schema."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.commands import data
from harness.errors import ConfigError, ContractError
from harness.tasks import rows
from harness.tasks.countdown import Countdown
from harness.tasks.gsm8k import Gsm8k, Method
from harness.tasks.jsonl import Jsonl
from harness.tasks.multiplication import Multiplication
from harness.tasks.templates import FewShot, Hashes, TinyZeroBase
from harness.types import Grade, Prompt

HERE = __name__
RIGHT = Grade(correct=True, formatted=True)
WRONG = Grade(correct=False, formatted=True)
NONE = Grade(correct=False, formatted=False)


def prompt(answer: str) -> Prompt:
    return Prompt(text="", item=0, problem="", difficulty=1, answer=answer)


def problems(first: int, last: int) -> list[dict[str, str]]:
    """Word problems of our own in GSM8K's format."""
    return [
        {
            "question": f"Ann has {n} crates of 1000 pears and finds 3 more. How many has she?",
            "answer": f"{n} crates hold {n}*1000 pears.\nWith 3 more: {n},003\n#### {n},003",
        }
        for n in range(first, last)
    ]


def lines(path: Path, found: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def refused(task: Any) -> str:
    with pytest.raises(ConfigError) as refusal:
        task.held_out()
    message = str(refusal.value)
    assert "\n" not in message
    return message


# --- GSM8K ----------------------------------------------------------------------------------------

STRICT = [
    ("so\n#### 18", RIGHT), ("so #### 18.", RIGHT), ("#### 18.0", RIGHT), ("#### $18", RIGHT),
    ("#### 17\n#### 18", RIGHT), ("#### 18\n#### 17", WRONG), ("#### 18\nDone.", RIGHT),
    ("#### -18", WRONG), ("#### 1,8", NONE), ("#### 18 eggs", NONE), ("####18", NONE),
    ("The answer is 18", NONE), ("", NONE), ("#### ", NONE), ("#### x", NONE),
]  # fmt: skip
FLEXIBLE = [
    ("so\n#### 18", RIGHT), ("18 eggs", RIGHT), ("It is $18.00.", RIGHT), ("not 17 but 18", RIGHT),
    ("18, not 17", WRONG), ("none", NONE), ("", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("response", "grade"), STRICT)
def test_strict(response: str, grade: Grade) -> None:
    assert Gsm8k().grade(prompt("18"), response, finished=True) == grade


@pytest.mark.parametrize(("response", "grade"), FLEXIBLE)
def test_flexible(response: str, grade: Grade) -> None:
    for template in (Hashes(), TinyZeroBase()):
        task = Gsm8k(template=template, method=Method.FLEXIBLE)
        assert task.grade(prompt("18"), response, finished=True) == grade


def test_strict_reads_the_tags_of_a_tagged_template() -> None:
    task = Gsm8k(template=TinyZeroBase())
    assert task.grade(prompt("18"), "17</think><answer> $18 </answer>", finished=True) == RIGHT
    assert task.grade(prompt("18"), "<answer>18 eggs</answer>", finished=True) == NONE
    assert task.grade(prompt("18"), "#### 18", finished=True) == NONE


def test_a_number_that_a_cut_response_ends_on_is_none() -> None:
    for method in Method:
        assert Gsm8k(method=method).grade(prompt("18"), "#### 18", finished=False) == NONE
        assert Gsm8k(method=method).grade(prompt("18"), "#### 18\n", finished=False) == RIGHT


def test_two_files(tmp_path: Path) -> None:
    # One training problem is held out too: it leaves the pool.
    train = lines(tmp_path / "train.jsonl", problems(1, 9))
    test = str(tmp_path / "test.parquet")
    pl.DataFrame(problems(8, 12)).write_parquet(test)
    task = Gsm8k(source=train, held_out_source=test)
    assert [p.answer for p in task.pool()] == [f"{n}003" for n in range(1, 8)]
    assert [p.answer for p in task.held_out()] == [f"{n}003" for n in range(8, 12)]
    first = task.pool()[0]
    assert first.text.startswith("Ann has 1 crates")
    assert first.text.endswith('output the final answer after "####".')
    assert (first.item, first.difficulty) == (0, 2)
    assert task.grade(first, problems(1, 2)[0]["answer"], finished=True) == RIGHT
    small = Gsm8k(source=train, held_out_source=test, train_size=2, eval_size=1)
    assert (small.pool(), small.held_out()) == (task.pool()[:2], task.held_out()[:1])
    assert small.digest != task.digest


def test_one_file_is_split_by_hash(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", problems(1, 60))
    task = Gsm8k(source=source, hold_out=4)
    assert len(task.pool()) + len(task.held_out()) == 59
    assert 5 < len(task.held_out()) < 27
    turned = lines(tmp_path / "turned.jsonl", problems(1, 60)[::-1])
    other = Gsm8k(source=turned, hold_out=4)
    assert {p.problem for p in other.pool()} == {p.problem for p in task.pool()}
    assert "lower task.train_size" in refused(Gsm8k(source=source, train_size=60))


def test_the_hub_is_asked_for_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, config: str) -> Any:
        assert (name, config) == ("openai/gsm8k", "main")
        made = {"train": problems(1, 4), "test": problems(4, 6)}
        return {split: datasets.Dataset.from_list(found) for split, found in made.items()}

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = Gsm8k()
    assert (len(task.pool()), len(task.held_out())) == (3, 2)


def test_hub_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def fail(*_: str) -> Any:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = refused(Gsm8k())
    for word in ("task.source", "'openai/gsm8k'", "no route to host", ".jsonl"):
        assert word in message


def test_gsm8k_refusals(tmp_path: Path) -> None:
    broken = lines(tmp_path / "a.jsonl", [{"question": "How many?", "answer": "seven"}])
    message = refused(Gsm8k(source=broken))
    assert "row 1 of" in message
    assert "#### and a number" in message
    with pytest.raises(ConfigError, match=r"held_out_source goes with a file"):
        Gsm8k(held_out_source="test.jsonl")
    with pytest.raises(ConfigError, match=r"task.eval_size must be at least 1"):
        Gsm8k(eval_size=0)


# --- your own questions ---------------------------------------------------------------------------


def same(response: str, answer: str) -> bool:
    return response.strip() == answer


def half(response: str, answer: str) -> float:
    return 0.5


NOT_A_FUNCTION = 3
QUESTIONS = [{"prompt": f"What follows {n}?", "answer": n + 1} for n in range(40)]


def test_jsonl_is_graded_by_its_function(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", QUESTIONS)
    task = Jsonl(path=path, grader=f"{HERE}.same", hold_out=4)
    assert len(task.pool()) + len(task.held_out()) == 40
    assert not {p.problem for p in task.pool()} & {p.problem for p in task.held_out()}
    first = task.pool()[0]
    assert first.text == QUESTIONS[0]["prompt"] or first.text.startswith("What follows")
    assert task.grade(first, f" {first.answer}\n", finished=True) == RIGHT
    assert task.grade(first, "x", finished=True) == WRONG
    assert task.grade(first, first.answer, finished=False) == NONE
    tagged = Jsonl(path=path, grader=f"{HERE}.same", template=TinyZeroBase())
    assert tagged.grade(first, f"<answer>{first.answer}</answer>", finished=True) == RIGHT
    assert tagged.grade(first, first.answer, finished=True) == NONE
    assert "for example <answer> 42 </answer>" in tagged.pool()[0].text


def test_jsonl_with_a_held_out_file_and_other_columns(tmp_path: Path) -> None:
    train = lines(tmp_path / "a.jsonl", [{"q": "1", "a": "x"}, {"q": "2", "a": "y"}])
    test = lines(tmp_path / "b.jsonl", [{"q": "2", "a": "y"}])
    task = Jsonl(path=train, held_out_path=test, grader=f"{HERE}.same", prompt="q", answer="a")
    assert [p.text for p in task.pool()] == ["1"]
    assert [p.text for p in task.held_out()] == ["2"]


BROKEN = [
    ('{"prompt": "a"}\n', ["row 1", "has no 'answer'", "its columns: prompt"]),
    ('{"prompt": "a", "answer": null}\n', ["row 1", "has no 'answer'"]),
    ('{"prompt": "a", "answer": "b"}\n\n{"prompt": \n', ["line 3 of", "is no JSON"]),
    ("[1, 2]\n", ["line 1 of", "must be an object"]),
    ("\xff\n", ["line 1 of", "is no JSON"]),
    ("", ["has no rows"]),
    ("\n \n", ["has no rows"]),
]


@pytest.mark.parametrize(("text", "words"), BROKEN)
def test_broken_files(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(text.encode("latin-1"))
    message = refused(Jsonl(path=str(path), grader=f"{HERE}.same"))
    for word in ("task.path", *words):
        assert word in message


def test_wrong_paths(tmp_path: Path) -> None:
    grader = f"{HERE}.same"
    assert "must end in .parquet or .jsonl" in refused(Jsonl(path="q.csv", grader=grader))
    absent = str(tmp_path / "absent.jsonl")
    assert "there is no file" in refused(Jsonl(path=absent, grader=grader))
    fake = tmp_path / "fake.parquet"
    fake.write_text("no parquet")
    assert "is no parquet file" in refused(Jsonl(path=str(fake), grader=grader))


@pytest.mark.parametrize(
    ("grader", "words"),
    [
        ("given", "names no module"),
        ("no_such_module.grade", "no_such_module"),
        (f"{HERE}.no_such_function", "no_such_function"),
        (f"{HERE}.NOT_A_FUNCTION", "is no function"),
    ],
)
def test_graders_that_cannot_be_had(tmp_path: Path, grader: str, words: str) -> None:
    message = refused(Jsonl(path=lines(tmp_path / "q.jsonl", QUESTIONS), grader=grader))
    assert "task.grader" in message
    assert words in message


def test_a_grader_says_yes_or_no(tmp_path: Path) -> None:
    task = Jsonl(path=lines(tmp_path / "q.jsonl", QUESTIONS), grader=f"{HERE}.half")
    with pytest.raises(ContractError, match=r"must return True or False, returned 0\.5"):
        task.grade(task.pool()[0], "x", finished=True)


def test_jsonl_has_no_worked_example() -> None:
    with pytest.raises(ConfigError, match="task/template=plain"):
        Jsonl(path="q.jsonl", grader="a.b", template=FewShot())


# --- rows in TinyZero's schema --------------------------------------------------------------------

SMALL = Countdown(template=TinyZeroBase(), train_size=30, eval_size=10)


def test_row_schema(tmp_path: Path) -> None:
    rows.write(tmp_path / "c.parquet", rows.records(SMALL))
    found = pl.read_parquet(tmp_path / "c.parquet").to_dicts()
    first = SMALL.pool()[0]
    assert found[0] == {
        "data_source": "countdown",
        "prompt": [{"role": "user", "content": first.text}],
        "ability": "math",
        "reward_model": {
            "style": "rule",
            "ground_truth": {"numbers": list(first.answer.numbers), "target": first.answer.target},
        },
        "extra_info": {"split": "train", "index": 0, "difficulty": 3},
    }
    splits = [(row["extra_info"]["split"], row["extra_info"]["index"]) for row in found]
    assert splits == [("train", i) for i in range(30)] + [("test", i) for i in range(10)]
    made = rows.records(Multiplication(train_size=4, eval_size=2))
    assert made[0]["data_source"] == "multiply"
    assert isinstance(made[0]["reward_model"]["ground_truth"], int)


def test_countdown_round_trip(tmp_path: Path) -> None:
    path = str(tmp_path / "c.parquet")
    rows.write(Path(path), rows.records(SMALL))
    back = Countdown(template=TinyZeroBase(), train_size=30, eval_size=10, source=path)
    assert (back.pool(), back.held_out()) == (SMALL.pool(), SMALL.held_out())
    assert back.digest == SMALL.digest
    message = refused(Countdown(train_size=31, eval_size=10, source=path))
    assert f"{path} give only 30 training and 10 held-out" in message
    assert "or hold out another share (task.hold_out=8 is one in 8)" in message


def test_countdown_refuses_other_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "m.parquet")
    rows.write(Path(path), rows.records(Multiplication(train_size=4, eval_size=2)))
    assert "must have numbers and target" in refused(Countdown(source=path))
    plain = str(tmp_path / "p.parquet")
    pl.DataFrame({"nums": [1]}).write_parquet(plain)
    assert "has no 'reward_model.ground_truth'; its columns: nums" in refused(
        Countdown(source=plain)
    )


def test_data_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "c.parquet"
    arguments = ["countdown", "--out", str(out), "task.train_size=30", "task.eval_size=10"]
    assert data.main([*arguments, "task/template=tinyzero_base"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"digest {SMALL.digest}"
    assert "30 training and 10 held-out rows" in printed
    again = [*arguments, f"task.source={out}", "task/template=tinyzero_base"]
    again[2] = str(tmp_path / "again.parquet")
    assert data.main(again) == 0
    assert Path(again[2]).read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "usage"),
        (["coin"], "usage"),
        (["coin", "--out"], "usage"),
        (["coin", "sum_to_ten", "--out", "x.parquet"], "usage"),
        (["coin", "--what", "--out", "x.parquet"], "usage"),
        (["coin", "--out", "x.csv"], "must end in .parquet"),
        (["nosuch", "--out", "x.parquet"], "sum_to_ten"),
        (["coin", "--out", "x.parquet", "task.heads=2"], "task.heads"),
        (["coin", "--out", "x.parquet", "task.tails=2"], "'task.tails'"),
        (["coin", "--out", "/proc/nowhere/x.parquet"], "cannot write"),
    ],
)
def test_data_command_refusals(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_data_runs_as_a_module(tmp_path: Path) -> None:
    root = Path(data.__file__).parents[2]
    command = [sys.executable, "-m", "harness.data", "coin", "--out", "c.parquet"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(tmp_path / "c.parquet").height == 768
