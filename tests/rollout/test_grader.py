"""The grader's limits, with graders that really raise, loop and dawdle."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import Grading
from harness.errors import ConfigError, ContractError, GraderError
from harness.rollout.grading import ERRORS_FILE, Grader
from harness.types import Grade, Prompt, Rollout
from tests.conftest import SMALL, harness

RIGHT = Grade(correct=True, formatted=True)
LIMIT_S = 0.05


class Graded:
    """A task that grades with a function of the response."""

    def __init__(self, function: Callable[[str], Grade]) -> None:
        self.function = function

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        return self.function(response)


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


def grades(
    function: Callable[[str], Grade], *texts: str, folder: Path = Path(), share: float = 1.0
) -> tuple[Grade, ...]:
    limits = Grading(cpu_seconds=LIMIT_S, max_error_share=share)
    task: Any = Graded(function)
    return Grader(task=task, limits=limits, folder=folder)(rollout_of(*texts))


def picky(response: str) -> Grade:
    if response == "bad":
        raise ValueError("no\nnumber here")
    return RIGHT


def looping(response: str) -> Grade:
    while response == "bad":
        pass
    return RIGHT


def swallowing(response: str) -> Grade:
    """As graders are written: whatever happens, the response is wrong."""
    try:
        return looping(response)
    except Exception:
        return Grade(correct=False, formatted=True)


def busy_in_c(response: str) -> Grade:
    if response == "bad":
        sum(itertools.repeat(1, 30_000_000))  # one call, which nothing can interrupt
    return RIGHT


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (picky, "ValueError: no number here"),
        (looping, "more than 0.05 s of CPU time"),
        (swallowing, "more than 0.05 s of CPU time"),
        (busy_in_c, "more than 0.05 s of CPU time"),
    ],
)
def test_an_error_is_counted_and_the_others_are_graded(
    function: Callable[[str], Grade], error: str
) -> None:
    failed = Grade(correct=False, formatted=False, error=error)
    assert grades(function, "good", "bad", "good", "bad") == (RIGHT, failed, RIGHT, failed)


def test_the_limit_holds_in_a_thread_as_under_ray() -> None:
    found: list[tuple[Grade, ...]] = []
    thread = threading.Thread(target=lambda: found.append(grades(looping, "bad", "good")))
    thread.start()
    thread.join()
    assert [bool(grade.error) for grade in found[0]] == [True, False]


def test_sleeping_is_no_cpu_time() -> None:
    def asleep(response: str) -> Grade:
        time.sleep(3 * LIMIT_S)
        return RIGHT

    assert grades(asleep, "any") == (RIGHT,)


def test_a_limit_that_is_just_met_never_escapes() -> None:
    """Many responses that end when they are about to be interrupted: one grade each, no leak."""

    def brinkman(response: str) -> Grade:
        end = time.thread_time() + LIMIT_S * float(response)
        while time.thread_time() < end:
            pass
        return RIGHT

    shares = [str(0.96 + 0.004 * i) for i in range(25)]
    found = grades(brinkman, *shares)
    assert len(found) == 25
    assert any(grade.error for grade in found)
    assert found[0] == RIGHT


def test_too_many_errors_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    texts = ["good"] * 7 + ["bad"]
    assert grades(picky, *texts, folder=tmp_path, share=1 / 8)[-1].error  # 1 of 8 is allowed
    assert not (tmp_path / ERRORS_FILE).exists()
    with pytest.raises(GraderError, match=r"1 of 8 responses.*0\.1 allows.*ValueError") as raised:
        grades(picky, *texts, folder=tmp_path, share=0.1)
    assert "\n" not in str(raised.value)
    kept = json.loads((tmp_path / ERRORS_FILE).read_text())
    assert kept == [{"prompt": "Q", "response": "bad", "error": "ValueError: no number here"}]


def test_a_broken_plugin_is_not_the_responses_fault() -> None:
    def broken(response: str) -> Grade:
        raise ContractError("returned None")

    with pytest.raises(ContractError, match="returned None"):
        grades(broken, "any")


@pytest.mark.parametrize("wrong", [{"cpu_seconds": 0.0}, {"max_error_share": 1.5}])
def test_limits_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"grading\.\w+ must be"):
        Grading(**wrong)


GRADER = """
def grade(response, answer):
    if "A" in response and response.split("A")[1][:1] == answer[:1]:
        raise RuntimeError("I am broken")
    return len(response) % 2 == 0
"""


def test_a_failing_grader_in_a_real_trial(work: Path, small_base: Path) -> None:
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
    stopped = harness(work, *request)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert stopped.stderr.startswith("error: the grader failed on ")
    assert stopped.stderr.count("\n") == 1
    trial = next((work / "runs" / "checkpoints").iterdir())
    kept = json.loads((trial / ERRORS_FILE).read_text())
    assert {row["error"] for row in kept} == {"RuntimeError: I am broken"}
    counted = harness(work, *request, "grading.max_error_share=1")
    assert counted.returncode == 0, counted.stdout + counted.stderr
    logs = [path.read_text() for path in (work / "runs" / "checkpoints").glob("*/trial.log")]
    steps = [
        json.loads(line.partition("{")[1] + line.partition("{")[2])
        for log in logs
        for line in log.splitlines()
        if "loop: step 2 {" in line
    ]
    assert [0 < step["reward/error_rate"] < 1 for step in steps] == [True]
