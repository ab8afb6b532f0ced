"""Manifests on disk: what makes a revision, what stays, what is refused, and two at once."""

import dataclasses
import functools
import json
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from analysis.manifest import Manifest
from analysis.revisions import line, manifest_path, read_history, read_revisions, sealed
from harness.config import digest, trial_name
from harness.errors import ConfigError
from harness.identity import Identity
from harness.models.loading import Source
from harness.tracking.record import Status
from harness.tracking.writer import Writer
from sweeps.manifest import write_manifest
from sweeps.plan import Plan
from tests.conftest import ROOT
from tests.sweeps.test_plan import planned

NAME = "mine"
GRID = ("name=mine", "algorithm=grpo,dr_grpo")


def source(weights: str = "ab") -> Source:
    return Source("nowhere", "nowhere", torch.float32, "eager", {"model weights/w": weights * 32})


class Folder:
    """A runs folder and the lines that writing in it has printed."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.said: list[str] = []

    def write(
        self, plan: Plan, weights: str = "ab", code: str = "01", homes: Any = MappingProxyType({})
    ) -> Manifest:
        self.said.clear()
        sources = {label: source(weights) for label in plan.variants}
        content = Identity("", {"m": code * 32}, dict(source(weights).files), {})
        contents = dict.fromkeys(plan.variants, content)
        return write_manifest(plan, self.runs, sources, contents, homes, self.said.append)

    @property
    def path(self) -> Path:
        return manifest_path(self.runs, NAME)

    @property
    def revisions(self) -> list[Manifest]:
        history = read_revisions(self.runs, NAME)
        assert history.problems == []
        return history.revisions


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs")


@pytest.fixture(scope="module")
def grid() -> Callable[[str], Plan]:
    """The plan of a grid at some seeds, composed once each."""

    @functools.cache
    def plan(seeds: str, *more: str) -> Plan:
        return planned(*GRID, f"seed={seeds}", *more)

    return plan


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Plan]:
    """The plan of a user's ablation file, composed once: length_bias as `mine`, texts replaced."""
    folder = tmp_path_factory.mktemp("question")
    (folder / "ablation").mkdir()

    @functools.cache
    def plan(*pairs: tuple[str, str], command: tuple[str, ...] = ()) -> Plan:
        text = (ROOT / "sweeps" / "ablation" / "length_bias.yaml").read_text()
        for old, new in (("name: length_bias", f"name: {NAME}"), *pairs):
            assert old in text
            text = text.replace(old, new, 1)
        (folder / "ablation" / f"{NAME}.yaml").write_text(text)
        return planned(f"+ablation={NAME}", f"hydra.searchpath=[file://{folder}]", *command)

    return plan


def test_the_first_revision_is_sealed_and_printed(
    folder: Folder, question: Callable[..., Plan]
) -> None:
    written = folder.write(question())
    assert folder.said == [f"sealed {written.seal[:8]}: 5 predictions, 2 variants x 3 seeds"]
    (text,) = folder.path.read_text().splitlines()
    data = json.loads(text)
    assert data["seal"] == written.seal == sealed(data)
    assert (written.revision, written.previous, written.known) == (1, "", [])
    assert "_target_" not in {key for node in nodes(data) for key in node}
    assert folder.revisions == [written]
    assert [job.record for job in written.jobs] == [job.trial for job in written.jobs]


def nodes(data: Any) -> list[dict[str, Any]]:
    """Every mapping in JSON data."""
    items = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    found = [node for item in items for node in nodes(item)]
    return [data, *found] if isinstance(data, dict) else found


def test_the_same_plan_again_writes_nothing(folder: Folder, grid: Callable[..., Plan]) -> None:
    first = folder.write(grid("0,1"))
    before = folder.path.stat()
    assert folder.write(grid("0,1")) == first
    assert folder.path.stat().st_mtime_ns == before.st_mtime_ns
    assert folder.said == [f"sealed {first.seal[:8]}: 0 predictions, 2 variants x 2 seeds"]


def test_more_seeds_extend_the_plan_and_keep_the_old_evidence(
    folder: Folder, grid: Callable[..., Plan]
) -> None:
    first = folder.write(grid("0,1"))
    before = folder.path.read_bytes()
    second = folder.write(grid("0,1,2,3,4"))
    assert folder.path.read_bytes() == before + line(second)
    assert (second.revision, second.previous) == (2, first.seal)
    assert second.ablation.seeds == [0, 1, 2, 3, 4]
    assert second.jobs[: len(first.jobs)] == first.jobs
    assert "mine: revision 2 of the plan" in folder.said[0]
    assert "seeds added: 2, 3, 4" in folder.said[0]
    assert folder.said[1] == f"sealed {second.seal[:8]}: 0 predictions, 2 variants x 5 seeds"


def test_fewer_seeds_run_those_and_keep_the_rest(folder: Folder, grid: Callable[..., Plan]) -> None:
    first = folder.write(grid("0,1,2"))
    plan = grid("2")
    assert folder.write(plan) == first
    assert [job.seed for job in plan.jobs] == [2, 2]
    assert folder.said[0] == "mine: seeds [0, 1] stay in the plan; this command leaves them out"
    assert len(folder.revisions) == 1


def test_other_seeds_join_those_that_are_planned(folder: Folder, grid: Callable[..., Plan]) -> None:
    first = folder.write(grid("0,1"))
    second = folder.write(grid("5"))
    assert second.ablation.seeds == [0, 1, 5]
    assert {job.trial for job in first.jobs} < {job.trial for job in second.jobs}
    assert "seeds [0, 1] stay in the plan" in folder.said[0]
    assert "seeds added: 5" in folder.said[1]


def test_seeds_beside_a_file_are_a_deviation_of_the_whole_plan(
    folder: Folder, question: Callable[..., Plan]
) -> None:
    assert folder.write(question(command=("seed=0,1",))).deviations == [
        "seeds [0, 1, 2] replaced by [0, 1]"
    ]
    assert folder.write(question()).deviations == []
    assert folder.write(question(command=("seed=1",))).deviations == []
    assert folder.write(question(command=("seed=7",))).deviations == [
        "seeds [0, 1, 2] replaced by [0, 1, 2, 7]"
    ]


CHANGES = [
    (("margin: 2.0", "margin: 5.0"), "prediction 1 (dr_grpo − grpo on eval/response_length/wrong)"),
    (("margin: 2.0", "margin: 5.0"), "margin 2.0 -> 5.0"),
    (("relation: less", "relation: greater"), "relation less -> greater"),
    (("question: Do", "question: Why do"), "question 'Do GRPO's"),
    (("The two corrections", "Both corrections"), "hypothesis"),
    (("checkpoint: last", "checkpoint: best"), "primary: checkpoint last -> best"),
    (("baseline: grpo\nvariants", "baseline: dr_grpo\nvariants"), "baseline grpo -> dr_grpo"),
    (("amount: 50", "amount: 60"), "budget 50 updates -> 60 updates"),
    (("[algorithm=dr_grpo]", "[algorithm=dr_grpo, seed=0]"), "variant dr_grpo"),
    (("overrides: [algorithm=grpo]", "overrides: [algorithm=grpo, algorithm.std_epsilon=1e-4]"),
     "config of grpo"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), CHANGES)
def test_a_changed_question_is_a_new_revision_that_says_so(
    folder: Folder, question: Callable[..., Plan], edit: tuple[str, str], words: str
) -> None:
    first = folder.write(question())
    before = folder.path.read_bytes()
    second = folder.write(question(edit))
    assert folder.path.read_bytes() == before + line(second)
    assert second.previous == first.seal
    assert words.replace("'Do GRPO's", "") in folder.said[-2]
    assert "the earlier ones are kept" in folder.said[-2]
    assert read_revisions(folder.runs, NAME).revisions[-1] == second


def test_another_budget_plans_only_the_seeds_that_are_named(
    folder: Folder, grid: Callable[..., Plan]
) -> None:
    folder.write(grid("0,1"))
    second = folder.write(grid("0", "budget.amount=2"))
    assert second.ablation.seeds == [0]
    assert "seeds dropped: 1" in folder.said[0]
    assert "budget 50 updates -> 2 updates" in folder.said[0]
    third = folder.write(grid("0,1"))
    assert [job.trial for job in third.jobs] == [job.trial for job in folder.revisions[0].jobs]


def test_another_variant_keeps_the_seeds_that_are_planned(
    folder: Folder, grid: Callable[..., Plan]
) -> None:
    folder.write(grid("0,1"))
    wider = planned("name=mine", "algorithm=grpo,dr_grpo,rloo", "seed=0")
    second = folder.write(wider)
    assert [(job.variant, job.seed) for job in second.jobs] == [
        (label, seed) for seed in (0, 1) for label in ("grpo", "dr_grpo", "rloo")
    ]
    assert "variants added: rloo" in folder.said[1]


def test_other_content_is_a_new_revision(folder: Folder, grid: Callable[..., Plan]) -> None:
    plan = grid("0,1")
    trial = trial_name(plan.jobs[0])
    folder.write(plan)
    folder.write(plan, "cd")
    assert f"base model {source().hash[:8]} -> {source('cd').hash[:8]}" in folder.said[0]
    known = folder.write(plan, "cd", code="02")
    codes = [digest({"m": code * 32})[:8] for code in ("01", "02")]
    assert f"code {codes[0]} -> {codes[1]}" in folder.said[0]
    assert "identity of" in folder.said[0]
    assert folder.write(plan, "cd", code="02") == known
    other = folder.runs / "checkpoints" / "other__s0__00000000"
    moved = folder.write(plan, "cd", code="02", homes={trial: other})
    assert f"record of {trial} {trial} -> other__s0__00000000" in folder.said[0]
    assert folder.write(plan, "cd", code="02") == moved, "who does not ask does not forget"
    assert len(folder.revisions) == 4


def test_a_revision_notes_down_which_trials_had_a_result(
    folder: Folder, grid: Callable[..., Plan]
) -> None:
    first = folder.write(grid("0,1"))
    done = first.jobs[2].trial
    (folder.runs / "checkpoints" / done).mkdir(parents=True)
    writer = Writer(folder.runs / "checkpoints" / done)
    writer.start({}, first.seal)
    writer.step(0, {"budget/updates": 0.0})
    assert folder.write(grid("0,1")).known == []
    writer.end(Status.FINISHED)
    assert folder.write(grid("0,1")).known == []
    assert folder.write(grid("0,1,2")).known == [done]


def test_the_plan_of_a_grid_and_that_of_a_file_do_not_mix(
    folder: Folder, grid: Callable[..., Plan], question: Callable[..., Plan]
) -> None:
    folder.write(question())
    before = folder.path.read_bytes()
    with pytest.raises(ConfigError, match="plan of an ablation file of that name, received a grid"):
        folder.write(grid("0,1"))
    assert folder.path.read_bytes() == before


# --- damage --------------------------------------------------------------------------------------


def test_a_line_that_was_cut_anywhere_does_not_count_and_is_cut_off(
    folder: Folder, grid: Callable[..., Plan]
) -> None:
    """A kill while it is written can leave any number of its bytes."""
    first = folder.write(grid("0,1"))
    whole = line(first)
    second = line(folder.write(grid("0,1,2")))
    for length in (1, 2, len(second) // 2, len(second) - 2):
        folder.path.write_bytes(whole + second[:length])
        assert folder.revisions == [first]
        assert folder.write(grid("0,1")) == first, "nothing to write"
        assert folder.path.read_bytes() == whole + second[:length]
        again = folder.write(grid("0,1,2"))
        assert folder.path.read_bytes() == whole + line(again)
        assert "cut short" in folder.said[0]


def test_a_line_that_only_lacks_its_end_counts(folder: Folder, grid: Callable[..., Plan]) -> None:
    first = folder.write(grid("0,1"))
    folder.path.write_bytes(line(first)[:-1])
    assert folder.revisions == [first]
    second = folder.write(grid("0,1,2"))
    assert folder.path.read_bytes() == line(first) + line(second)


@pytest.mark.parametrize("content", [b"", b'{"abla'])
def test_a_file_without_a_whole_line_is_written_anew(
    folder: Folder, grid: Callable[..., Plan], content: bytes
) -> None:
    folder.path.parent.mkdir(parents=True)
    folder.path.write_bytes(content)
    first = folder.write(grid("0,1"))
    assert folder.path.read_bytes() == line(first)


@pytest.mark.parametrize("content", [b"null\n", b"[]\n", b"\n", b"\x00\xff\n", b'{"seal":1}\n'])
def test_a_damaged_file_stops_the_sweep_in_one_line_and_stays(
    folder: Folder, grid: Callable[..., Plan], content: bytes
) -> None:
    folder.path.parent.mkdir(parents=True)
    folder.path.write_bytes(content)
    with pytest.raises(ConfigError, match="line 1 is no revision") as refusal:
        folder.write(grid("0,1"))
    assert "\n" not in str(refusal.value)
    assert "plans anew" in str(refusal.value)
    assert folder.path.read_bytes() == content


@pytest.mark.parametrize(
    "edit", [(b'"seeds":[0,1]', b'"seeds":[0,7]'), (b'"revision":1', b'"revision":2')]
)
def test_an_edited_file_stops_the_sweep_in_one_line_and_stays(
    folder: Folder, grid: Callable[..., Plan], edit: tuple[bytes, bytes]
) -> None:
    content = line(folder.write(grid("0,1"))).replace(*edit)
    folder.path.write_bytes(content)
    with pytest.raises(ConfigError, match="revision 1 was edited after it was written") as refusal:
        folder.write(grid("0,1,2"))
    assert "\n" not in str(refusal.value)
    assert folder.path.read_bytes() == content


def test_a_manifest_that_is_a_folder_is_refused(folder: Folder, grid: Callable[..., Plan]) -> None:
    folder.path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read"):
        folder.write(grid("0,1"))


def test_a_disk_that_takes_no_more_is_one_line_and_loses_nothing(
    folder: Folder, grid: Callable[..., Plan]
) -> None:
    """A limit on the size of files stops the writing in mid-line, as a full disk does."""
    first = folder.write(grid("0,1"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(line(first)) + 100, hard))
    try:
        with pytest.raises(ConfigError, match=r"cannot be written \(File too large\)") as refusal:
            folder.write(grid("0,1,2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(refusal.value)
    assert len(folder.path.read_bytes()) > len(line(first))
    assert folder.revisions == [first]
    second = folder.write(grid("0,1,2"))
    assert folder.path.read_bytes() == line(first) + line(second)


def test_a_broken_chain_is_seen(folder: Folder, grid: Callable[..., Plan]) -> None:
    folder.write(grid("0"))
    folder.write(grid("0,1"))
    lines = folder.path.read_bytes().splitlines(keepends=True)
    folder.path.write_bytes(lines[1] + lines[0])
    assert len(read_history(folder.path).problems) == 2
    folder.path.write_bytes(lines[1])
    (problem,) = read_history(folder.path).problems
    assert "does not follow the one before" in problem
    forged = dataclasses.replace(json_manifest(lines[0]), command="forged")
    folder.path.write_bytes(line(forged) + lines[1])
    (problem,) = read_history(folder.path).problems
    assert "revision 1 was edited" in problem


def json_manifest(text: bytes) -> Manifest:
    from analysis.fixed import read

    manifest: Manifest = read(Manifest, json.loads(text))
    return manifest


def test_writers_at_once_make_one_chain(folder: Folder, grid: Callable[..., Plan]) -> None:
    """Each holds the lock on its own file handle, as processes do."""
    plans = [grid(seed) for seed in ("0", "1", "2", "0,1")]
    threads = [threading.Thread(target=Folder(folder.runs).write, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revisions = folder.revisions
    assert revisions[-1].ablation.seeds == [0, 1, 2]
    assert 2 <= len(revisions) <= 4
    assert len(revisions[-1].jobs) == 6
