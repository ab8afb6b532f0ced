"""`python -m harness.evaluate`: a checkpoint is measured as its trial was."""

import dataclasses
import importlib
import json
import os
import pickle
import pkgutil
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import harness.rollout
import harness.tasks
from harness.commands import evaluate, trust
from harness.commands.evaluate import (
    SHOWN_SAMPLES,
    config_of,
    last_step,
    measured,
    sampled,
)
from harness.commands.origin import differing, unsaid
from harness.config import resolved
from harness.distributed.sharding import Device, Precision, Sharding
from harness.errors import ConfigError
from harness.identity import code_now
from harness.launch import run_trial
from harness.learner.trainer import Trainer
from harness.machine import digests
from harness.models.loading import Source
from harness.rollout.transformers import Transformers
from harness.tasks.countdown import Countdown
from harness.tracking.record import CONFIG as CONFIG_FILE
from harness.trial import trial_folder
from tests.conftest import SMALL, command


@pytest.fixture
def final(work: Path, composed: Callable[..., Any]) -> tuple[Path, dict[str, float]]:
    """A finished trial's checkpoint and its last metrics."""
    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none", "rollout.temperature=0.7")
    result = run_trial(config, lambda step, progress, metrics: None)
    return trial_folder(config) / "final", result


def test_task_and_sampling_are_the_trials_unless_said_otherwise(
    final: tuple[Path, dict[str, float]],
) -> None:
    folder, result = final
    config = config_of(folder, [])
    assert (config.task.eval_size, config.rollout.temperature) == (48, 0.7)
    assert config.evaluation.pass_k == 2, "the trial's own, not the default of 16"
    # Same seed, same streams: every number is the trial's last one, the sampled ones too.
    again, table = measured(config, last_step(folder))
    assert "eval/kl" not in again
    assert again.items() <= result.items()
    assert len(table["response"]) == 48
    more, _ = measured(config, last_step(folder), samples=4)
    assert more["eval/accuracy"] == again["eval/accuracy"]
    assert more["eval/pass_at_k"] >= more["eval/avg_at_k"]
    with pytest.raises(ConfigError, match=r"at least evaluation\.pass_k=2, .* received 1; lower"):
        measured(config, 0, samples=1)
    hot = config_of(folder, ["rollout.top_p=0.5", "evaluation.temperature=0.3", "seed=3"])
    assert (hot.rollout.top_p, hot.rollout.temperature) == (0.5, 0.7), "the rest is the trial's"
    assert (hot.evaluation.temperature, hot.evaluation.pass_k, hot.seed) == (0.3, 2, 3)
    smaller = config_of(folder, ["task.eval_size=20"])
    assert (smaller.task.eval_size, smaller.task.train_size) == (20, 128)
    other = config_of(folder, ["task=countdown", "task/template=compact", "task.eval_size=20"])
    assert other.task.eval_size == 20
    assert other.rollout.temperature == 0.7


def test_samples_of_one_prompt_are_graded_where_the_answer_is_known(
    final: tuple[Path, dict[str, float]],
) -> None:
    config = config_of(final[0], [])
    text = config.task.held_out()[3].text
    rollout, grades = sampled(config, "3")
    assert all(grade is not None for grade in grades)
    assert len(set(rollout.texts)) > 1
    assert {p.text for p in rollout.prompts} == {text}
    _, unknown = sampled(config, "Q1 1 1=99?")
    assert unknown == [None] * SHOWN_SAMPLES


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no checkpoint"):
        config_of(tmp_path, [])


def test_help_documents_every_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in evaluate.HELP:
        monkeypatch.setattr(sys, "argv", ["evaluate", word])
        assert evaluate.main() == 0
        out = capsys.readouterr().out
        for key in evaluate.OWN_KEYS:
            assert f"\n  {key}=" in out
        for other in ("evaluation.pass_k=", "rollout.top_p=", "task=", "seed=", "tracking="):
            assert f"\n  {other}" in out
    monkeypatch.setattr(sys, "argv", ["evaluate"])
    assert evaluate.main() == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.commands
def test_the_command_prints_a_table_and_refuses_in_one_line(
    final: tuple[Path, dict[str, float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = command()
    call = [sys.executable, "-m", "harness.evaluate", str(final[0])]
    settings["args"] = [*call, "evaluation.pass_k=0", "json=out.json", "tracking=mlflow"]
    done = subprocess.run(**settings, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "eval/accuracy" in done.stdout
    assert "decoding: temperature=1.0 top_p=1.0" in done.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["metrics"]["eval/accuracy"] == final[1]["eval/accuracy"]
    assert len(written["responses"]) == 48
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("evaluations")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["eval/accuracy"] == final[1]["eval/accuracy"]
    monkeypatch.setattr(sys, "argv", ["evaluate", str(final[0]), "task=nope"])
    assert evaluate.main() == 2
    (refused,) = capsys.readouterr().err.splitlines()
    assert "countdown_tinyzero" in refused


# --- a folder from a colleague --------------------------------------------------------------------


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A trial's folder as it comes by mail: what is asked about it needs no weights."""
    folder = tmp_path / "received"
    (folder / "final").mkdir(parents=True)
    (folder / "final" / "config.json").write_text("{}")
    tell(folder)
    return folder


def tell(folder: Path, **changes: Any) -> None:
    """Write its config, with another task or rollout."""
    own = {"task": resolved(Countdown()), "rollout": resolved(Transformers())}
    (folder / CONFIG_FILE).write_text(json.dumps(own | changes))


def jsonl(grader: str = "harness.testing.same", **changes: Any) -> dict[str, Any]:
    return {"_target_": "harness.tasks.jsonl.Jsonl", "path": "q.jsonl", "grader": grader, **changes}


def refusal(folder: Path, *overrides: str, trusted: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        config_of(folder / "final", overrides, trusted)
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    return message


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The canary of an importable module: it is there when the module was imported."""
    canary = tmp_path / "canary"
    code = f"""
import dataclasses
open({str(canary)!r}, "w")
@dataclasses.dataclass(frozen=True)
class Task:
    def held_out(self): return ()
def grade(response, answer): return True
"""
    (tmp_path / "hostile_plugin.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("hostile_plugin", None)
    return canary


def test_what_the_harness_wrote_is_measured_without_a_question(received: Path) -> None:
    assert config_of(received / "final", []).task == Countdown()


STRANGE = {"_target_": "hostile_plugin.Task"}
COUNTDOWN = {"_target_": "harness.tasks.countdown.Countdown"}
MIXTURE = {"_target_": "harness.tasks.mixture.Mixture", "weights": {"a": 1, "b": 1}}
DEMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "a task": ({"task": STRANGE}, "task._target_=hostile_plugin.Task"),
    "a rollout": ({"rollout": STRANGE}, "rollout._target_=hostile_plugin.Task"),
    "a template": (
        {"task": {**COUNTDOWN, "template": STRANGE}},
        "task.template._target_=hostile_plugin.Task",
    ),
    "in a mixture": (
        {"task": {**MIXTURE, "tasks": {"a": STRANGE, "b": COUNTDOWN}}},
        "task.tasks.a._target_=hostile_plugin.Task",
    ),
    "in a list": (
        {"task": {**COUNTDOWN, "counts": [[STRANGE]]}},
        "task.counts.0.0._target_=hostile_plugin.Task",
    ),
    "a grader": ({"task": jsonl("hostile_plugin.grade")}, "task.grader=hostile_plugin.grade"),
    "a grader in a mixture": (
        {"task": {**MIXTURE, "tasks": {"a": jsonl("hostile_plugin.grade"), "b": COUNTDOWN}}},
        "task.tasks.a.grader=hostile_plugin.grade",
    ),
    "a shell": ({"task": jsonl("subprocess.getoutput")}, "task.grader=subprocess.getoutput"),
    "a grader of ours": ({"task": jsonl()}, "task.grader=harness.testing.same"),
    "a name like ours": (
        {"task": {"_target_": "harness.tasksx.Task"}},
        "task._target_=harness.tasksx.Task",
    ),
    "ours, of another kind": (
        {"task": {"_target_": "harness.tracking.none.NoTracking"}},
        "task._target_=harness.tracking.none.NoTracking",
    ),
    "ours, not a template": (
        {"task": {**COUNTDOWN, "template": COUNTDOWN}},
        "task.template._target_=harness.tasks.countdown.Countdown",
    ),
    "no name": ({"task": {**COUNTDOWN, "template": {"_target_": 5}}}, "task.template._target_=5"),
    "a file of mine": ({"task": jsonl(path="/etc/passwd")}, "task.path=/etc/passwd"),
    "a file at home": ({"task": jsonl(path="~/q.jsonl")}, "task.path=~/q.jsonl"),
    "a held-out file": (
        {"task": jsonl(held_out_path="/etc/passwd")},
        "task.held_out_path=/etc/passwd",
    ),
    "a source": (
        {"task": {"_target_": "harness.tasks.gsm8k.Gsm8k", "source": "/etc/q.jsonl"}},
        "task.source=/etc/q.jsonl",
    ),
    "a tokenizer": (
        {
            "task": {
                **COUNTDOWN,
                "template": {"_target_": "harness.tasks.templates.Chat", "tokenizer": "/opt/x"},
            }
        },
        "task.template.tokenizer=/opt/x",
    ),
    "escapes": ({"task": jsonl("a\x1b[2J\nb.c")}, "task.grader=a\\x1b[2J\\nb.c"),
}


@pytest.mark.parametrize("what", DEMANDS)
def test_what_a_stored_config_asks_for_is_named_and_not_done(
    received: Path, hostile: Path, what: str
) -> None:
    changes, named = DEMANDS[what]
    tell(received, **changes)
    message = refusal(received)
    assert named in message
    assert "add trust=true" in message
    assert not hostile.exists()


def test_with_trust_it_is_done(received: Path, hostile: Path) -> None:
    tell(received, task=STRANGE)
    config = config_of(received / "final", [], trust=True)
    assert type(config.task).__name__ == "Task"
    assert hostile.exists()


def test_a_task_named_here_replaces_the_stored_one(received: Path, hostile: Path) -> None:
    tell(received, task=STRANGE)
    assert config_of(received / "final", ["task=countdown"]).rollout == Transformers().alone()
    assert not hostile.exists()


def test_a_relative_path_is_mine_where_the_command_starts(
    received: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(received, task=jsonl())
    monkeypatch.chdir(received.parent)
    assert "task.path" not in refusal(received)  # there is no such file
    (received.parent / "q.jsonl").write_text("")
    assert "read 'task.path=q.jsonl'" in refusal(received)
    (received.parent / "q.jsonl").unlink()
    monkeypatch.chdir(received)
    (received / "q.jsonl").write_text("")
    assert "task.path" not in refusal(received)  # the folder's own


@pytest.mark.parametrize(
    "path", ["file:///etc/passwd", "https://x.example/q.jsonl", "../q.jsonl", "a/../../q.jsonl"]
)
def test_a_path_that_hides_where_it_leads_is_refused_even_with_trust(
    received: Path, path: str
) -> None:
    tell(received, task=jsonl(path=path))
    assert "leads elsewhere" in refusal(received)
    assert "leads elsewhere" in refusal(received, trusted=True)


def test_a_stored_seed_and_evaluation_are_data(received: Path) -> None:
    tell(received, seed="0 task=jsonl", evaluation={"pass_k": 3})
    config = config_of(received / "final", [])
    assert (config.seed, config.evaluation.pass_k, type(config.task)) == (0, 3, Countdown)
    tell(received, evaluation={"pass_k": "${oc.env:SECRET}"})
    assert "would be filled in here" in refusal(received, trusted=True)


def test_what_would_be_filled_in_here_is_refused(
    received: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    tell(received, task={**COUNTDOWN, "operators": "${oc.env:SECRET}"})
    message = refusal(received, trusted=True)
    assert "would be filled in here" in message
    assert "s3cret" not in message


@pytest.mark.parametrize("name", ["final/tokenizer.json", "final/sub", "trial.json", "q.jsonl"])
def test_a_link_out_of_the_folder_is_refused(
    received: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = received.parent / "mine"
    mine.write_text("s3cret")
    path = received / name
    path.unlink(missing_ok=True)
    path.symlink_to(mine)
    if name == "q.jsonl":
        tell(received, task=jsonl())
        monkeypatch.chdir(received)
    message = refusal(received, trusted=True)
    assert "link that leads out of the folder" in message
    assert "s3cret" not in message


def test_a_link_inside_the_folder_is_followed(received: Path) -> None:
    (received / "final" / "notes.txt").symlink_to(received / CONFIG_FILE)
    (received.parent / "link").symlink_to(received / "final")
    assert config_of(received.parent / "link", []).task == Countdown()


@pytest.mark.parametrize("part", ["../../mine.safetensors", "/mine.safetensors", 3])
def test_weights_that_lie_elsewhere_are_refused(received: Path, part: Any) -> None:
    (received / "final" / trust.PARTS).write_text(json.dumps({"weight_map": {"x": part}}))
    assert "no file beside it" in refusal(received)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '{"task": 3}', '{"task": []}', "\0"])
def test_a_damaged_config_is_one_line(received: Path, text: str) -> None:
    (received / CONFIG_FILE).write_text(text)
    assert "holds no trial's config" in refusal(received)


@pytest.mark.parametrize("name", ["rows.Row", "jsonl.Jsonl.grade", "templates.Plain", "nowhere.X"])
def test_what_is_ours_but_no_task_is_one_line(received: Path, name: str) -> None:
    tell(received, task={"_target_": f"harness.tasks.{name}"})
    refusal(received)


def test_a_damaged_checkpoint_is_not_measured(received: Path) -> None:
    digests.write(received / "final")
    assert config_of(received / "final", []).task == Countdown()
    (received / "final" / "config.json").write_text('{"a": 1}')
    assert "is damaged: config.json is not what was written" in refusal(received)


def test_every_name_of_a_file_in_our_plugins_is_known() -> None:
    """A new plug-in that reads what a text field names must be asked about as well."""
    harmless = {"prompt", "answer", "example", "operators", "stop", "grader"}
    found = set()
    for package in (harness.tasks, harness.rollout):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for cls in vars(importlib.import_module(module.name)).values():
                if isinstance(cls, type) and dataclasses.is_dataclass(cls) and _is_config(cls):
                    fields = dataclasses.fields(cls)
                    found |= {
                        f.name for f in fields if "str" in str(f.type) and "dict" not in str(f.type)
                    }
    assert found <= harmless | set(trust.READ)
    assert found >= set(trust.READ)


def _is_config(cls: type) -> bool:
    """Tasks, templates and engines; the rest is never made from a file."""
    return any(hasattr(cls, name) for name in ("held_out", "render", "alone"))


class Bomb:
    """Pickled, it is a call that leaves a canary behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("kind", ["pickled weights", "garbage weights", "config", "tokenizer"])
def test_a_model_brings_no_code(source: Source, tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(source.path, tmp_path / "model"))
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    foreign = dataclasses.replace(source, path=str(folder), tokenizer=str(folder))
    if kind == "pickled weights":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary), 2))
    elif kind == "garbage weights":
        (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    else:
        name = {"config": "config.json", "tokenizer": "tokenizer_config.json"}[kind]
        own = json.loads((folder / name).read_text())
        own.pop("tokenizer_class", None)
        code = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
        own |= {"auto_map": {**code, "AutoTokenizer": ["evil.T", "evil.T"]}}
        if kind == "config":
            own["model_type"] = "evil"
        (folder / name).write_text(json.dumps(own))
    if kind == "tokenizer":
        (folder / "config.json").write_text('{"model_type": "evil"}')
    with pytest.raises(ConfigError) as caught:
        foreign.tokens if kind == "tokenizer" else foreign.model()
    assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_a_chat_template_cannot_reach_python(tokenizer: Any) -> None:
    """transformers renders it in jinja's sandbox."""
    from jinja2.exceptions import SecurityError

    tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(SecurityError):
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)


@pytest.mark.parametrize(("answer", "allowed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks(answer: str, allowed: bool) -> None:
    here, there = pty.openpty()
    code = "from pathlib import Path; from harness.commands.trust import ask; "
    code += "ask(['import a.b', 'read /c'], Path('trial.json'), trust=False)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=there,
        stdout=there,
        stderr=there,
        env=command()["env"],
    ) as process:
        os.close(there)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(here, 1024)
        os.write(here, answer.encode())
    os.close(here)
    assert b"'trial.json' would import a.b, read /c" in shown
    assert (process.returncode == 0) == allowed


def test_the_command_runs_no_shell_from_a_questions_answer(received: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"prompt": "Q", "answer": f"touch {canary}"}) + "\n")
    tell(received, task=jsonl("subprocess.getoutput", path=str(questions)))
    settings = command()
    settings["args"] = [sys.executable, "-m", "harness.evaluate", str(received / "final")]
    done = subprocess.run(**settings, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    for named in ("task.grader=subprocess.getoutput", f"task.path={questions}", "trust=true"):
        assert named in done.stderr
    assert not canary.exists()


def test_code_that_changed_since_the_trial_is_named(
    tmp_path: Path, composed: Callable[..., Any]
) -> None:
    config, final = composed("task=coin"), tmp_path / "final"
    now = code_now(config)
    (tmp_path / "identity.json").write_text(json.dumps({"code": now}))
    assert differing(final, config) == []
    edited = {**now, "harness.tasks.coin": "0" * 64, "elsewhere": "1" * 64}
    (tmp_path / "identity.json").write_text(json.dumps({"code": edited}))
    (line,) = differing(final, config)
    assert line.startswith("note: the code of harness.tasks.coin changed since the trial ran")
    (tmp_path / "identity.json").write_text("no JSON")
    assert differing(final, config) == []  # nothing is known of what it was


def test_a_mistyped_key_of_the_command_itself_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", str(tmp_path), "promt=0"])
    assert evaluate.main() == 2
    assert "unknown key 'promt'; did you mean prompt?" in capsys.readouterr().err


# --- device, numeric type and layout --------------------------------------------------------------


def test_the_layout_is_the_trials_in_one_process(received: Path) -> None:
    """A trial of two ranks with bfloat16 passes, offload and two threads."""
    sharding = Sharding(precision=Precision.BFLOAT16, offload=True, checkpointing=True)
    trainer = Trainer(ranks=2, threads=2, device=Device.CUDA, sharding=sharding, token_budget=512)
    model = {"_target_": "harness.models.hf.HuggingFace", "path": "x", "dtype": "bfloat16"}
    tell(received, trainer=resolved(trainer), model=model)
    config = config_of(received / "final", [])
    kept = config.trainer
    assert (kept.device, kept.threads, kept.ranks) == (Device.CUDA, 2, 1)
    assert (kept.sharding, kept.token_budget) == (Sharding(precision=Precision.BFLOAT16), 512)
    assert config.model.dtype.value == "bfloat16"
    assert unsaid(received / "final", config) == []
    other = config_of(received / "final", ["trainer.device=cpu", "model.dtype=float32"])
    assert (other.trainer.device, other.model.dtype.value) == (Device.CPU, "float32")
    assert other.trainer.threads == 2, "the rest is the trial's"


def test_a_stored_layout_is_data_and_imports_nothing(received: Path, hostile: Path) -> None:
    model = {"dtype": "${oc.env:SECRET}", "attention": "sdpa model.path=x"}
    tell(received, trainer={"optimizer": STRANGE}, model=model)
    assert "trainer.optimizer._target_ must be" in refusal(received, trusted=True)
    assert not hostile.exists()
    tell(received, model=model)
    assert config_of(received / "final", []).model.dtype.value == "float32"


def test_what_says_nothing_of_its_layout_is_not_measured_in_silence(received: Path) -> None:
    tell(received)
    config = config_of(received / "final", [])
    (line,) = unsaid(received / "final", config)
    assert "measured in float32 on cpu, with 1 thread(s): choose with trainer.device=" in line


def test_a_checkpoint_of_a_gpu_is_not_scored_on_a_cpu_unless_asked(received: Path) -> None:
    """Here is no GPU: the command says so before it loads anything."""
    tell(received, trainer=resolved(Trainer(device=Device.CUDA)))
    done = subprocess.run(
        [sys.executable, "-m", "harness.evaluate", str(received / "final")],
        **{k: v for k, v in command().items() if k != "args"},
        cwd=received,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "torch sees no GPU here; set trainer.device=cpu" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_bfloat16_repeats_its_trial_to_the_bit_and_the_engine_comes_first(
    work: Path, composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in bfloat16 give what float32 shards give that are cast for each pass."""
    sharding = "trainer.sharding={fsdp:true,precision:bfloat16}"
    few = ("budget.amount=2", "evaluation.every=1.0", sharding)
    config = composed(*SMALL, *few, f"runs={work / 'runs'}", "tracking=none")
    result = run_trial(config, lambda step, progress, metrics: None)
    folder = trial_folder(config) / "final"
    again = config_of(folder, [])
    assert again.trainer.sharding == Sharding(precision=Precision.BFLOAT16)
    order: list[str] = []
    engine, model = Transformers.engine, Source.model

    def engine_made(self: Transformers, source: Source, *rest: Any) -> Any:
        order.append(f"engine in {source.dtype}")
        return engine(self, source, *rest)

    def model_made(self: Source) -> Any:
        order.append("model")
        return model(self)

    monkeypatch.setattr(Transformers, "engine", engine_made)
    monkeypatch.setattr(Source, "model", model_made)
    metrics, _ = measured(again, last_step(folder))
    assert order[0] == "engine in torch.bfloat16"
    assert order[-1] == "model"
    assert metrics.items() <= result.items()
