"""The course's notebooks: kept with blanks, executed from a clean kernel with the solutions in."""

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from harness.exercises import source
from harness.exercises.course import EXERCISES
from tests.conftest import ROOT, Here
from tests.course import solutions

HOME = ROOT / "analysis" / "notebooks" / "course"
BOOKS = sorted(HOME.glob("*.ipynb"))
PATIENCE = 300  # seconds until a kernel is taken for dead; each notebook takes ten or less
BLANK = "raise NotImplementedError"
# Of this one there is no right answer to check.
OPEN = {"predictions"}


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    whole = json.loads(path.read_text("utf-8"))
    return [cell for cell in whole["cells"] if cell["cell_type"] == kind]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def blanks(path: Path) -> dict[str, str]:
    """Source of each blank function of a notebook, by name."""
    found = [text(cell) for cell in cells(path, "code") if BLANK in text(cell)]
    return {source.rpartition("def ")[2].partition("(")[0]: source for source in found}


def solved(path: Path) -> nbformat.NotebookNode:
    """The notebook with the solutions in its blanks."""
    book = nbformat.read(path, as_version=4)
    by_text = {blank: name for name, blank in blanks(path).items()}
    for cell in book.cells:
        if cell.source in by_text:
            cell.source = inspect.getsource(getattr(solutions, by_text[cell.source]))
    return book


def test_the_course_has_at_most_eight_notebooks_and_every_exercise_once() -> None:
    assert len(BOOKS) == 8
    names = [name for path in BOOKS for name in blanks(path)]
    assert sorted(names) == sorted([*EXERCISES, *OPEN])


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_with_names_for_its_cells(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    whole = json.loads(path.read_text("utf-8"))
    assert all(not cell["outputs"] for cell in cells(path, "code"))
    assert all(cell["execution_count"] is None for cell in cells(path, "code"))
    names = [cell["id"] for cell in whole["cells"]]
    assert len(set(names)) == len(names)
    longest = max(len(line) for cell in cells(path, "code") for line in text(cell).splitlines())
    assert longest <= 100


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_each_blank_says_its_shapes_and_has_five_hints_below(path: Path) -> None:
    whole = json.loads(path.read_text("utf-8"))["cells"]
    for number, cell in enumerate(whole):
        if cell["cell_type"] == "code" and BLANK in text(cell):
            assert "exercise" in cell["metadata"]["tags"]
            (function,) = ast.parse(text(cell)).body
            assert isinstance(function, ast.FunctionDef)
            said = ast.get_docstring(function) or ""
            assert "Returns:" in said
            wanted = list(inspect.signature(getattr(solutions, function.name)).parameters)
            assert [argument.arg for argument in function.args.args] == wanted
            assert all(f"{name}:" in said for name in wanted)
            hints = text(whole[number + 1])
            assert [f"Hint {n} of 5" in hints for n in range(1, 7)] == [True] * 5 + [False]
            assert hints.count("<details>") == hints.count("</details>") == 5


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_asks_and_says_how_to_check(path: Path) -> None:
    said = "\n".join(text(cell) for cell in cells(path, "markdown"))
    assert said.startswith(f"# {path.stem[0]} · ")
    relative = path.relative_to(ROOT).as_posix()
    assert f"python -m harness.exercises check {relative}" in said
    asked = said.partition("## Questions")[2]
    assert len(re.findall(r"^\*\*\d\.\*\*", asked, re.MULTILINE)) >= 3
    assert asked.count("<summary>Answer</summary>") == len(
        re.findall(r"^\*\*\d\.\*\*", asked, re.MULTILINE)
    )


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_the_checker_reads_a_notebook(path: Path) -> None:
    """Each is Python, and its blanks are among the functions that are found."""
    assert set(blanks(path)) <= set(source.read(path).functions)


@pytest.mark.notebooks
def test_the_templates_are_plans_that_the_harness_takes(here: Here, tmp_path: Path) -> None:
    """Three of them, in the last notebook; the words in capitals may be any."""
    (path,) = (path for path in BOOKS if path.stem == "8_reading_a_report")
    said = "\n".join(text(cell) for cell in cells(path, "markdown"))
    templates = re.findall(r"```yaml\n(.*?)```", said, re.DOTALL)
    names = [re.search(r"^name: (\w+)", template, re.MULTILINE) for template in templates]
    assert len(templates) == 3
    (tmp_path / "ablation").mkdir()
    for template, name in zip(templates, names, strict=True):
        assert name is not None
        (tmp_path / "ablation" / f"{name[1]}.yaml").write_text(template)
    every = ",".join(name[1] for name in names if name)
    where = f"hydra.searchpath=[file://{tmp_path}]"
    done = here("-m", f"+ablation={every}", where, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert all(name and name[1] in done.stdout for name in names)


# What the executed notebooks say, besides their figures.
SHOWN: dict[str, list[str]] = {
    "1_reinforce": [
        r"yours +(\[\[0.25, 0.5, 1.0\].*)\nthe harness \1\n",
        r"leave one out: P\(heads\) 0\.9",
        r"smallest spread at baseline 0\.50",
    ],
    "2_gae": [r"yours +(\[\[0.28375, 0.275, 0.5, 0.0\].*)\nthe harness \1\n"],
    "3_ppo_objective": [
        r"A = \+1: clipped on 46%",
        r"A = -1: clipped on 36%",
        r"0\.693 and 3\.912;",
    ],
    "4_mini_ppo": [
        r"reward 0\.\d+ -> (0\.9|1)",
        r"clip fraction 0\.0[1-9]",
        r"entropy 2\.\d+ -> 0",
    ],
    "5_grpo": [
        r"one right of four +\[1\.5, -0\.5",
        r"a group of one, right +\[1\.0\]",
        r"TOKEN_MEAN: [67]\d%",
    ],
    "6_ablation": [
        r"wrong_length: d = -.*supported",
        r"accuracy: d = .*supported",
        "exact p 0.0078",
    ],
    "7_a_star_po": [
        r"= \.5: 0\.7169",
        r"largest distance 0\.00",
        r"window 110 at first, 46 before",
    ],
    "8_reading_a_report": [r"59% as they are, 2\.5% after", r"3 seeds: found in 11% .* 2\.0 times"],
}


@pytest.mark.notebooks
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_the_solutions(path: Path, tmp_path: Path) -> None:
    book = solved(path)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=PATIENCE, startup_timeout=PATIENCE, resources=where).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert all(output.get("name") != "stderr" for output in outputs), outputs
    said = "".join(o.text for o in outputs if o.output_type == "stream")
    for words in SHOWN[path.stem]:
        assert re.search(words, said), said
    figures = [o for o in outputs if o.output_type == "display_data" and "image/png" in o.data]
    assert len(figures) >= 1
    assert sorted(tmp_path.iterdir()) == []
