"""Tokenizer and model are compared before anything runs: one line each, and nothing is made."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tokenizers import AddedToken
from transformers import AutoTokenizer

from harness.cli import _show_memory
from harness.errors import ConfigError
from harness.models import fits
from harness.trial import prepare
from tests.kinds import KINDS, PADDING, Kind

# Tokens of the byte-level kinds: 256 bytes, 60 merges, and GPT-2's one special token.
GPT2_SIZE = 317
CLOSED = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


def edited(name: str, **changes: Any) -> Kind:
    return dataclasses.replace(KINDS[name], **changes)


def padded_outside() -> Kind:
    """A pad token that was added to the tokenizer and not to the model."""
    named = {**KINDS["gpt2"].named, "pad_token": "<pad>"}
    return edited("gpt2", named=named)


def write(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(change(found)))

    return edit


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def garbage(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"added_tokens": [], "model": 3}')


def metaspace_beside_qwen2(folder: Path) -> None:
    """transformers reads what lies beside a Qwen2 as one, and drops the spaces of any other."""
    for file in folder.glob("tokenizer*"):
        file.unlink()
    other = folder.parent / "metaspace"
    KINDS["metaspace"].save(other)
    for file in other.glob("tokenizer*"):
        shutil.copy(file, folder)


Case = tuple[Kind, int | None, Callable[[Path], None] | None, tuple[str, ...], str]
REFUSED: dict[str, Case] = {
    "pad id beyond the embeddings": (
        *(padded_outside(), GPT2_SIZE, None, ()),
        r"^pad_token of the tokenizer '.*' is 317, but the model's embeddings end at 316; name",
    ),
    "another, larger tokenizer": (
        *(KINDS["gpt2"], 300, None, ()),
        r"embeddings of 300 tokens, but its tokenizer '.*' has 317: .*; name .*model.tokenizer=",
    ),
    "another, smaller tokenizer": (
        *(KINDS["gpt2"], 385, None, ()),
        r"embeddings of 385 tokens, but its tokenizer '.*' has 317: .*; name .*model.tokenizer=",
    ),
    "an end token beyond the embeddings": (
        *(KINDS["gpt2"], None),
        write("generation_config.json", lambda found: {**found, "eos_token_id": [316, 50256]}),
        *((), r"^an end token .* is 50256, but the model's embeddings end at 321; name another"),
    ),
    "no chat template": (
        *(KINDS["gpt2"], None, None, ("task/template=chat",)),
        r"has no chat template; choose another task/template, or name a tokenizer that has one",
    ),
    "a chat template that raises": (
        *(edited("qwen2", template="{{ raise_exception('no system') }}"), None, None),
        ("task/template=chat",),
        r"chat template of the tokenizer .* cannot render messages of user: no system; mend",
    ),
    "a chat template that is none": (
        *(edited("qwen2", template="{% if %}"), None, None, ()),
        r"cannot render messages of user, assistant: .*; mend chat_template",
    ),
    "a chat template that opens no turn": (
        *(edited("qwen2", template=CLOSED), None, None, ("task/template=chat",)),
        r"ends with token 318, which ends a response: the template closes a turn and opens none",
    ),
    "a folder without a tokenizer": (
        *(KINDS["qwen2"], None, without_tokenizer, ()),
        r"^model.tokenizer: there is no tokenizer in the folder .*; name .*: model.tokenizer=",
    ),
    "the same for the chat template": (
        *(KINDS["qwen2"], None, without_tokenizer, ("task/template=chat",)),
        r"^task.template.tokenizer: .* is a folder without tokenizer_config.json; give a folder",
    ),
    "a tokenizer folder that is not there": (
        *(KINDS["qwen2"], None, None, ("model.tokenizer=./nowhere",)),
        r"^model.tokenizer: there is no folder './nowhere'; give a folder",
    ),
    "a chat template's folder that is not there": (
        *(KINDS["qwen2"], None, None, ("task/template=chat", "task.template.tokenizer=/no/where")),
        r"^task.template.tokenizer: there is no folder '/no/where'; give a folder",
    ),
    "a tokenizer.json that is none": (
        *(KINDS["qwen2"], None, garbage, ()),
        r"cannot be loaded: .*; give model.tokenizer a folder in Hugging Face format",
    ),
    "a tokenizer that is read as another kind": (
        *(KINDS["qwen2"], 384, metaspace_beside_qwen2, ()),
        r"does not keep the text of prompts: it reads .*; set tokenizer_class",
    ),
    "a context too short": (
        *(KINDS["gpt2"], None, None, ("rollout.max_new_tokens=1024",)),
        r"^the model reads 1024 tokens, but the prompt .* has .*; lower rollout.max_new_tokens",
    ),
    "nothing that ends a response": (
        *(edited("gpt2", named={}), None),
        write("generation_config.json", lambda found: {**found, "eos_token_id": None}),
        *((), r"has no end-of-sequence token, and the model names none; set eos_token"),
    ),
}


@pytest.fixture
def checked(composed: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """checked(kind, rows, edit, overrides): the config, after all that is checked before a run."""

    def run(
        kind: Kind, rows: int | None, edit: Callable[[Path], None] | None, *overrides: str
    ) -> Any:
        folder = tmp_path / "model"
        kind.save(folder, rows)
        if edit is not None:
            edit(folder)
        config = composed(
            *("model=hf", f"model.path={folder}", "task/template=plain", "task.train_size=8"),
            *("task.eval_size=4", "tracking=none", f"runs={tmp_path / 'runs'}", *overrides),
        )
        prepare(config)
        return config

    return run


@pytest.mark.parametrize("case", REFUSED)
def test_refused(checked: Callable[..., Any], tmp_path: Path, case: str) -> None:
    kind, rows, edit, overrides, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as refusal:
        checked(kind, rows, edit, *overrides)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "runs" / "checkpoints").exists()


@pytest.mark.parametrize("rows", [GPT2_SIZE, GPT2_SIZE + PADDING, 384])
def test_rows_for_padding_are_no_fault(checked: Callable[..., Any], rows: int) -> None:
    """384 is 317 rounded up to a multiple of 128."""
    checked(KINDS["gpt2"], rows, None)


def test_a_special_token_beyond_the_embeddings_is_a_fault_in_a_prompt_only(tmp_path: Path) -> None:
    """As Gemma 3's for images is: the tokenizer has one more than the model."""
    source = KINDS["gemma"].save(tmp_path)
    tokens = source.tokens
    rows = len(tokens.tokenizer)
    tokens.tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<image>")]})
    fits.check_sizes(tokens, rows)
    fits.check_prompts(tokens, rows, ["a b"], tokens.ids(["a b"]))
    with pytest.raises(ConfigError, match=r"'<image> b' has token 357 .* end at 356; name its own"):
        fits.check_prompts(tokens, rows, ["<image> b"], tokens.ids(["<image> b"]))
    with pytest.raises(ConfigError, match=r"the prompt '' has no token"):
        fits.check_prompts(tokens, rows, [""], tokens.ids([""]))


def test_dry_run_shows_what_the_model_reads(
    checked: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = checked(KINDS["llama3"], None, None, "task/template=chat", "dry_run=true")
    _show_memory(Console(soft_wrap=True, markup=False, highlight=False), config)
    text, ids = (line[14:] for line in capsys.readouterr().out.splitlines()[:2])
    tokenizer = AutoTokenizer.from_pretrained(config.model.path)
    prompt = config.task.held_out()[0].text
    assert prompt.startswith("<|begin_of_text|><|start|>user<|end|>")
    assert text == repr(prompt)
    assert tokenizer.decode([int(i) for i in ids.split()]) == prompt
    assert ids.split().count(str(tokenizer.bos_token_id)) == 1
