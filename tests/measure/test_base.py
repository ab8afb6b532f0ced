"""The base's evaluation is made once, whoever asks, and what is found is what was made."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.config import digest
from harness.distributed.ranks import ALONE
from harness.facts import declared_metrics
from harness.launch import run_trial
from harness.measure.base import FACT, SHARED_S, Content, Kept, Piece
from harness.tracking.record import TABLES, read
from harness.trial import trial_folder
from tests.conftest import SMALL

KEY = "ab" * 32
# 0.1 + 0.2 is no short decimal, and the texts are no plain ones.
FIRST: Content = {
    "metrics": {"eval/accuracy": 0.1 + 0.2, "eval/kl": 5e-324},
    "table": {"item": [0, 1], "response": ["\ud800é", 'a"\n'], "correct": [True, False]},
}


class Trial:
    """One that asks for the base's evaluation; it knows what it made and what it was told."""

    def __init__(self, runs: Path, name: str, key: str = KEY) -> None:
        self.made: list[str] = []
        self.facts: dict[str, str] = {}
        self.while_making: Callable[[str], object] = lambda name: None
        self.kept = Kept(
            runs=runs,
            key=key,
            trial=f"{name}__s0__aa",
            record=f"{name}'s",
            ranks=ALONE,
            learn=self.facts.update,
        )

    def pieces(self, first: Content, *right: list[int]) -> list[Piece]:
        def piece(name: str, content: Content) -> Piece:
            def make() -> Content:
                self.made.append(name)
                self.while_making(name)
                return content

            return Piece(name=name, prompts=2, responses=2, make=make)

        counts = [piece(f"pass_{i}", {"right": own}) for i, own in enumerate(right)]
        return [piece("sampled", first), *counts]

    def asks(self, first: Content = FIRST, *right: list[int]) -> tuple[dict[str, Content], float]:
        return self.kept.made(self.pieces(first, *(right or ([3, 0], [1, 2]))))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr("harness.measure.base.say", lines.append)
    monkeypatch.setattr("harness.measure.base.warn", lines.append)
    return lines


def test_the_second_trial_finds_what_the_first_made(tmp_path: Path, said: list[str]) -> None:
    first, second = Trial(tmp_path, "grpo"), Trial(tmp_path, "ppo")
    made, shared = first.asks()
    assert (first.made, shared, said) == (["sampled", "pass_0", "pass_1"], 0.0, [])
    found, shared = second.asks({"metrics": {}, "table": {}}, [9, 9], [9, 9])
    assert (second.made, found) == ([], made)
    assert list(found) == ["sampled", "pass_0", "pass_1"]
    assert found["sampled"] == FIRST
    assert shared > 0
    assert len(said) == 1
    assert said[0].startswith("the base's evaluation: 3 of 3 parts are those of grpo__s0__aa, ")
    facts = json.loads(second.facts[FACT])
    (by,) = facts["made_by"]
    assert (facts["key"], by["trial"], by["record"], by["parts"]) == (
        *(KEY, "grpo__s0__aa", "grpo's"),
        3,
    )
    assert by["seconds"] == pytest.approx(shared, abs=1e-3)
    assert second.facts == first.facts  # one origin, whoever tells of it


def test_another_evaluation_is_made_anew(tmp_path: Path, said: list[str]) -> None:
    Trial(tmp_path, "grpo").asks()
    other = Trial(tmp_path, "grpo", key="cd" * 32)
    other.asks()
    assert len(other.made) == 3
    assert said == []


def test_two_at_once_make_different_parts(tmp_path: Path, said: list[str]) -> None:
    """While the first makes `sampled`, the second comes, makes the rest and then that as well.

    The second is done with `sampled` first, so that its counts; the first made nothing else.
    """
    first, second = Trial(tmp_path, "grpo"), Trial(tmp_path, "ppo")
    other: Content = {**FIRST, "metrics": {"eval/accuracy": 0.75}}
    found: list[Mapping[str, Content]] = []

    def meanwhile(name: str) -> None:
        found.append(second.asks(other)[0])

    first.while_making = meanwhile
    mine, _ = first.asks()
    assert second.made == ["pass_0", "pass_1", "sampled"]
    assert first.made == ["sampled"]
    assert mine == found[0]
    assert mine["sampled"]["metrics"] == {"eval/accuracy": 0.75}
    assert sorted(path.suffix for path in first.kept.folder.iterdir()) == ["", *[".json"] * 3]


def test_who_stands_still_is_not_waited_for(tmp_path: Path, said: list[str]) -> None:
    trial = Trial(tmp_path, "grpo")
    trial.kept.folder.mkdir(parents=True)
    with (trial.kept.folder / "sampled.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        trial.asks()
    assert trial.made == ["pass_0", "pass_1", "sampled"]


def test_after_a_kill_only_what_is_missing_is_made(tmp_path: Path, said: list[str]) -> None:
    class KilledError(Exception):
        pass

    def killed(name: str) -> None:
        if name == "pass_1":
            raise KilledError

    trial = Trial(tmp_path, "grpo")
    trial.while_making = killed
    with pytest.raises(KilledError):
        trial.asks()
    again = Trial(tmp_path, "grpo")
    found, shared = again.asks()
    assert again.made == ["pass_1"]
    assert found == Trial(tmp_path / "elsewhere", "grpo").asks()[0]
    assert (shared, said) == (0.0, [])  # it was this trial that had made the others


def resealed(plain: dict[str, Any], **changed: Any) -> str:
    """A file with another content and the checksum that belongs to it."""
    body = {**plain, **changed}
    body.pop("sha256")
    return json.dumps({**body, "sha256": digest(body)})


@pytest.mark.parametrize(
    ("planted", "reason"),
    [
        (lambda plain: json.dumps(plain)[:-20], "cannot be read"),
        (lambda plain: "[" * 100_000, "cannot be read"),
        (lambda plain: "[1]", "cannot be read"),
        (lambda plain: json.dumps(plain | {"more": 1}), "cannot be read"),
        (lambda plain: json.dumps(plain | {"seconds": 0.0}), "is not what was written"),
        (
            lambda plain: json.dumps(plain).replace("5e-324", "0.0"),
            "is not what was written",
        ),
        (lambda plain: resealed(plain, seconds="1"), "is not what was written"),
        (lambda plain: resealed(plain, key="cd" * 32), "is another evaluation's"),
        (lambda plain: resealed(plain, piece="pass_0"), "is another evaluation's"),
        (lambda plain: resealed(plain, content=[]), "does not hold what it should"),
        (lambda plain: resealed(plain, content={"right": [1]}), "does not hold what it should"),
        (
            lambda plain: resealed(
                plain, content={**FIRST, "metrics": {"eval/accuracy": float("nan")}}
            ),
            "does not hold what it should",
        ),
    ],
    ids=range(12),
)
def test_what_is_not_sound_is_made_again(
    tmp_path: Path, said: list[str], planted: Callable[[Any], str], reason: str
) -> None:
    first, second = Trial(tmp_path, "grpo"), Trial(tmp_path, "ppo")
    first.asks()
    path = first.kept.folder / "sampled.json"
    whole = path.read_text()
    path.write_text(planted(json.loads(whole)))
    found, _ = second.asks()
    assert second.made == ["sampled"]
    assert found["sampled"] == FIRST
    assert said.count(f"{path} {reason}: this part of the base's evaluation is made again") == 1
    assert json.loads(path.read_text())["record"] == "ppo's"
    assert Trial(tmp_path, "rloo").asks()[0] == found


def test_a_folder_in_a_parts_place_gives_way(tmp_path: Path, said: list[str]) -> None:
    first, second = Trial(tmp_path, "grpo"), Trial(tmp_path, "ppo")
    first.asks()
    path = first.kept.folder / "sampled.json"
    path.unlink()
    (path / "inside").mkdir(parents=True)
    assert second.asks()[0]["sampled"] == FIRST
    assert second.made == ["sampled"]
    assert f"{path} is no file of its folder" in said[0]
    assert Trial(tmp_path, "rloo").asks()[1] > 0
    assert path.is_file()


def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path: Path, said: list[str]) -> None:
    first, second = Trial(tmp_path, "grpo"), Trial(tmp_path, "ppo")
    first.asks()
    path = first.kept.folder / "sampled.json"
    path.rename(tmp_path / "away.json")
    os.symlink(tmp_path / "away.json", path)
    second.asks()
    assert second.made == ["sampled"]
    assert f"{path} is no file of its folder" in said[0]
    assert path.is_file()
    assert not path.is_symlink()


# --- whole trials ---------------------------------------------------------------------------------

ASKED = (*SMALL, "tracking=none", "evaluation.every=1", "task.eval_size=32")
VARIANTS = {
    "grpo": ("algorithm=grpo",),
    "ppo": ("algorithm=ppo", "algorithm.critic.shared=true", "reward=partial_credit"),
}


def test_a_trial_is_the_same_whether_it_shares_or_makes(
    work: Path, composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PPO after GRPO, in one runs folder, and PPO in a folder of its own: to the last bit."""
    lines: list[str] = []
    monkeypatch.setattr("harness.measure.base.say", lines.append)
    alone = work / "alone"
    shutil.copytree(work / "runs", alone)

    def ran(variant: str, runs: Path) -> tuple[Any, Path]:
        config = composed(*ASKED, *VARIANTS[variant], f"runs={runs}")
        declared, steps = declared_metrics(config), dict[int, dict[str, float]]()

        def observe(step: int, progress: float, metrics: Mapping[str, float]) -> None:
            steps[step] = {k: v for k, v in metrics.items() if not declared[k].clock}
            assert (SHARED_S in metrics) is (step == 0)

        run_trial(config, observe)
        return steps, trial_folder(config)

    _, first = ran("grpo", work / "runs")
    assert lines == []
    shared, second = ran("ppo", work / "runs")
    assert len(lines) == 1
    made, third = ran("ppo", alone)
    assert len(lines) == 1
    assert sorted(shared) == [0, 1, 2]  # eight updates, four of each rollout
    assert shared == made
    table = f"{TABLES}/step_000000.json"
    assert len({(folder / table).read_bytes() for folder in (first, second, third)}) == 1
    assert "samples_right" in json.loads((first / table).read_text())["columns"]
    records = [read(folder) for folder in (first, second, third)]
    origins = [json.loads(found.facts[FACT]) for found in records if found is not None]
    assert [by["trial"] for o in origins for by in o["made_by"]] == [
        *(first.name, first.name, third.name)
    ]
    assert {o["key"] for o in origins} == {origins[0]["key"]}
    before = [found.steps[0].metrics for found in records if found is not None]
    assert [metrics[SHARED_S] > 0 for metrics in before] == [False, True, False]
    assert all((folder / "best").is_dir() for folder in (first, second, third))
