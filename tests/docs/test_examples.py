"""The examples that the site shows: short, complete, and doing what they say.

An algorithm: tests/test_plugin.py and its own test; commands: test_journeys.py.
"""

import ast
import doctest
import inspect
import runpy
from pathlib import Path

import pytest
import torch

import analysis
from docs.generator import code
from harness import testing, types
from harness.types import Grade, Graded, Outcome, Prompt, Rollout
from tests.conftest import ROOT

EXAMPLES = ROOT / "tests" / "examples"
IN_PYTHON = sorted((EXAMPLES / "in_python").glob("try_*.py"))
CONTRACT = EXAMPLES / "algorithm" / "test_my_rloo.py"
LINES = 60
SAID = {
    # Dr. GRPO, rewards (1, 0) and (0, 0): r - mean(r).
    "try_an_algorithm": "[ 0.5000, -0.5000,  0.0000,  0.0000]",
    # The last .4 of 10 tokens cost: 0 at 4, (9 - 6) / 4 at 9, 1 at 10.
    "try_a_reward_and_a_window": "[-0.0000, -0.7500, -1.0000]",
    # Right and formatted; two attempts, one of them a miss after which it went on, one hit.
    "try_a_task": "True True\n2 1 1 1\n",
}


def test_every_file_of_an_example_is_under_sixty_lines() -> None:
    files = sorted(EXAMPLES.rglob("*.py"))
    assert len(files) > 8
    long = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in long.items() if lines >= LINES} == {}


@pytest.mark.parametrize("path", IN_PYTHON, ids=lambda path: path.stem)
def test_what_is_tried_by_hand_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    assert SAID[path.stem] in said


def used(path: Path, module: str) -> set[str]:
    """Names of a module that a file imports and then uses."""
    tree = ast.parse(path.read_text("utf-8"))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == module]
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return {alias.name for each in imports for alias in each.names} & named


def test_an_example_that_runs_uses_each_class_of_harness_types_and_harness_testing() -> None:
    """Run above; that of `harness.testing` by pytest itself, which finds test_my_rloo.py."""
    for module, files in ((types, IN_PYTHON), (testing, [CONTRACT])):
        offered = set(code._own(module))
        assert offered, module
        assert offered - set.union(*(used(path, module.__name__) for path in files)) == set()


def test_an_example_that_runs_uses_each_name_that_analysis_exports() -> None:
    """tests/analysis/test_notebook_api.py runs those of the functions' docstrings."""
    functions = [
        getattr(analysis, name)
        for name in analysis.__all__
        if inspect.isfunction(getattr(analysis, name))
    ]
    examples = [e for f in functions for e in doctest.DocTestParser().get_examples(f.__doc__ or "")]
    code_of_all = ast.parse("".join(example.source for example in examples))
    named = {
        n.attr
        for n in ast.walk(code_of_all)
        if isinstance(n, ast.Attribute)
        and isinstance(n.value, ast.Name)
        and n.value.id == "analysis"
    }
    assert set(analysis.__all__) - named == set()


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
