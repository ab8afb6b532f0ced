"""The grader's limits, with graders that really raise, loop, sleep, leave and fork."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import Grading
from harness.errors import ConfigError, ContractError, GraderError
from harness.rollout.grading import ERRORS_FILE, Grader
from harness.types import Grade, Prompt, Rollout
from tests.conftest import ROOT, SMALL, Here
from tests.processes import alive, wait_for
from tests.rollout.graders import RETURNED, RIGHT, Graded, Local, Unimportable

CPU_S, WALL_S = 0.05, 0.6
CPU, WALL = "killed: more than 0.05 s of CPU time", "killed: more than 0.6 s"


def rollout_of(*texts: str) -> Rollout:
    rows = len(texts)
    prompt = Prompt(text="Q", item=0, problem="Q", difficulty=1, answer=None)
    return Rollout(
        prompts=(prompt,) * rows,
        prompt_ids=((1,),) * rows,
        group_B=torch.zeros(rows, dtype=torch.long),
        tokens_BT=torch.zeros(rows, 1, dtype=torch.long),
        mask_BT=torch.ones(rows, 1, dtype=torch.bool),
        logprobs_BT=torch.zeros(rows, 1),
        finished_B=torch.ones(rows, dtype=torch.bool),
        texts=texts,
    )


def grader_of(task: object, folder: Path = Path(), share: float = 1.0) -> Grader:
    limits = Grading(cpu_seconds=CPU_S, wall_seconds=WALL_S, max_error_share=share)
    made: Any = task
    return Grader(task=made, limits=limits, folder=folder)


def grades(name: str, *texts: str, folder: Path = Path(), share: float = 1.0) -> tuple[Grade, ...]:
    grader = grader_of(Graded(name, str(folder)), folder, share)
    try:
        return grader(rollout_of(*texts))
    finally:
        grader.close()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises", "ValueError: no number here"),
        ("loops", CPU),
        ("swallows", CPU),
        ("busy_in_c", CPU),
        ("powers", CPU),
        ("sleeps", WALL),
        ("waits", WALL),
        ("reads", "EOFError: EOF when reading a line"),
        ("exits", "SystemExit: 3"),
        ("is_interrupted", "KeyboardInterrupt"),
        ("raises_the_unspeakable", "MuteError"),
        ("leaves", "the grader ended its process with exit code 3"),
        ("leaves_well", "the grader ended its process with exit code 0"),
        ("aborts", "the grader's process was ended by SIGABRT"),
        ("kills_itself", "the grader's process was ended by SIGKILL"),
        ("closes_all", "the grader ended its process with exit code 1"),
        ("overflows", "RecursionError: maximum recursion depth exceeded"),
        ("forks_and_leaves", "the grader ended its process with exit code 4"),
    ],
)
def test_an_error_is_counted_and_the_others_are_graded(
    name: str, error: str, tmp_path: Path
) -> None:
    failed = Grade(correct=False, formatted=False, error=error)
    expected = (RIGHT, failed, RIGHT, failed)
    assert grades(name, "good", "bad", "good", "bad", folder=tmp_path) == expected


@pytest.mark.parametrize("name", RETURNED)
def test_what_is_no_grade_is_the_plugins_fault_and_names_it(name: str) -> None:
    with pytest.raises(ContractError, match=r"^tests\.rollout\.graders\.Graded\.grade returned "):
        grades(name, "good", "bad")


def test_a_task_that_says_that_it_is_at_fault_is_believed() -> None:
    with pytest.raises(ContractError, match=r"^says so itself$"):
        grades("faulty", "any")


def test_a_fork_that_comes_back_grades_nothing_more(tmp_path: Path) -> None:
    """Six responses, one grade each, in their order: the forks of the grader give none."""
    wrong = Grade(correct=False, formatted=True)
    made = grades("forks", "bad", "good", "bad", "good", "bad", "good", folder=tmp_path)
    assert made == (wrong, RIGHT) * 3
    assert len(list(tmp_path.glob("fork_0"))) == 1  # they did come back
    for child in children(tmp_path):
        wait_for(lambda pid=child: not alive(pid), 10)


@pytest.mark.parametrize("name", ["forks_and_leaves", "starts_a_sleeper"])
def test_what_a_grader_has_started_ends_with_it(name: str, tmp_path: Path) -> None:
    grades(name, "good", "bad", "good", folder=tmp_path)
    (child,) = children(tmp_path)
    wait_for(lambda: not alive(child), 10)


def children(folder: Path) -> list[int]:
    found = [int(path.name.removeprefix("fork_")) for path in folder.glob("fork_*")]
    return [pid for pid in found if pid]


@pytest.fixture
def grader(tmp_path: Path) -> Iterator[Grader]:
    made = grader_of(Graded("sleeps"), tmp_path)
    yield made
    made.close()


def test_the_first_response_of_a_process_may_load_things() -> None:
    """It has the wall limit only: here 0.6 s, in which the loop of 0.3 s of sleep fits."""
    assert grades("dozes", "bad", "bad") == (RIGHT, RIGHT)


def test_the_limit_holds_in_a_thread_as_under_ray() -> None:
    found: list[tuple[Grade, ...]] = []
    thread = threading.Thread(target=lambda: found.append(grades("loops", "good", "bad", "good")))
    thread.start()
    thread.join()
    assert [bool(grade.error) for grade in found[0]] == [False, True, False]


def test_one_process_grades_many_rollouts_and_a_closed_one_is_replaced(grader: Grader) -> None:
    first = grader._examiner.process.pid
    for _ in range(3):
        assert grader(rollout_of("good", "good")) == (RIGHT, RIGHT)
    assert grader._examiner.process.pid == first
    grader.close()
    assert not alive(first)
    assert grader(rollout_of("good")) == (RIGHT,)


def test_too_many_errors_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    texts = ["good"] * 7 + ["bad"]
    assert grades("raises", *texts, folder=tmp_path, share=1 / 8)[-1].error  # 1 of 8 is allowed
    assert not (tmp_path / ERRORS_FILE).exists()
    with pytest.raises(GraderError, match=r"1 of 8 responses.*0\.1 allows.*ValueError") as raised:
        grades("raises", *texts, folder=tmp_path, share=0.1)
    assert "\n" not in str(raised.value)
    assert "mend tests.rollout.graders.Graded" in str(raised.value)
    kept = json.loads((tmp_path / ERRORS_FILE).read_text())
    assert kept == [{"prompt": "Q", "response": "bad", "error": "ValueError: no number here"}]


def test_a_grader_that_always_hangs_is_not_waited_for_again_and_again(tmp_path: Path) -> None:
    """Two of eight may fail: the third that hangs is the last that is asked."""
    with pytest.raises(GraderError, match=r"^the grader failed on 3 of 8 responses"):
        grades("sleeps", *["bad"] * 8, folder=tmp_path, share=0.25)
    assert len(json.loads((tmp_path / ERRORS_FILE).read_text())) == 3


def test_a_task_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(ContractError, match=r"Local cannot be sent .*cannot pickle '_thread.lock'"):
        grader_of(Local(threading.Lock()))(rollout_of("any"))
    message = r"Unimportable cannot be sent to the process that grades \(ImportError: no such thing"
    with pytest.raises(ContractError, match=message):
        grader_of(Unimportable())(rollout_of("any"))


def test_the_process_that_grades_is_killed_by_somebody(grader: Grader) -> None:
    assert grader(rollout_of("good")) == (RIGHT,)
    os.kill(grader._examiner.process.pid, signal.SIGKILL)
    with pytest.raises(GraderError, match="exit code -9 by somebody else; the same command cont"):
        grader(rollout_of("good"))


ORPHANS = """
import sys
from pathlib import Path
from harness.config import Grading
from harness.rollout.grading import Examiner
from tests.rollout.graders import Graded

examiner = Examiner(Graded("starts_a_sleeper_and_sleeps", sys.argv[1]), Grading(wall_seconds=3600))
print(examiner.process.pid, flush=True)
examiner.answers([(None, "good", True), (None, "bad", True)], 0)
"""


def test_kill_9_of_the_trial_ends_all_who_grade(tmp_path: Path) -> None:
    """Killed in the midst of a response, whose grader has started a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ORPHANS, str(tmp_path)]
    trial = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert trial.stdout is not None
    examiner = int(trial.stdout.readline())
    wait_for(lambda: bool(children(tmp_path)), 60)
    trial.kill()
    trial.wait()
    for pid in (examiner, *children(tmp_path)):
        wait_for(lambda pid=pid: not alive(pid), 10)


def test_grading_needs_no_torch() -> None:
    """Each rank of each trial has one more process: it must be there soon, and be small."""
    tasks = ("coin", "countdown", "gsm8k", "jsonl", "mixture", "multiplication", "sum_to_ten")
    names = ", ".join(f"harness.tasks.{name}" for name in tasks)
    code = f"import sys, harness.rollout.examiner, {names}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert {"torch", "polars", "ray", "mlflow", "omegaconf"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_seconds": 0.0},
        {"wall_seconds": 0.5},
        {"wall_seconds": float("inf")},
        {"max_error_share": 1.5},
    ],
)
def test_limits_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"grading\.\w+ must be"):
        Grading(**wrong)


GRADER = """
def grade(response, answer):
    if "A" in response and response.split("A")[1][:1] == answer[:1]:
        raise RuntimeError("I am broken")
    return len(response) % 2 == 0
"""


def test_a_failing_grader_in_a_real_trial(
    work: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted while it is rare enough, and the end of the run when it is not."""
    (work / "my_grader.py").write_text(GRADER)
    digits = [(a, b, c) for a in range(1, 8) for b in range(1, 8) for c in range(1, 4)]
    rows = [{"prompt": f"Q{a} {b} {c}={a + b - c}?", "answer": str(a)} for a, b, c in digits]
    (work / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    base = next(path for path in (work / "runs" / "models").iterdir() if path.is_dir())
    small = [s for s in SMALL if not s.startswith(("model", "task", "budget", "evaluation.pass"))]
    request = (
        *("task=jsonl", "task.path=rows.jsonl", "task.grader=my_grader.grade", "model=hf"),
        *(f"model.path={base}", "task/template=plain", "tracking=none", *small),
        *("task.eval_size=16", "budget.amount=2", "evaluation.pass_k=0"),
    )
    monkeypatch.syspath_prepend(str(work))
    stopped = here(*request)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert stopped.stderr.startswith("error: the grader failed on ")
    assert stopped.stderr.count("\n") == 1
    trial = next((work / "runs" / "checkpoints").iterdir())
    kept = json.loads((trial / ERRORS_FILE).read_text())
    assert {row["error"] for row in kept} == {"RuntimeError: I am broken"}
    counted = here(*request, "grading.max_error_share=1")
    assert counted.returncode == 0, counted.stdout + counted.stderr
    logs = [path.read_text() for path in (work / "runs" / "checkpoints").glob("*/trial.log")]
    steps = [
        json.loads(line.partition("{")[1] + line.partition("{")[2])
        for log in logs
        for line in log.splitlines()
        if "loop: step 2 {" in line
    ]
    assert [0 < step["reward/error_rate"] < 1 for step in steps] == [True]
