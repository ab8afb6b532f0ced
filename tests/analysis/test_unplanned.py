"""Comparing and exporting what no plan describes, and what one does."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
import synthetic_store
from mlflow.entities import Metric, Param, RunTag
from synthetic_store import PREDICTIONS, Plan, Trial, arms

from analysis import latex
from analysis.__main__ import main
from analysis.reading.loader import load
from analysis.unplanned import grouped, rows
from harness.errors import ConfigError
from harness.tracking.store import open_store
from tests.hostile import HOSTILE

HAND = "by hand"
PLANNED = Plan("planned", arms([]), PREDICTIONS)
# lr -> accuracy of seeds 0, 1, 2. .88 - .81 = .07; se = .01 sqrt(2/3), t(4) = 2.7764: ± .0227.
ARMS = {"1e-3": [0.80, 0.81, 0.82], "2e-3": [0.87, 0.88, 0.89]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("unplanned") / "runs"
    client = synthetic_store.write(runs, [PLANNED])
    experiment = client.create_experiment(
        HAND, artifact_location=(runs / "artifacts" / HAND).as_uri()
    )
    for lr, results in ARMS.items():
        for seed, accuracy in enumerate(results):
            run = client.create_run(experiment, run_name=f"{lr} {seed}").info.run_id
            points = [Metric("eval/accuracy", x, 1, s) for s, x in enumerate([0.3, accuracy])]
            points += [Metric("own/metric", float(seed), 1, 1)]
            params = [Param("lr", lr), Param("seed", str(seed)), Param("host", f"h{seed}")]
            client.log_batch(run, metrics=points, params=params)
            client.set_terminated(run)
    dead = client.create_run(experiment, run_name="dead").info.run_id
    client.log_batch(dead, params=[Param("lr", "2e-3")], tags=[RunTag("status", "FAILED")])
    ended = client.create_run(experiment, run_name="ended in nan").info.run_id
    client.log_batch(ended, [Metric("eval/accuracy", float("nan"), 1, 1)], [Param("lr", "1e-3")])
    client.set_terminated(ended)
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


# --- compare --------------------------------------------------------------------------------------


def test_groups_are_compared_and_what_is_left_out_is_said(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", HAND, "--by", "lr", "--runs", str(runs)]) == 0
    said = capsys.readouterr().out

    line = next(line for line in said.splitlines() if "eval/accuracy" in line and "2e-3" in line)
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    # The interval of a share, on the logit scale, as in the report.
    assert cells == [
        *("eval/accuracy", "2e-3", "3", "0.88 [0.8529, 0.9027]"),
        *("+0.07 [+0.04733, +0.09267]", "0.87 0.88 0.89"),
    ]
    assert "own/metric" not in said, "evaluations are what is asked about first"
    assert "Exploratory: no plan was sealed" in said
    assert "Runs differ in more than lr: host" in said
    assert "left out: dead is FAILED" in said
    assert "left out: ended in nan ends in no finite number" in said
    assert not re.search("supported|refuted|higher|lower", said)


def test_a_key_of_the_config_groups_runs_of_a_plan_that_has_it_as_no_param(runs: Path) -> None:
    """Only what differs within a plan is a param; across plans anything may differ."""
    data = load(runs)
    chosen = data.runs.filter((pl.col("experiment") == HAND) & (pl.col("status") == "FINISHED"))
    for run_id, trial in chosen.select("run_id", "trial").iter_rows():
        folder = runs / "artifacts" / HAND / run_id / "artifacts"
        folder.mkdir(parents=True)
        digits = 2 if trial.startswith("1e-3") else 3
        written = f"task: {{_target_: a.B, digits: {digits}}}\nruns: /{run_id}\n"
        (folder / "config.yaml").write_text(written)
    groups = grouped(load(runs), [HAND], "task.digits")
    assert groups.labels == ["(none)", "2", "3"], "runs that failed have no config"
    assert len(groups.values("eval/accuracy", "3")) == 3
    assert any("differ in more than task.digits: host, lr" in each for each in groups.remarks)


def test_any_metric_baseline_and_single_runs_may_be_named(runs: Path) -> None:
    data = load(runs)
    hand = data.runs.filter(pl.col("experiment") == HAND)
    ids = hand.filter(pl.col("trial").str.contains(" 0"))["run_id"].to_list()
    groups = grouped(data, [*ids, "2e-3 2", PLANNED.trials[0].name], "lr", baseline="2e-3")

    assert groups.labels == ["2e-3", "(none)", "1e-3"]
    assert groups.values("own/metric", "2e-3").tolist() == [0, 2]
    assert groups.values("eval/accuracy", "(none)").tolist() == pytest.approx([0.80])
    _, lines = rows(groups, ["own/metric"])
    assert [line[2] for line in lines] == ["2", "0", "1"], "a metric that some lack reduces n"


def test_planned_runs_are_grouped_by_variant_without_a_verdict(runs: Path) -> None:
    groups = grouped(load(runs), [PLANNED.name], "variant", "reinforce")
    assert groups.labels == ["reinforce", "grpo"]
    assert groups.values("eval/accuracy", "grpo").tolist() == pytest.approx([0.87, 0.88, 0.89])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope", "--by", "lr"], "no experiment, trial or run 'nope'; valid: 1e-3 0, 1e-3 1"),
        ([HAND, "--by", "nope"], "no run has 'nope' to group by; valid: "),
        ([HAND, "--by", "lr", "--baseline", "x"], "no group 'x'; valid: 1e-3, 2e-3"),
        ([HAND, "--by", "lr", "--metric", "x"], "no finished run ends with 'x'; valid: eval/"),
        ([HAND], "the following arguments are required: --by"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    runs: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments, "--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HAND, PLANNED.name])
def test_frames_are_exported_as_they_are(runs: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    for kind in ("--parquet", "--csv"):
        assert main(["export", name, kind, "--out", str(out), "--runs", str(runs)]) == 0
    data = load(runs, name)

    for frame in ("runs", "metrics", "evals", "samples"):
        whole = getattr(data, frame)
        assert pl.read_parquet(out / f"{frame}.parquet").equals(whole, null_equal=True)
        read = pl.read_csv(out / f"{frame}.csv", schema=whole.schema)
        assert read.shape == whole.shape
    results = pl.read_parquet(out / "results.parquet").filter(metric="eval/accuracy")
    assert sorted(results["value"]) == pytest.approx([0.80, 0.81, 0.82, 0.87, 0.88, 0.89])


def balanced(tex: str) -> None:
    """What LaTeX would stop at: braces, environments, columns, bare special characters."""
    plain = re.sub(r"\\(?:[\\&%$#_{}]|[a-zA-Z]+(?:\{\})?)", "", tex)
    assert not re.search(r"[\\#%^~_<>|]", plain), plain
    depth = 0
    for character in plain:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    begun = re.findall(r"\\begin\{(\w+)\}", tex)
    assert begun == re.findall(r"\\end\{(\w+)\}", tex)[::-1] == ["table", "tabular"]
    columns = re.search(r"\\begin\{tabular\}\{([lp]+)\}", tex.replace(latex.BROKEN, "p"))
    assert columns is not None
    for line in tex.splitlines():
        if line.endswith(r"\\"):
            cells = re.sub(r"\\&", "", line).count("&") + 1
            assert cells == len(columns[1]), line


@pytest.mark.parametrize("name", [HAND, PLANNED.name])
def test_latex_tables_are_well_formed(runs: Path, name: str) -> None:
    by = ["--by", "lr"] if name == HAND else []
    assert main(["export", name, "--latex", "--runs", str(runs), *by]) == 0
    found = {path.stem: path.read_text("utf-8") for path in (runs / "exports" / name).iterdir()}

    assert set(found) == ({"results", "predictions"} if name == PLANNED.name else {"results"})
    for tex in found.values():
        balanced(tex)
    assert "0.88" in found["results"]
    if name == PLANNED.name:
        assert "{supported} & {+0.070 [+0.041, +0.099]}" in found["predictions"]


KNOWN = {
    *("begin", "end", "centering", "caption", "footnotesize", "hline", "raggedright", "par"),
    *("linewidth", "allowbreak", "textbackslash", "textasciitilde", "textasciicircum", "textless"),
    *("textgreater", "textbar", "ttfamily", "char", "pm"),
}


def test_only_commands_that_need_no_package_nor_encoding(runs: Path) -> None:
    """All of them compiled with pdflatex (OT1 and T1) and xelatex of TeX Live 2022.

    OT1, in which LaTeX begins, has no textquotedbl: a label with a quotation mark stopped it.
    """
    tex = latex.table(["a", "b"], [['say "x"', "".join(map(chr, range(32, 127))) * 2]], '"')
    assert set(re.findall(r"\\([a-z]+)", tex)) <= KNOWN
    assert r"{\ttfamily\char34}x{\ttfamily\char34}" in tex


def test_what_letters_join_into_stays_apart() -> None:
    assert latex.prose("a--b---c 'd'' ``e ?`f !`g") == ("a-{}-b-{}-{}-c 'd'{}' `{}`e ?{}`f !{}`g")


def test_a_column_of_long_texts_is_broken() -> None:
    """Five columns fit a page: what is longer than 32 characters takes a quarter of its width."""
    tex = latex.table(["claim", "p"], [["grpo - reinforce on eval/accuracy is equal", "0.01"]], "c")
    assert r"\begin{tabular}{p{0.26\linewidth}l}" in tex
    assert r"{\raggedright grpo - reinforce on eval/\allowbreak{}accuracy is equal\par} & " in tex


@pytest.mark.parametrize("text", [*HOSTILE.values(), "a_b & 50% #1 {x} $y$ ^~\\", "研究 [2pt]"])
def test_any_text_is_a_cell(text: str) -> None:
    balanced(latex.table(["a", text], [[text, "1"], ["[3pt]", text]], text))


@pytest.mark.parametrize("name", ["a/b", "..", ""])
def test_names_that_no_folder_has_are_refused(runs: Path, name: str) -> None:
    assert main(["export", name, "--csv", "--runs", str(runs)]) == 2


def test_a_failed_seed_and_an_unknown_experiment(runs: Path) -> None:
    with pytest.raises(ConfigError, match="'nope' is not in the MLflow store"):
        load(runs, "nope")
    assert main(["export", "nope", "--csv", "--runs", str(runs)]) == 2


def test_one_arm_is_compared_with_nothing(runs: Path) -> None:
    groups = grouped(load(runs), [Trial("grpo", 0, 0).name], "variant")
    _, lines = rows(groups, ["eval/accuracy"])
    assert [line[1:5] for line in lines] == [["grpo", "1", "0.87", ""]]


def test_trials_of_one_name_in_two_experiments_are_both_named(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, ids = open_store(runs), []
    for name in ("first", "second"):
        experiment = client.create_experiment(
            name, artifact_location=(runs / "artifacts" / name).as_uri()
        )
        for trial, metric in (("dead", ""), ("blind", "own/loss"), ("whole", "eval/accuracy")):
            tags = {"variant": name, "trial": trial, "seed": "0"}
            run = client.create_run(experiment, tags=tags).info.run_id
            if metric:
                client.log_batch(run, metrics=[Metric(metric, 0.5, 1, 1)])
            client.set_terminated(run, status="FINISHED" if metric else "FAILED")
            ids.append(run[:8])
    assert main(["compare", "first", "second", "--by", "variant", "--runs", str(runs)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"left out: dead ({ids[0]}) is FAILED" in said
    assert f"left out: dead ({ids[3]}) is FAILED" in said
    lacking = sorted(f"blind ({ids[place]})" for place in (1, 4))
    assert f"no eval/accuracy at the final step of {', '.join(lacking)}" in said or (
        f"no eval/accuracy at the final step of {', '.join(reversed(lacking))}" in said
    )
