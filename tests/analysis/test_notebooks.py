"""The notebooks, each in a kernel of its own, from planted results: nothing is trained."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from synthetic_store import GRPO, REINFORCE

import analysis
from tests.conftest import ROOT

HOME = Path("analysis") / "notebooks"
BOOKS = sorted((ROOT / HOME).glob("*.ipynb"))
PATIENCE = 600  # seconds until a kernel is taken for dead; each notebook takes six or so
TAG = "parameters"  # of the cell that a reader changes
RUN_FIRST = ".venv/bin/harness -m +ablation=length_bias"


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return found


def executed(name: str, folder: Path, values: Mapping[str, object] | None = None) -> list[str]:
    """What a notebook shows beside `folder`/runs: texts, and figures by their words.

    The kernel works where the file would lie in a checkout, as Jupyter's does.
    """
    book = nbformat.read(ROOT / HOME / f"{name}.ipynb", as_version=4)
    own = next(cell for cell in book.cells if TAG in cell.metadata.get("tags", []))
    known = set(re.findall(r"^(\w+) = ", own.source, re.MULTILINE))
    assert set(values or {}) <= known
    own.source += "".join(f"\n{key} = {value!r}" for key, value in (values or {}).items())
    (folder / HOME).mkdir(parents=True, exist_ok=True)
    where = {"metadata": {"path": str(folder / HOME)}}
    NotebookClient(book, timeout=PATIENCE, startup_timeout=PATIENCE, resources=where).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert all(output.get("name") != "stderr" for output in outputs), outputs
    texts = [shown(output) for output in outputs]
    assert all(texts)
    return texts


def shown(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    html = output.data.get("text/html", "")
    figures = re.findall(r'<img alt="([^"]+)" src="data:image/svg', html)
    # A table in HTML: one row a line, as the reader sees it; the text form wraps long cells.
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    lines = figures or [" | ".join(re.findall(r"<t[dh]>(.*?)</t[dh]>", row)) for row in rows]
    return "\n".join(lines) or str(output.data["text/plain"])


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_to_run_first_and_what_to_change(path: Path) -> None:
    first, second, *rest = cells(path)
    assert first["cell_type"] == "markdown"
    assert f"```bash\n{RUN_FIRST}\n```" in "".join(first["source"])
    assert second["metadata"]["tags"] == [TAG]
    assert not any(TAG in cell["metadata"].get("tags", []) for cell in rest)
    assert all(not cell.get("outputs") for cell in cells(path)), "kept without outputs"
    assert all(cell.get("execution_count") is None for cell in cells(path))


@pytest.mark.notebooks
def test_a_quick_look_shows_verdicts_curves_and_responses(length_bias: Path) -> None:
    outputs = executed("quick_look", length_bias)
    assert outputs[0].strip() == analysis.read(length_bias / "runs", "length_bias").question
    said = "\n".join(outputs)
    # Planted: accuracy .81 and .88, KL alike: +.070, Welch with 4 degrees of freedom, sd .01.
    assert re.search(r"accuracy is greater than 0\.020.* \| 0\.070 \| 0\.047 \| 0\.093", said)
    assert re.search(r"eval/kl is within ±0\.010&quot; \| &quot;supported", said)
    assert "fewer than 5 is a screening" in said
    assert any("grpo 0.810, dr_grpo 0.880" in text for text in outputs), "the curve's words"
    for variant, accuracies in (("grpo", REINFORCE), ("dr_grpo", GRPO)):
        numbers = " | ".join(f"{value:.3f}" for value in accuracies)
        assert f"&quot;{variant}&quot; | {numbers}" in said
    assert sum("7-8=-1+3=2" in text for text in outputs) == 1, "a response of each variant"


@pytest.mark.notebooks
def test_a_comparison_shows_what_differs_and_how_surely(length_bias: Path) -> None:
    outputs = executed("deep_comparison", length_bias)
    said = "\n".join(outputs)
    assert "correlation over seeds: 1.00" in said
    # t(.975, 4) = 2.776; 2.776 sqrt(2 * .01^2 / 3) = .0227
    assert "Welch&quot; | 3 | 0.070 | 0.047 | 0.093 | 0.001" in said
    assert "paired&quot; | 3 | 0.070" in said
    assert re.search(r"eval/accuracy&quot; \| 0\.810 \| 0\.880 \| 0\.070 .* \| 5\.600", said)
    assert "of 24 prompts dr_grpo solves 0 more often, 0 less often" in said
    assert said.count("7-8=-1+3=2") == 6, "two variants at three seeds"


@pytest.mark.notebooks
def test_a_plan_says_how_many_seeds(length_bias: Path) -> None:
    outputs = executed("power_planning", length_bias)
    pilot = analysis.read(length_bias / "runs", "length_bias")
    metrics = list(dict.fromkeys(p.metric for p in pilot.predictions))
    spreads = analysis.spreads(pilot.results, metrics).filter(pl.col("variant") == "all")
    sds = dict(spreads.select("metric", "sd").iter_rows())
    table = analysis.power_table(pilot.predictions, sds, [3, 4, 5, 7, 10, 15])
    said = next(text for text in outputs if "error_collapse" in text)
    for seeds, power in table.select("seeds", "power").iter_rows():
        assert re.search(rf"^{seeds} \| .* \| {power:.3f} \|", said, re.MULTILINE)
    needed = table.group_by("seeds").agg(pl.col("power").min()).filter(pl.col("power") >= 0.8)
    assert f"as in the pilot&quot; | {needed['seeds'].min()} |" in outputs[-1]


@pytest.mark.notebooks
def test_a_quick_look_at_another_ablation_of_another_folder(stored: Path) -> None:
    outputs = executed("quick_look", stored.parent, {"RUNS": str(stored), "NAME": "sound"})
    # Planted: wrong responses 70 and 80 tokens long.
    assert re.search(r"less than 0\.0&quot; \| &quot;refuted&quot; \| 10\.000", "\n".join(outputs))


@pytest.mark.notebooks
def test_before_anything_has_run_a_notebook_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError) as raised:
        executed("quick_look", tmp_path)
    assert raised.value.ename == "ConfigError"
    assert "run the ablation or grid first" in raised.value.evalue
    told = raised.value.traceback  # the cell, and what Jupyter shows below it
    assert told.rstrip().endswith(f"ConfigError: {raised.value.evalue}")
    assert "Traceback" not in told
    assert ".py" not in told
