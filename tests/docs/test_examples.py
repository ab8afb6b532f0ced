"""The examples that the site shows: short, complete, and doing what they say.

An algorithm: tests/test_plugin.py and its own test; commands: test_journeys.py.
"""

import inspect
import runpy
from pathlib import Path

import pytest
import torch

from harness import types
from harness.types import Grade, Graded, Outcome, Prompt, Rollout
from tests.conftest import ROOT

EXAMPLES = ROOT / "tests" / "examples"
IN_PYTHON = sorted((EXAMPLES / "in_python").glob("try_*.py"))
LINES = 60
# Made by a task that reads searches; no plug-in has to.
OF_A_TASK = {"Behaviour"}


def test_every_file_of_an_example_is_under_sixty_lines() -> None:
    files = sorted(EXAMPLES.rglob("*.py"))
    assert len(files) > 8
    long = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in long.items() if lines >= LINES} == {}


@pytest.mark.parametrize("path", IN_PYTHON, ids=lambda path: path.stem)
def test_what_is_tried_by_hand_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    if path.stem == "try_an_algorithm":
        # Dr. GRPO, rewards (1, 0) and (0, 0): r - mean(r).
        assert "[ 0.5000, -0.5000,  0.0000,  0.0000]" in said
    else:
        # The last .4 of 10 tokens cost: 0 at 4, (9 - 6) / 4 at 9, 1 at 10.
        assert "[-0.0000, -0.7500, -1.0000]" in said


def test_the_examples_use_all_that_harness_types_offers() -> None:
    offered = {
        name
        for name, thing in vars(types).items()
        if inspect.isclass(thing) and thing.__module__ in ("harness.types", "harness.prompts")
    }
    text = " ".join(path.read_text() for path in IN_PYTHON)
    assert {name for name in offered - OF_A_TASK if name not in text} == set()


def test_a_process_reward_pays_each_attempt_where_it_ends() -> None:
    """Tokens are characters: `1+2=3;` ends at 5, `1+2=4+6=10!` at 16, the end token is 19."""
    folder = EXAMPLES / "process_reward"
    made = runpy.run_path(str(folder / "steps.py"))["Steps"](str(folder / "steps.jsonl"), 0.1)
    text = "1+2=3;1+2=4+6=10!A1"
    prompt = Prompt(text="", item=0, problem="", difficulty=0, answer=None)
    rollout = Rollout(
        prompts=(prompt,),
        prompt_ids=((1,),),
        group_B=torch.zeros(1, dtype=torch.int64),
        tokens_BT=torch.ones(1, 20, dtype=torch.int64),
        mask_BT=torch.ones(1, 20, dtype=torch.bool),
        logprobs_BT=torch.zeros(1, 20),
        finished_B=torch.tensor([True]),
        texts=(text,),
    )
    grade = Grade(correct=True, formatted=True)
    graded = Graded(rollout=rollout, grades=(grade,), budget=20, seed=0, step=1, first=0)
    (rewards_T,) = made.score(graded).rewards
    assert rewards_T.nonzero().flatten().tolist() == [5, 16, 19]
    assert rewards_T[19] == 1.0
    good, bad = rewards_T[5].item(), rewards_T[16].item()
    assert 0 < bad < 0.05 < good < 0.1, "1+2=4 is labelled as wrong, 1+2=3 as right"


def test_a_window_grows_with_the_budget_and_goes_on_where_it_stopped() -> None:
    """From 32 to 128: 32 + 96 * .25 = 56."""
    growing = runpy.run_path(str(EXAMPLES / "window" / "growing.py"))["Growing"]
    window = growing()
    assert window.window(seed=0) == window.minimum == 32
    none = torch.zeros(0, dtype=torch.int64)
    window.observe(Outcome(lengths_B=none, correct_B=none.bool(), progress=0.25))
    assert window.window(seed=0) == 56
    later = growing()
    later.load_state_dict(window.state_dict())
    assert later.window(seed=0) == 56
