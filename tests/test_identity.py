"""What a trial is, by content: each thing that decides its numbers is seen, and nothing else."""

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import TrialConfig
from harness.errors import ConfigError, ContractError
from harness.identity import Identity, changes, code_of, from_plain, identity_of, to_plain
from harness.models.loading import Source
from harness.tasks.jsonl import Jsonl
from tests.conftest import ROOT
from tests.machine.test_code import lay

BASE = Source(path="", tokenizer="", dtype=torch.float32, attention="sdpa", files={})
PLUG_IN = """from dataclasses import dataclass

from harness.algorithms.grpo import Grpo
from mine import helper


@dataclass(frozen=True)
class Mine(Grpo):
    def loss(self, minibatch):
        from .lazy import scaled

        return scaled(super().loss(minibatch), helper.SCALE)
"""
GRADER = (
    "from helps import same\n\ndef right(response, answer):\n    return same(response, answer)\n"
)
FILES = {
    "mine/__init__.py": "",
    "mine/crash.py": PLUG_IN,
    "mine/helper.py": "SCALE = 2\n",
    "mine/lazy.py": "def scaled(loss, by):\n    return loss\n",
    "grading.py": GRADER,
    "helps.py": "def same(a, b):\n    return a == b\n",
}
ROWS = {
    "train": [{"prompt": f"What is {i}?", "answer": str(i)} for i in range(20)],
    "test": [{"prompt": f"And {i}?", "answer": str(i)} for i in range(5)],
}
Composed = Callable[..., TrialConfig]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a copy of the harness's sources, a plug-in, a grader, questions, a model.

    Sources are looked for and not imported, so those of the copy may be edited.
    """
    copy = shutil.ignore_patterns("__pycache__")
    for package in ("harness", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=copy)
    shutil.copy(ROOT / "README.md", tmp_path)
    lay(tmp_path, FILES)
    for name, rows in ROWS.items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] in ("mine", "grading", "helps")]:
        del sys.modules[name]


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit(path: Path, line: str = "\nmore = 1\n") -> None:
    path.write_text(path.read_text() + line)


def questions(elsewhere: Path, **changed: Any) -> Jsonl:
    own = {"path": str(elsewhere / "train.jsonl"), "grader": "grading.right", **changed}
    return Jsonl(**own)


def mine() -> Any:
    from mine.crash import Mine

    return Mine()


def model_folder(folder: Path) -> Path:
    lay(folder, {"config.json": "{}", "tokenizer.json": "{}", "README.md": "a model"})
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


# --- code -----------------------------------------------------------------------------------------

# file -> whose trials it is part of
CORE_FILES = {
    "harness/loop.py": {"grpo", "ppo", "mine"},
    "harness/learner/update.py": {"grpo", "ppo", "mine"},
    "harness/maths/tensor_ops.py": {"grpo", "ppo", "mine"},
    "harness/rollout/transformers.py": {"grpo", "ppo", "mine"},
    "harness/tasks/countdown.py": {"grpo", "ppo", "mine"},
    "harness/rewards/binary.py": {"grpo", "ppo", "mine"},
    "harness/algorithms/grpo.py": {"grpo", "mine"},
    "harness/algorithms/ppo.py": {"ppo"},
    "harness/maths/returns.py": {"ppo"},
    "harness/algorithms/rloo.py": set(),
    "harness/tasks/gsm8k.py": set(),
    "harness/rollout/vllm.py": set(),
    "mine/crash.py": {"mine"},
    "mine/helper.py": {"mine"},
    "mine/lazy.py": {"mine"},
    "mine/__init__.py": {"mine"},
    "harness/cli.py": set(),
    "harness/launch.py": set(),
    "harness/commands/data.py": set(),
    "harness/tracking/__init__.py": set(),
    "harness/tracking/mlflow.py": set(),
    "harness/tracking/none.py": set(),
    "harness/machine/process.py": set(),
    "harness/identity.py": set(),
    "harness/errors.py": set(),
    "analysis/stats/differences.py": set(),
    "README.md": set(),
}


@pytest.fixture
def trials(composed: Composed, elsewhere: Path) -> dict[str, TrialConfig]:
    grpo = composed("algorithm=grpo")
    own = dataclasses.replace(grpo, algorithm=mine())
    return {"grpo": grpo, "ppo": composed("algorithm=ppo"), "mine": own}


def test_each_edit_makes_those_trials_stale_that_it_is_part_of(
    trials: dict[str, TrialConfig], elsewhere: Path
) -> None:
    before = {name: identity_of(config, BASE) for name, config in trials.items()}
    stale: dict[str, set[str]] = {}
    for file in CORE_FILES:
        source = (elsewhere / file).read_text()
        edit(elsewhere / file)
        module = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        now = {name: identity_of(config, BASE) for name, config in trials.items()}
        stale[file] = {name for name in trials if now[name].hash != before[name].hash}
        named = {tuple(changes(before[name], now[name])) for name in stale[file]}
        assert named <= {(f"code of {module}",)}
        (elsewhere / file).write_text(source)
    assert stale == CORE_FILES


def test_a_comment_a_docstring_and_a_touch_make_no_trial_stale(
    trials: dict[str, TrialConfig], elsewhere: Path
) -> None:
    before = identity_of(trials["mine"], BASE)
    for file in ("mine/crash.py", "harness/loop.py", "harness/algorithms/grpo.py"):
        edit(elsewhere / file, "\n\n# a comment\n")
        source = (elsewhere / file).read_text()
        (elsewhere / file).write_text(source.replace('"""', '"""Well: ', 1))
        os.utime(elsewhere / file)
    now = identity_of(trials["mine"], BASE)
    assert (now, changes(before, now)) == (before, [])
    assert now.hash == before.hash


def test_another_tracking_is_the_same_trial(composed: Composed) -> None:
    kept = identity_of(composed("tracking=mlflow"), BASE)
    assert identity_of(composed("tracking=none", "runs=elsewhere", "fresh=true"), BASE) == kept


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "in a mixture"])
@pytest.mark.parametrize(("file", "module"), [("grading.py", "grading"), ("helps.py", "helps")])
def test_a_grader_counts_with_what_lies_beside_it(
    composed: Composed, elsewhere: Path, nested: bool, file: str, module: str
) -> None:
    task: Any = questions(elsewhere)
    if nested:
        mixture = composed("task=mixture").task
        tasks = {**mixture.tasks, "mine": task}
        task = dataclasses.replace(mixture, tasks=tasks, weights=dict.fromkeys(tasks, 1.0))
    before = code_of([task], "harness.trial")
    edit(elsewhere / file, "\n# nothing\n")
    assert code_of([task], "harness.trial") == before
    edit(elsewhere / file)
    now = code_of([task], "harness.trial")
    assert [name for name in now if now[name] != before.get(name)] == [module]


def test_code_that_no_file_holds_is_refused(composed: Composed, elsewhere: Path) -> None:
    class Local(type(composed().reward)):
        """As one of a notebook."""

    Local.__module__ = "__main__"
    config = dataclasses.replace(composed(), reward=Local())
    with pytest.raises(ConfigError, match=r"module '__main__' is not to be found"):
        identity_of(config, BASE)


# --- data -----------------------------------------------------------------------------------------


def edited_rows(rows: list[dict[str, str]], column: str) -> list[dict[str, str]]:
    return [*rows[:-1], {**rows[-1], column: rows[-1][column] + "!"}]


@pytest.mark.parametrize("column", ["prompt", "answer"])
@pytest.mark.parametrize(
    ("name", "phrase"), [("train", "data: training pool"), ("test", "data: held-out set")]
)
def test_an_edited_row_is_named_by_its_set(
    composed: Composed, elsewhere: Path, column: str, name: str, phrase: str
) -> None:
    def now() -> Identity:
        task = questions(elsewhere, held_out_path=str(elsewhere / "test.jsonl"))
        return identity_of(dataclasses.replace(composed(), task=task), BASE)

    before = now()
    (elsewhere / f"{name}.jsonl").touch()
    assert now() == before
    write_rows(elsewhere / f"{name}.jsonl", edited_rows(ROWS[name], column))
    assert changes(before, now()) == [phrase]


def test_an_answer_that_is_no_data_is_refused(composed: Composed) -> None:
    task = composed("task.train_size=16", "task.eval_size=8").task
    prompts = [dataclasses.replace(p, answer=object()) for p in task.held_out()]
    task.__dict__["_sets"] = (task.pool(), tuple(prompts))
    with pytest.raises(ContractError, match="must be plain data"):
        identity_of(dataclasses.replace(composed(), task=task), BASE)


# --- model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "phrase"),
    [
        ("model.safetensors", "model weights model.safetensors"),
        ("tokenizer.json", "tokenizer tokenizer.json"),
        ("config.json", "model settings config.json"),
    ],
)
def test_files_of_the_model_are_named(
    composed: Composed, tmp_path: Path, file: str, phrase: str
) -> None:
    folder = model_folder(tmp_path / "base")
    config = composed("model=hf", f"model.path={folder}", f"runs={tmp_path / 'runs'}")

    def now() -> Identity:
        return identity_of(config, config.model.prepare(config.task, config.runs))

    before = now()
    (folder / "README.md").write_text("another text")
    (folder / file).touch()
    assert now() == before
    (folder / file).write_bytes(b"[" * len((folder / file).read_bytes()))
    assert changes(before, now()) == [phrase]


def test_a_critic_of_its_own_counts(composed: Composed, tmp_path: Path) -> None:
    critic = model_folder(tmp_path / "critic")
    config = composed("algorithm=ppo", f"algorithm.critic.path={critic}", f"runs={tmp_path}")
    before = identity_of(config, BASE)
    assert set(before.model) == {"critic weights/model.safetensors", "critic settings/config.json"}
    (critic / "model.safetensors").write_bytes(b"others!")
    assert changes(before, identity_of(config, BASE)) == ["critic weights model.safetensors"]
    gone = composed("algorithm=ppo", f"algorithm.critic.path={tmp_path / 'gone'}")
    with pytest.raises(ConfigError, match=r"^algorithm\.critic\.path: there is no folder"):
        identity_of(gone, BASE)


# --- words ----------------------------------------------------------------------------------------

A, B = "a" * 64, "b" * 64
SOME = Identity(config=A, code={"m": A}, model={"model revision": A[:40]}, data={"pool": A})


def test_many_changes_are_named_and_counted() -> None:
    names = ["a", "b", "c", "d", "e"]
    before = Identity(A, dict.fromkeys(names, A), {"tokenizer/x": A, "model revision": A}, {})
    now = Identity(B, dict.fromkeys(names, B), {"tokenizer/x": B, "model revision": B}, {})
    assert changes(before, now) == [
        "config",
        "code of a, b, c and 2 more",
        "model revision",
        "tokenizer x",
    ]
    added = dataclasses.replace(before, code={**before.code, "z": A})
    assert changes(before, added) == changes(added, before) == ["code of z"]
    odd = dataclasses.replace(before, code={**before.code, "\x1b[2J\u202e": A})
    assert changes(before, odd) == [r"code of '\x1b[2J\u202e'"]


def test_the_hash_is_of_all_of_it() -> None:
    others = [
        dataclasses.replace(SOME, config=B),
        dataclasses.replace(SOME, code={"m": B}),
        dataclasses.replace(SOME, code={"n": A}),
        dataclasses.replace(SOME, model={}),
        dataclasses.replace(SOME, data={"held_out": A}),
    ]
    assert len({identity.hash for identity in (SOME, *others)}) == 1 + len(others)


def test_an_identity_comes_back_from_json() -> None:
    assert from_plain(json.loads(json.dumps(to_plain(SOME)))) == SOME


GARBAGE: list[Any] = [
    *(None, [], {}, 3, "x", {"config": A}, {**to_plain(SOME), "_target_": "os.system"}),
    *({**to_plain(SOME), "config": value} for value in (None, "", "x" * 64, A + "\n", A.upper())),
    *({**to_plain(SOME), "code": value} for value in (None, [], "m", {"m": 3}, {"m": None})),
    {**to_plain(SOME), "code": {3: A}},
    {**to_plain(SOME), "model": {"m\n\x1b": {"_target_": "os.system"}}},
    {**to_plain(SOME), "data": {"pool": "rm -rf \n\x1b[2J"}},
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda g: ascii(g)[:40])
def test_garbage_is_refused_in_one_line(garbage: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x/identity\.json: .*; fresh=true") as caught:
        from_plain(garbage, "x/identity.json")
    assert str(caught.value).isprintable()
