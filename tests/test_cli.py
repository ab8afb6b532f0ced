"""The command line: what it prints, what it refuses, and what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import cli
from tests.conftest import SMALL, Here, command, harness

# What a single trial has no use for.
SLOW = ("ray", "mlflow", "sklearn", "scipy.stats", "pandas", "matplotlib", "datasets")
BAD = [
    (["algorithm=nope"], ["algorithm=nope", "dr_grpo", "grpo"]),
    (["task=coin", "-m", "seed=0,1"], ["seed=0,1", "-m", "before all overrides or behind them"]),
    (["algorithm.nope=1"], ["algorithm.nope", "group_size"]),
    (["nope=1"], ["nope"]),
    (["-m", "+ablation=nope"], ["ablation=nope", "length_bias"]),
    (["+ablation=length_bias"], ["-m"]),
    (["algorithm.group_size=many"], ["algorithm.group_size", "many"]),
    (["algorithm.clip_low=yes"], ["algorithm.clip_low"]),
    (["seed=abc"], ["seed", "abc"]),
    (["seed=-1"], ["seed", "-1"]),
    (["-m", "seed=0,abc"], ["seed", "abc"]),
    (["-m", "seed=range(0,0)"], ["no trial", "seed"]),
    (["-m", "seed=0,0"], ["seeds repeat"]),
    (["-m", "name=../x", "seed=0,1"], ["name", "'../x'", "letters, digits"]),
    (["-m", "name=a,b", "seed=0,1"], ["name", "one grid"]),
    (["-m", "name=trials", "seed=0,1"], ["trials", "single runs"]),
    (["-m", "name=length_bias", "seed=0,1"], ["length_bias", "ablation file", "another name"]),
    (["-m", "+ablation=length_bias", "name=mine"], ["name=mine", "length_bias", "leave name out"]),
    (["name=mine"], ["name=mine", "-m"]),
    (["-m", "+ablation=length_bias", "algorithm=grpo,dr_grpo"], ["algorithm=grpo,dr_grpo", "seed"]),
    (["-m", "seed=interval(0,3)"], ["interval", "listed"]),
    (["model=hf"], ["model.path"]),
    (["model=hf", "model.path=./nowhere"], ["./nowhere", "folder"]),
    (["model=hf", "model.path=.", "task/template=tinyzero_base"], ["config.json"]),
    (["rollout.top_p=0.9"], ["top_p=0.9", "importance ratios", "rollout.accept_truncated=true"]),
    (["window=cosine", "rollout.min_new_tokens=40"], ["smallest window is 32", "40"]),
    (["algorithm=rloo", "algorithm.group_size=1"], ["group_size", "at least 2"]),
    (["algorithm=gspo", "algorithm.clip_low=1.5"], ["clip_low", "1.5"]),
    (["window=adaptive", "window.initial=999"], ["window.initial", "999"]),
    (["reward=sum"], ["reward.parts is empty"]),
    (["task=mixture", "task.weights.countdown=0"], ["task.weights.countdown", "above 0"]),
    (["algorithm.group_size=1"], ["group_size", "at least 2", "1"]),
    (["runs=file.txt/runs"], ["runs", "file.txt/runs"]),
    (["budget.unit=hours"], ["budget.unit", "hours", "updates", "tokens"]),
    (["evaluation.every=0"], ["evaluation.every", "(0, 1]"]),
    (["task.train_size=100000"], ["task.train_size", "lower"]),
    (["algorithm=grpo,dr_grpo"], ["several values", "with -m"]),
    (["trainer.ranks=3"], ["trainer.ranks", "trainer.prompts_per_step=32", "3"]),
    (["trainer.ranks=0"], ["trainer.ranks", "at least 1"]),
    (["trainer.device=tpu"], ["trainer.device", "tpu", "cpu"]),
    (["trainer.sharding.offload=true"], ["offload", "trainer.sharding.fsdp=true"]),
    (["trainer.sharding.precision=bfloat16"], ["precision", "trainer.sharding.fsdp=true"]),
    (["algorithm=ppo", "algorithm.dual_clip=1.1"], ["algorithm.dual_clip", "1.1", "null is off"]),
    (["algorithm=["], ["algorithm=[", "no", "KEY=VALUE"]),
    (["algorithm.clip_low"], ["algorithm.clip_low"]),
    (["algorithm=grop"], ["did you mean algorithm=grpo?"]),
    (["-m", "algorithm=grpo,drgrpo"], ["did you mean algorithm=dr_grpo?"]),
    (["-m", "+ablation=lenght_bias"], ["did you mean ablation=length_bias?"]),
    (["task/template=chatt"], ["did you mean task/template=chat?"]),
    (["algorithm.groupsize=4"], ["did you mean algorithm.group_size?", "valid: clip_high"]),
    (["+algorithm.groupsize=4"], ["did you mean algorithm.group_size?", "valid: clip_high"]),
    (["++algorithm.groupsize=4"], ["did you mean algorithm.group_size?"]),
    (["-m", "algorithm.groupsize=4,5"], ["did you mean algorithm.group_size?"]),
    (["~algorithm.clip"], ["unknown key 'algorithm.clip'", "clip_low"]),
    (["trainer.optimzer.clip=1"], ["did you mean trainer.optimizer?"]),
    (["sed=1"], ["did you mean seed?"]),
    (["algoritm=grpo"], ["did you mean algorithm?"]),
    (["model=hf", "model.pth=x"], ["did you mean model.path?"]),
    (["+algorithm=grpo"], ["chosen already", "algorithm=NAME"]),
    (["+seed=1"], ["there already", "seed=VALUE"]),
    (["seed=a,b"], ["'seed=a,b' is several values", "with -m"]),
    (["seed=range(1,3)"], ["several values", "with -m"]),
    (["algorithm=[grpo]"], ["algorithm needs exactly one choice"]),
    (["-m", "algorithm=[grpo]"], ["algorithm needs exactly one choice"]),
    (["~algorithm"], ["algorithm needs exactly one choice"]),
    (["trainer=1"], ["unknown choice 'trainer=1'", "default"]),
    (["algorithm=null"], ["unknown choice 'algorithm=null'"]),
    (["budget=5"], ["budget must be a group of keys (unit, amount), received 5"]),
    (["--nope"], ["--nope", "harness --help"]),
    (["seed"], ["'seed' is not KEY=VALUE"]),
    (["=1"], ["'=1' is not KEY=VALUE"]),
    (["hydra.searchpath=[pkg://nope.conf]"], ["hydra.searchpath: nothing there", "nope.conf"]),
    *(
        (
            [f"trainer.optimizer.learning_rate={value}"],
            ["learning_rate must be", f"received {shown}"],
        )
        for value, shown in (
            *(("abc", "'abc'"), ("-0.001", "-0.001"), ("0", "0"), ("null", "null")),
            *(("true", "true"), ("nan", "nan"), ("inf", "inf"), ("[1]", "[1]"), ("", "''")),
        )
    ),
    (["task=jsonl"], ["task.grader (import path of function(response: str, answer: str) -> bool)"]),
    (["trainer.importance_cap=0"], ["trainer.importance_cap must be above 0, received 0"]),
    (["trainer.old_logprobs=both"], ["trainer.old_logprobs", "both", "trainer, sampler"]),
    (
        ["trainer.old_logprobs=sampler", "trainer.importance_cap=2"],
        ["trainer.importance_cap", "received 2", "trainer.old_logprobs=trainer"],
    ),
    (["model.architecture.heads=3"], ["model.architecture.heads", "received 3"]),
]
if not torch.cuda.is_available():
    BAD.append((["trainer.device=cuda"], ["trainer.device=cuda", "no GPU", "trainer.device=cpu"]))


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["conf", "sweeps", "analysis"])
def test_a_file_that_stands_before_a_package_of_ours_is_named_and_not_run(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("print('it was run')")
    done = harness(tmp_path, "dry_run=true")
    said = f"error: {tmp_path / name}.py is imported as {name!r}, which is a package of the harness"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda x: " ".join(x)[:40])
def test_bad_input_gets_one_line_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    (tmp_path / "file.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as harness.__main__ sets it
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    assert cli.run() == 2
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert contents(tmp_path) == {"file.txt"}


def test_the_real_process_says_the_same(tmp_path: Path) -> None:
    done = harness(tmp_path, "algorithm=nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert contents(tmp_path) == set()


def test_help_names_the_choices_and_the_commands(tmp_path: Path) -> None:
    done = harness(tmp_path, "--help")
    assert done.returncode == 0
    for words in (
        *("harness -m +ablation=length_bias", "algorithm=grpo", "seed=0"),
        *("def grade(response: str, answer: str) -> bool", "harness.evaluate --help"),
    ):
        assert words in done.stdout
    assert contents(tmp_path) == set()


def imported(folder: Path, names: tuple[str, ...], *arguments: str) -> tuple[list[str], Any]:
    """Which of some modules a command has imported at its very end, and what it printed."""
    probe = (
        "import atexit, json, sys\n"
        "from harness.__main__ import main\n"
        f"names = {names!r}\n"
        "atexit.register(lambda: print(json.dumps([n for n in names if n in sys.modules])))\n"
        f"sys.argv = ['harness', *{list(arguments)!r}]\n"
        "main()\n"
    )
    settings = {**command(), "args": [sys.executable, "-c", probe]}
    done = subprocess.run(**settings, cwd=folder, capture_output=True, text=True, timeout=120)
    *lines, last = done.stdout.splitlines(keepends=True)
    done.stdout = "".join(lines)
    return json.loads(last), done


def test_a_value_is_refused_before_anything_slow_is_imported(tmp_path: Path) -> None:
    found, done = imported(tmp_path, (*SLOW, "transformers"), "trainer.prompts_per_step=-1")
    assert (found, done.returncode, done.stdout) == ([], 2, "")
    assert "trainer.prompts_per_step" in done.stderr


@pytest.mark.commands
def test_a_single_run_says_where_it_is_and_a_second_one_that_it_is_finished(
    work: Path, here: Here
) -> None:
    found, first = imported(work, SLOW, *SMALL, "tracking=none")
    assert found == [], "without tracking"
    assert not (work / "runs" / "mlflow.db").exists()
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert first.stdout.count("held-out accuracy") == 6  # base, four evaluations, result
    folder = next((work / "runs" / "checkpoints").iterdir())
    assert {"best", "final", "trial.log", "step_6"} <= contents(folder)
    assert {"state.pt", "digests.json", ".metadata"} <= contents(folder / "step_6")
    for name in ("best", "final"):
        files = contents(folder / name)
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= files
    second = here(*SMALL)
    assert second.returncode == 0
    assert "finished before; fresh=true starts over" in second.stdout
    third = here(*SMALL, "fresh=true")
    assert third.stderr == ""
    again = third.stdout.splitlines()
    (shared,) = [line for line in again if line.startswith("the base's evaluation: ")]
    assert f"parts are those of {folder.name}, " in " ".join(shared.split())
    again.remove(shared)
    assert again[1:] == first.stdout.splitlines()[1:]
