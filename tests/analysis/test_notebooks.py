"""The notebooks, executed from a clean kernel on a real, tiny sweep and on planted results."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

import analysis
from tests.conftest import ROOT, SMALL, harness

BOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))
PATIENCE = 600  # seconds until a kernel is taken for dead; each notebook takes ten or so
TAG = "parameters"  # of the cell that a reader changes


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return found


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_what_it_shows_and_what_to_change(path: Path) -> None:
    first, second, *rest = cells(path)
    assert first["cell_type"] == "markdown"
    assert second["metadata"]["tags"] == [TAG]
    assert not any(TAG in cell["metadata"].get("tags", []) for cell in rest)
    assert all(not cell.get("outputs") for cell in cells(path)), "kept without outputs"
    assert all(cell.get("execution_count") is None for cell in cells(path))


def executed(name: str, folder: Path, values: Mapping[str, object]) -> list[str]:
    """Every output of a notebook that was run in a folder: its text, figures by their words."""
    (path,) = (path for path in BOOKS if path.stem == name)
    book = nbformat.read(path, as_version=4)
    own = next(cell for cell in book.cells if TAG in cell.metadata.get("tags", []))
    known = set(re.findall(r"^(\w+) = ", own.source, re.MULTILINE))
    assert set(values) <= known
    own.source += "".join(f"\n{key} = {value!r}" for key, value in values.items())
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(book, timeout=PATIENCE, startup_timeout=PATIENCE, resources=where)
    client.execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert all(output.get("name") != "stderr" for output in outputs), outputs
    return [shown(output) for output in outputs]


def shown(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    html = output.data.get("text/html", "")
    figures = re.findall(r'<img alt="([^"]+)" src="data:image/svg', html)
    return "\n".join(figures) or str(output.data["text/plain"])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, small_base: Path) -> Path:
    """A folder in which a sweep of two variants and three seeds has run."""
    work = tmp_path_factory.mktemp("swept")
    (work / "runs").mkdir()
    (work / "runs" / "models").symlink_to(small_base / "models")
    request = ("-m", "+ablation=length_bias", *SMALL, "budget.amount=2")
    done = harness(work, *request, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return work


@pytest.mark.notebooks
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_stands_on_a_real_sweep(swept: Path, path: Path) -> None:
    outputs = executed(path.stem, swept, {})
    assert all(outputs)
    ablation = analysis.read(swept / "runs", "length_bias")
    means = analysis.compare(ablation.results, "eval/accuracy", "grpo")["mean"]
    assert ablation.results["seed"].n_unique() == 3
    said = "\n".join(outputs)
    if path.stem == "quick_look":
        assert ablation.question in outputs[0]
        assert all(f"{mean:.3f}" in said for mean in means)
    assert "Traceback" not in said


@pytest.mark.notebooks
def test_the_quick_look_shows_the_answer_of_another_ablation(stored: Path) -> None:
    outputs = executed("quick_look", stored.parent, {"NAME": "sound"})
    verdicts = next(text for text in outputs if "claim" in text)
    # Planted: accuracy .81 and .88, wrong responses 10 tokens longer, KL alike.
    assert re.search(r"greater than 0\.020 +┆ supported +┆ 0\.070", verdicts)
    assert re.search(r"less than 0\.0 +┆ refuted +┆ 10\.000", verdicts)
    assert any("reinforce 0.810, grpo 0.880" in text for text in outputs), "the curve's words"
    assert sum("7-8=-1+3=2" in text for text in outputs) == 1, "a response of each variant"


@pytest.mark.notebooks
def test_the_comparison_shows_what_differs(stored: Path) -> None:
    values = {"NAME": "sound", "VARIANT": "grpo", "BASELINE": "reinforce"}
    outputs = executed("deep_comparison", stored.parent, values)
    assert any("correlation over seeds: 1.00" in text for text in outputs)
    tests = next(text for text in outputs if "Welch" in text)
    assert re.search(r"Welch +┆ 3 +┆ 0\.070 +┆ 0\.047 +┆ 0\.093 +┆ 0\.001", tests)
    assert re.search(r"paired +┆ 3 +┆ 0\.070", tests)
    assert any("of 24 prompts grpo solves 0 more often, 0 less often" in text for text in outputs)


@pytest.mark.notebooks
def test_the_plan_says_how_many_seeds(stored: Path) -> None:
    outputs = executed("power_planning", stored.parent, {"NAME": "sound", "SEEDS": [3, 5]})
    pilot = analysis.read(stored, "sound")
    metrics = list(dict.fromkeys(p.metric for p in pilot.predictions))
    spreads = analysis.spreads(pilot.results, metrics).filter(pl.col("variant") == "all")
    sds = dict(spreads.select("metric", "sd").iter_rows())
    table = analysis.power_table(pilot.predictions, sds, [3, 5])
    said = next(text for text in outputs if "error_collapse" in text)
    for power in table["power"]:
        assert f" {power:.3f} " in said
    assert any("as in the pilot" in text for text in outputs)
