"""What notebooks use: frames and figures, and that every example in a docstring runs."""

import base64
import dataclasses
import doctest
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import analysis
from analysis import record, report
from analysis.ablation import Prediction, Relation
from analysis.drawing import Gallery, Panel
from analysis.frame import Axis
from analysis.planned import Planned
from analysis.power import plan_power
from analysis.unplanned import Groups
from harness.errors import ConfigError

FUNCTIONS = [name for name in analysis.__all__ if inspect.isfunction(getattr(analysis, name))]
PREDICTED = Prediction("eval/accuracy", "dr_grpo", Relation.EQUAL, "grpo", "", 0.05)


@pytest.fixture(scope="module")
def ablation(length_bias: Path) -> Planned:
    return analysis.read(length_bias / "runs", "length_bias")


@pytest.fixture(scope="module")
def groups(length_bias: Path) -> Groups:
    return analysis.grouped(analysis.load(length_bias / "runs"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_docstring_runs(
    name: str, length_bias: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(length_bias)
    examples = doctest.DocTestParser().get_examples(getattr(analysis, name).__doc__ or "")
    assert any(f"analysis.{name}(" in example.source for example in examples)
    names: dict[str, Any] = {"analysis": analysis, "pl": pl}
    for example in examples[:-1]:
        exec(example.source, names)  # the project's own text
    last = eval(examples[-1].source, names)
    assert isinstance(last, Panel) or not last.is_empty()


def test_all_that_is_offered_is_a_function_with_an_example_or_a_class() -> None:
    assert {*analysis.__all__} - {*FUNCTIONS} == {"Prediction", "Relation"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = analysis.nothing


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", Axis)
def test_a_curve_is_the_reports_own(ablation: Planned, axis: Axis) -> None:
    own = analysis.curves(ablation.metrics, x=axis.name.lower(), variants=ablation.variants)
    reported = ablation.figures[f"eval_accuracy_{axis.name.lower()}"]
    # Trials end where their result is read: only the words differ.
    assert own.alternative == reported.alternative.replace("the result", "the end")
    assert own.svg.replace("the end", "the result") == reported.svg
    assert "grpo 0.810, dr_grpo 0.880" in own.alternative


def test_figures_are_the_reports_files(
    ablation: Planned, length_bias: Path, tmp_path: Path
) -> None:
    report.build(length_bias / "runs", "length_bias")
    folder = length_bias / "runs" / "reports" / "length_bias"
    files = {path.stem: path.read_text("utf-8") for path in folder.glob("*.svg")}
    assert {name: panel.svg for name, panel in ablation.figures.items()} == files
    ablation.figures["eval_kl_steps"].save(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text("utf-8") == files["eval_kl_steps"]


def test_a_figure_shows_itself_on_paper_of_its_own_and_tells_what_it_shows(
    ablation: Planned,
) -> None:
    shown = ablation.figures.only("differences", "eval_kl")._repr_html_()
    alternatives = re.findall(r'<img alt="([^"]+)"', shown)
    assert len(alternatives) == 3, "two forests and a curve"
    assert any("supported" in words for words in alternatives)
    for drawn in re.findall(r"base64,([^\"]+)", shown):
        style = base64.b64decode(drawn).decode().partition("<style>")[2]
        assert style.startswith("svg{background:#fff}@media screen and (prefers-color-scheme:dark)")
    assert ablation.figures["eval_kl_steps"].figure.axes, "matplotlib's, to go on with"
    assert Gallery()._repr_html_() == "<div></div>"


def test_the_variants_that_are_named_are_drawn_in_that_order(ablation: Planned) -> None:
    both = analysis.curves(ablation.metrics, x="steps", variants=["dr_grpo", "grpo"])
    assert "dr_grpo 0.880, grpo 0.810" in both.alternative
    one = analysis.curves(ablation.metrics, x="steps", variants=["dr_grpo"])
    assert "grpo 0.810" not in one.alternative
    assert len(one.figure.axes[0].lines) == 1


# --- frames ---------------------------------------------------------------------------------------


def test_verdicts_and_gates_are_those_of_report_json(ablation: Planned) -> None:
    data = json.loads(record.written(ablation.study, ablation._found))
    rows = ablation.verdicts.to_dicts()
    assert [row["verdict"] for row in rows] == [p["verdict"] for p in data["predictions"]]
    for row, written in zip(rows, data["predictions"], strict=True):
        assert row["p"] == written["p"]
        assert {k: row[k] for k in ("low", "high", "level")}.items() <= written[
            "difference"
        ].items()
        assert row["difference"] == written["difference"]["value"]
    assert rows[0]["claim"] == "dr_grpo − grpo on eval/accuracy is greater than 0.020"
    assert ablation.gates.rows() == [
        (g["question"], g["level"], g["detail"]) for g in data["gates"]
    ]


def test_what_was_predicted_of_nothing_is_an_empty_frame(ablation: Planned) -> None:
    study = dataclasses.replace(ablation.study, tables={})
    assert Planned(study).tables.is_empty()
    assert ablation.tables.group_by("variant", "seed").len()["len"].to_list() == [24] * 6


@pytest.mark.parametrize("kind", ["planned", "grouped"])
def test_variants_beside_each_other(ablation: Planned, groups: Groups, kind: str) -> None:
    """.88 - .81; both spreads .01, so the error is .01 sqrt(2/3), and t of 4 degrees is 2.776."""
    results = ablation.results if kind == "planned" else groups.results
    first, second = analysis.compare(results, "eval/accuracy", "grpo").to_dicts()
    assert (first["variant"], first["n"]) == ("grpo", 3)
    assert first["mean"] == pytest.approx(0.81)
    assert first["p"] != first["p"], "nothing to compare the baseline with"
    assert second["difference"] == pytest.approx(0.07)
    half = 2.776445 * 0.01 * (2 / 3) ** 0.5
    assert second["difference_high"] == pytest.approx(0.07 + half, abs=1e-7)
    assert second["g"] == pytest.approx(7 * (1 - 3 / 15))  # Hedges' correction, 1 - 3/(4 df - 1)


def test_paired_takes_the_seeds_in_common(ablation: Planned) -> None:
    """.88 - .81 at each seed; Welch takes the seeds that only one has as well: .88 - .805."""
    without = ablation.results.filter(~((pl.col("variant") == "grpo") & (pl.col("seed") == 2)))
    row = analysis.compare(without, "eval/accuracy", "grpo", paired=True).row(1, named=True)
    assert row["difference"] == pytest.approx(0.07)
    apart = analysis.compare(without, "eval/accuracy", "grpo").row(1, named=True)
    assert apart["difference"] == pytest.approx(0.88 - 0.805)


def test_groups_of_a_store_are_its_runs_that_count(groups: Groups, ablation: Planned) -> None:
    assert groups.labels == ["dr_grpo", "grpo"]
    key = ["trial", "metric", "step"]
    assert groups.history.sort(key).equals(ablation.metrics.sort(key), null_equal=True)
    assert analysis.curves(groups.history, x="seconds").svg


# --- planning -------------------------------------------------------------------------------------


def test_spreads_say_how_well_they_are_known(ablation: Planned) -> None:
    """sd .01 with 2 degrees of freedom each: .01 sqrt(2 / 7.378) and .01 sqrt(2 / .05064)."""
    rows = {
        row["variant"]: row
        for row in analysis.spreads(ablation.results, ["eval/accuracy"]).to_dicts()
    }
    for label in ("grpo", "dr_grpo"):
        found = [rows[label][key] for key in ("n", "sd", "low", "high")]
        assert found == pytest.approx([3, 0.01, 0.0052066, 0.0628477], rel=1e-4)
    # Together 4 degrees: .01 sqrt(4 / 11.143) and .01 sqrt(4 / .48442).
    found = [rows["all"][key] for key in ("n", "sd", "low", "high")]
    assert found == pytest.approx([6, 0.01, 0.0059914, 0.0287357], rel=1e-4)
    assert analysis.spreads(ablation.results.head(0), ["eval/accuracy"]).is_empty()


def test_power_is_that_of_the_self_test() -> None:
    table = analysis.power_table([PREDICTED], {"eval/accuracy": 0.02}, seeds=[3, 5])
    found = [plan_power([PREDICTED], {"eval/accuracy": 0.02}, n).chances[0] for n in (3, 5)]
    assert table["power"].to_list() == [chance.found[0] for chance in found]
    assert table["error"].to_list() == [chance.false[0] for chance in found]
    assert table["error_collapse"].to_list() == [chance.false[2] for chance in found]
    # Attainable margins of equal: 3.18 and 2.07 standard deviations.
    assert table["resolution"].to_list() == pytest.approx([3.18 * 0.02, 2.07 * 0.02], rel=0.01)
    drawn = analysis.power_curves(table)
    (line,) = drawn.figure.axes[0].lines
    assert line.get_ydata().tolist() == table["power"].to_list()
    assert f"{found[1].found[0]:.2f} with 5" in drawn.alternative


def test_the_resolution_of_a_direction_is_the_detectable_difference() -> None:
    greater = dataclasses.replace(PREDICTED, relation=Relation.GREATER)
    table = analysis.power_table([greater], {"eval/accuracy": 1.0}, seeds=[3, 10])
    assert table["resolution"].to_list() == pytest.approx([3.5, 1.33], rel=0.01)


# --- errors ---------------------------------------------------------------------------------------

Ask = Callable[[Planned], Any]
REFUSED: dict[str, tuple[Ask, str]] = {
    "axis": (lambda a: analysis.curves(a.metrics, x="hours"), "valid: steps, tokens, seconds"),
    "metric": (lambda a: analysis.curves(a.metrics, "eval/nothing"), "valid: actor/entropy, "),
    "variant": (lambda a: analysis.curves(a.metrics, variants=["b"]), "valid: dr_grpo, grpo"),
    "no clock": (
        lambda a: analysis.curves(a.metrics.filter(pl.col("metric") == "eval/kl"), "eval/kl"),
        "no value of 'eval/kl' against tokens; valid: none",
    ),
    "empty": (lambda a: analysis.curves(a.metrics.head(0)), "valid: none"),
    "two runs": (
        lambda a: analysis.curves(
            pl.concat([a.metrics, a.metrics.with_columns(run_id=pl.lit("again"))])
        ),
        "has several runs in the frame",
    ),
    "no result": (lambda a: analysis.compare(a.results, "eval/nothing", "grpo"), "valid: actor/"),
    "no baseline": (lambda a: analysis.compare(a.results, "eval/kl", "b"), "valid: dr_grpo, grpo"),
    "seeds twice": (
        lambda a: analysis.compare(
            pl.concat([a.results, a.results]), "eval/kl", "grpo", paired=True
        ),
        "has seed 0 more than once",
    ),
    "few": (lambda a: analysis.power_table([PREDICTED], {"eval/accuracy": 1.0}, [2]), "received 2"),
    "no spread": (lambda a: analysis.power_table([PREDICTED], {}), "no spread above 0"),
    "ablation": (lambda a: analysis.read("nowhere", "nothing"), "nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_said_in_one_line(ablation: Planned, case: str) -> None:
    ask, words = REFUSED[case]
    with pytest.raises(ConfigError) as said:
        ask(ablation)
    assert words in str(said.value)
    assert "\n" not in str(said.value)
