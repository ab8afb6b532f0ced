"""The tiny base: one recipe, one set of bits; a Hugging Face folder; nothing held out leaks."""

import dataclasses
import io
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import ConfigError
from harness.machine.progress import shown_on
from harness.models import tiny, vocabulary
from harness.models.hf import Attention, Dtype, HuggingFace
from harness.models.loading import Source
from harness.models.tiny import Architecture, Tiny, WarmUp
from harness.models.vocabulary import COMPACT, END, PAD
from harness.tasks.countdown import Countdown
from harness.tasks.jsonl import Jsonl
from harness.tasks.search import Persona
from harness.tasks.templates import Compact, FewShot, Hashes, TinyZeroBase
from tests.conftest import ROOT

SETTINGS = settings(max_examples=100, deadline=None, derandomize=True)
ONE_STEP = Tiny(warm_up=WarmUp(steps=1))
IDS = {token: i for i, token in enumerate([PAD, END, *COMPACT])}


def compact_tokenizer() -> Any:
    return vocabulary.of(Compact(), [("Q1?", "1A1"), ("Q2 3?", "4A5")])


@pytest.fixture(scope="module")
def in_memory(recipe: Tiny, task: Countdown) -> Any:
    """The model of the recipe, trained a second time and never saved."""
    random.seed(8)
    np.random.seed(8)
    torch.manual_seed(8)
    tokenizer = compact_tokenizer()
    model = tiny._initial_model(recipe.architecture, len(IDS), tokenizer)
    tiny._train(model, recipe.warm_up, tiny._batches(task, tokenizer, recipe.warm_up))
    return model.eval()


def test_two_builds_are_bitwise_equal(
    recipe: Tiny, task: Countdown, source: Source, tmp_path: Path
) -> None:
    random.seed(9)
    torch.manual_seed(9)
    torch.set_num_threads(2)
    try:
        again = recipe.prepare(task, str(tmp_path))
    finally:
        torch.set_num_threads(1)
    assert Path(again.path) != Path(source.path)
    names = [path.name for path in sorted(Path(source.path).iterdir())]
    assert "model.safetensors" in names
    assert names == [path.name for path in sorted(Path(again.path).iterdir())]
    for name in names:
        assert (Path(again.path) / name).read_bytes() == (Path(source.path) / name).read_bytes()
    assert again.hash == source.hash


def test_loading_gives_the_model_that_was_trained(in_memory: Any, source: Source) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    ids = torch.tensor([[*range(len(IDS))]])
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, in_memory(input_ids=ids).logits)
        assert torch.equal(source.model()(input_ids=ids).logits, in_memory(input_ids=ids).logits)
    assert not source.model().training
    trained = dict(in_memory.named_parameters())
    fresh = tiny._initial_model(Architecture(), len(IDS), compact_tokenizer())
    for name, parameter in fresh.named_parameters():
        assert not torch.equal(parameter, trained[name])


def test_warm_up_lowers_the_loss_on_traces(in_memory: Any, task: Countdown) -> None:
    fresh = tiny._initial_model(Architecture(), len(IDS), compact_tokenizer()).eval()
    batches = tiny._batches(task, compact_tokenizer(), WarmUp(steps=1, batch=64))
    tokens_BL, labels_BL = next(batches)
    with torch.no_grad():
        before, after = (
            model(input_ids=tokens_BL, labels=labels_BL).loss.item() for model in (fresh, in_memory)
        )
    assert before > 3.0  # about ln 26 = 3.26: nothing known
    assert after < 2.2


@pytest.mark.parametrize("loaded", [False, True], ids=["made", "loaded"])
def test_tokenizer_has_one_token_per_character(source: Source, loaded: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source.path) if loaded else compact_tokenizer()
    assert len(tokenizer) == len(IDS) == 26
    for number, character in enumerate(COMPACT, start=2):
        assert tokenizer(character)["input_ids"] == [number]
        assert tokenizer.decode([number]) == character
    assert tokenizer("A7<eos>")["input_ids"] == [25, 9, 1]
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (END, 1)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (PAD, 0)


@SETTINGS
@given(text=st.text(st.sampled_from(COMPACT), max_size=60))
def test_tokenizer_round_trips_every_text(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids == [IDS[character] for character in text]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.batch_decode([ids])[0] == text


def test_prompts_are_read_as_the_warm_up_wrote_them(tokenizer: Any, task: Countdown) -> None:
    questions, rows = [], []
    for question, trace in task.traces(tiny.RECIPE_SEED, range(64)):
        questions.append(question)
        rows.append(tokenizer(f"{question}{trace}{END}")["input_ids"])
    ids = IDS
    tokens_BL, labels_BL = next(tiny._batches(task, tokenizer, WarmUp(steps=1, batch=64)))
    batch = sorted(row[row != ids[PAD]].tolist() for row in tokens_BL)
    assert batch == sorted(rows)
    # The loss is on the trace and its end token, never on the question.
    for tokens, labels in zip(tokens_BL, labels_BL, strict=True):
        question = int((tokens == ids["?"]).nonzero()[0, 0]) + 1
        end = int((tokens == ids[END]).nonzero()[0, 0]) + 1
        assert (labels[:question] == -100).all()
        assert torch.equal(labels[question:end], tokens[question:end])
        assert (labels[end:] == -100).all()


def test_a_second_prepare_builds_nothing(
    recipe: Tiny, task: Countdown, source: Source, runs: Path
) -> None:
    files = {path: path.stat().st_mtime_ns for path in Path(source.path).iterdir()}
    assert recipe.prepare(task, str(runs)) == source
    assert {path: path.stat().st_mtime_ns for path in Path(source.path).iterdir()} == files


def test_what_the_recipe_hash_sees(tmp_path: Path) -> None:
    base = Countdown(train_size=16, eval_size=8)
    same = [
        (ONE_STEP, base),
        (Tiny(warm_up=WarmUp(steps=1, learning_rate=3e-3)), base),  # the default, spelled out
        (ONE_STEP, Countdown(train_size=16, eval_size=8, counts=[3])),
    ]
    other = [
        (Tiny(warm_up=WarmUp(steps=2)), base),
        (Tiny(warm_up=WarmUp(steps=1, batch=16)), base),
        (Tiny(warm_up=WarmUp(steps=1), architecture=Architecture(hidden=32)), base),
        (ONE_STEP, Countdown(train_size=16, eval_size=8, high=8)),
        (ONE_STEP, Countdown(train_size=16, eval_size=8, operators="+")),
        (ONE_STEP, Countdown(train_size=17, eval_size=8)),
        (ONE_STEP, dataclasses.replace(base, persona=Persona(max_attempts=2))),
    ]
    hashes = [recipe.prepare(task, str(tmp_path)).hash for recipe, task in same + other]
    assert len(set(hashes[:3])) == 1
    assert len(set(hashes[2:])) == 1 + len(other)
    # It names the folder, and the weights in it name the base in records.
    assert len(list((tmp_path / "models").glob("*/config.json"))) == 1 + len(other)
    # The folder that runs are written to is no part of it.
    assert ONE_STEP.prepare(base, str(tmp_path / "elsewhere")).hash == hashes[0]


def test_what_few_traces_show_names_another_base_too(tmp_path: Path) -> None:
    """A share a little higher, and one answer far behind: the first 256 traces are the same."""
    base, runs = Countdown(train_size=16, eval_size=8), str(tmp_path / "runs")
    nearly = dataclasses.replace(base, persona=Persona(patient_share=0.4 + 1e-9))
    assert nearly.traces(0, range(256)) == base.traces(0, range(256))
    ONE_STEP.prepare(base, runs)
    assert ONE_STEP.made(base, runs) is not None
    assert ONE_STEP.made(nearly, runs) is None
    rows = [{"prompt": f"Q{i}", "answer": str(i)} for i in range(400)]

    def asked(folder: str) -> Jsonl:
        path = tmp_path / f"{folder}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        grader = "tests.models.test_tiny.same"
        return Jsonl(template=Compact(), path=str(path), grader=grader, eval_size=2)

    first, copied = asked("first"), asked("copied")
    asking = [text for text, _ in first.traces(0, range(256))]
    last = next(i for i, row in enumerate(rows) if row["prompt"] not in "".join(asking))
    rows[last]["answer"] = "0"
    ONE_STEP.prepare(first, runs)
    assert ONE_STEP.made(copied, runs) is not None
    assert ONE_STEP.made(asked("edited"), runs) is None


def test_how_the_recipe_is_spelled_makes_no_new_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, base = tmp_path / "harness", Countdown(train_size=16, eval_size=8)
    shutil.copytree(ROOT / "harness", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # sources are read, not imported

    def bases() -> int:
        ONE_STEP.prepare(base, str(tmp_path))
        return len(list((tmp_path / "models").glob("*/config.json")))

    assert bases() == 1
    made = copy / "models" / "tiny.py"
    made.write_text(f"# A comment.\n{made.read_text()}")
    (copy / "cli.py").write_text("")
    assert bases() == 1
    made.write_text(made.read_text().replace("IGNORED = -100", "IGNORED = -99"))
    assert bases() == 2


def test_held_out_problems_are_never_warmed_up_on(task: Countdown) -> None:
    held_out = {p.problem for p in task.held_out()}
    pool = {p.problem for p in task.pool()}
    shown = set()
    for question, _ in task.traces(tiny.RECIPE_SEED, range(40 * 32)):  # all of the fixture's
        *numbers, target = map(int, re.findall(r"-?\d+", question))
        shown.add(f"{' '.join(map(str, sorted(numbers)))}={target}")
    assert shown == pool
    assert not shown & held_out


def test_size_of_the_default_model() -> None:
    model = tiny._initial_model(Architecture(), len(IDS), compact_tokenizer())
    # Embedding 26*64; two layers of q, k, v 3*(64*64 + 64), o 64*64, mlp 3*64*128, norms 2*64;
    # a last norm 64: 1664 + 2 * (12480 + 4096 + 24576 + 128) + 64.
    assert sum(p.numel() for p in model.parameters()) == 84_288


def test_learning_rate_of_the_warm_up_by_hand() -> None:
    warm_up = WarmUp(steps=400, start_steps=40)
    # A start of 1/40, and at step 200 the cosine's half way between 1 and 0.01.
    assert tiny._schedule(0, warm_up) == pytest.approx(1 / 40)
    assert tiny._schedule(200, warm_up) == pytest.approx(0.505)
    assert tiny._schedule(400, warm_up) == pytest.approx(0.01)


class Foreign(Compact):
    def response(self, work: str, answer: str) -> str:
        return f"{work.replace('=', '→')}A{answer}"


@pytest.mark.parametrize(
    ("template", "prompt", "response"),
    [
        # head 5 , 8 , 2 middle 1 1 tail; 8 - 2 = 6 + 5 = 1 1 ! mark 8 - 2 + 5 end
        (TinyZeroBase(), 10, 18),
        (FewShot(), 10, 18),
        (Hashes(), 10, 17),
    ],
)
def test_phrases_that_never_change_are_one_token(
    template: Any, prompt: int, response: int, tmp_path: Path
) -> None:
    task = Countdown(template=template, train_size=64, eval_size=8)
    traces = task.traces(0, range(64))
    tokenizer = vocabulary.of(template, traces)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    asked = next(p.text for p in task.pool() if len(str(p.answer.target)) == 2)
    said = template.response("8-2=6+5=11!", "8-2+5")
    assert len(loaded(asked)["input_ids"]) == prompt
    assert len(loaded(said)["input_ids"]) == response
    for text in (asked, said, *(text for trace in traces for text in trace)):
        ids = loaded(text)["input_ids"]
        assert loaded.decode(ids, clean_up_tokenization_spaces=False) == text
        assert loaded.unk_token_id not in ids


def test_a_task_without_traces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"which str does not; choose model=hf"):
        ONE_STEP.prepare("no task", str(tmp_path))
    foreign = Countdown(template=Foreign(), train_size=16, eval_size=8)
    with pytest.raises(ConfigError, match=r"printable ASCII only, the task writes '→'"):
        ONE_STEP.prepare(foreign, str(tmp_path))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("field", ["steps", "batch"])
def test_warm_up_ranges(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.warm_up\.{field} must be at least 1"):
        WarmUp(**{field: 0})


# --- models that exist already --------------------------------------------------------------------


def test_hf_takes_a_folder(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(source.path)
    monkeypatch.chdir(folder.parent)
    found = HuggingFace(path=folder.name, dtype=Dtype.BFLOAT16).prepare(None, "")
    assert found.path == found.tokenizer == str(folder.resolve())  # absolute from now on
    assert found.dtype is torch.bfloat16
    assert next(found.model().parameters()).dtype is torch.bfloat16
    assert found.tokens.tokenizer.eos_token == END
    eager = HuggingFace(path=str(folder), attention=Attention.EAGER).prepare(None, "")
    assert eager.model().config._attn_implementation == "eager"


@pytest.mark.parametrize("path", ["./nothing", "/no/such/model", "~/no-such-model", "a/b/c"])
def test_hf_refuses_a_missing_folder(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^model\.path: there is no folder ") as caught:
        HuggingFace(path=path).prepare(None, "")
    assert repr(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hf_refuses_a_folder_that_holds_no_model(tmp_path: Path, source: Source) -> None:
    with pytest.raises(ConfigError, match=r"model\.path: .* is a folder without config\.json"):
        HuggingFace(path=str(tmp_path)).prepare(None, "")
    with pytest.raises(ConfigError, match=r"model\.tokenizer: .* without tokenizer_config"):
        HuggingFace(path=source.path, tokenizer=str(tmp_path)).prepare(None, "")


def test_a_broken_folder_is_worded_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    broken = HuggingFace(path=str(tmp_path)).prepare(None, "")
    for load, message in (
        (broken.model, r"cannot be loaded: .*; give model\.path"),
        (lambda: broken.tokens, r"model\.tokenizer: there is no tokenizer in the folder"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            load()
        assert "\n" not in str(caught.value)


def test_a_warm_up_on_training_answers_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    rows = [{"prompt": f"Q{i}", "answer": str(i)} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Jsonl(
        template=Compact(), path=str(path), grader="tests.models.test_tiny.same", eval_size=2
    )
    out = io.StringIO()
    with shown_on(Console(file=out, width=200)):
        for _ in range(2):
            ONE_STEP.prepare(task, str(tmp_path / "runs"))
    assert out.getvalue() == (
        f"model=tiny is warmed up on the answers of {path}'s training questions: they are no news "
        f"to its training\n"
    )
    assert Countdown().supervised == ""


def same(response: str, answer: str) -> bool:
    return response == answer
