"""From a real MLflow store to the report."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import synthetic_store as store
from mlflow.entities import Metric
from rich.console import Console
from synthetic_store import DEAD, FULL, SINGLE, Plan, Trial

from analysis import load
from analysis.__main__ import main
from analysis.ablation import Checkpoint, Primary
from analysis.gates import Gate, Level, gates
from analysis.report import Report, build
from analysis.study import NO_RESULT, read_study
from harness.errors import ConfigError

# One thing wrong with each trial or with the plan, so that every gate has something to say.
DOUBTFUL = Plan(
    "doubtful",
    [
        Trial("reinforce", 0, 0.8),
        Trial("grpo", 0, 0.8, commit="f" * 40),
        Trial("reinforce", 1, 0.8, mismatch=0.08),
        Trial("grpo", 1, 0.9, steps=20),
        Trial("grpo", 2, 0.9, steps=0),
    ],
    primary=Primary(checkpoint=Checkpoint.BEST),
    deviations=["trainer.lr=1 given on the command line"],
    differs={"algorithm.normalize_std": [False, True], "trainer.lr": [1e-4, 3e-4]},
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "runs"
    client = store.write(folder, [FULL, SINGLE, DEAD, DOUBTFUL])
    experiment = client.get_experiment_by_name(DOUBTFUL.name).experiment_id
    stranger = client.create_run(experiment, tags={"trial": "old__s0__00000000"}, run_name="old")
    run_id = stranger.info.run_id
    # A resumed trial logs a step again; the later record counts. MLflow bends infinities.
    client.log_batch(
        run_id,
        metrics=[
            Metric("eval/kl", 1.0, 1, 5),
            Metric("eval/kl", 2.0, 9, 5),
            Metric("eval/entropy", float("nan"), 1, 5),
            Metric("eval/entropy", float("-inf"), 1, 6),
        ],
    )
    return folder


@pytest.fixture(scope="module")
def report(runs: Path) -> Report:
    return build(runs, FULL.name)


@pytest.fixture(scope="module")
def markdown(report: Report) -> str:
    return report.markdown.read_text("utf-8")


def section(markdown: str, title: str) -> str:
    """Text of one second-level section."""
    return re.split(r"^## ", markdown.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def rows(text: str, start: str) -> list[list[str]]:
    """Cells of the table rows whose first cell starts so."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_answer_recovers_the_planted_difference(markdown: str) -> None:
    # .880 - .810 = .070; s = .01 each: half = t(4; .975) * .01 * sqrt(2/3) = .0227.
    answer = markdown.split("**Answer.**")[1].split("\n")[0]

    assert "+0.070 [+0.047, +0.093]" in answer
    assert "n = 3 and 3 seeds" in answer
    assert "(0.810; base model before training 0.334)" in answer
    # 3.0709 pooled standard deviations at 3 + 3 seeds.
    assert "smaller than 0.031" in answer
    assert "2 supported, 1 refuted, 1 undecided" in answer
    assert "screening" in answer


def test_every_prediction_gets_its_verdict(markdown: str) -> None:
    table = rows(section(markdown, "Predictions"), "grpo −")

    assert [row[1] for row in table] == ["supported", "refuted", "supported", "undecided"]
    assert [row[2] for row in table] == [
        "+0.070 [+0.047, +0.093]",
        "+10.0 [+7.7, +12.3]",
        "+0.000 [-0.003, +0.003]",
        "+0.070 [+0.053, +0.087]",
    ]
    assert all(row[6] == r"dividing by std \| scales" for row in table)


def test_result_table_shows_mean_effect_and_detectable(markdown: str) -> None:
    # g = J * .07 / .01 with J = 1 - 3 / 15 = .8.
    row = rows(section(markdown, "Results"), "`eval/accuracy` | grpo")[0]

    assert row[2:] == ["0.880 [0.855, 0.905]", "3", "+0.070 [+0.047, +0.093]", "+5.60", "0.031"]


def test_before_and_after_has_the_base_in_four_ways(markdown: str) -> None:
    text = section(markdown, "What RL taught")

    assert [row[:2] for row in rows(text, "base, ")] == [
        ["base, sampled", "0.334"],
        ["base, greedy", "0.414"],
        ["base, pass@16", "0.820"],
        ["base, sampled, early stop suppressed", "0.534"],
    ]
    # .200 of .546.
    assert "`grpo` gains +0.546 over the base" in text
    assert "alone gives +0.200, 37% of that" in text
    assert rows(text, "`eval/behaviour/give_up_rate`")[0][2:] == ["0.510", "0.040", "0.040"]


def test_unfinished_trials_are_listed_and_left_out(markdown: str) -> None:
    table = rows(section(markdown, "Failed or missing trials"), "`")

    assert [(row[0], row[3]) for row in table] == [
        ("`reinforce__s3__abababab`", "FAILED"),
        ("`grpo__s3__abababab`", "MISSING"),
    ]


def test_samples_show_the_same_prompts_of_all_variants(markdown: str) -> None:
    blocks = section(markdown, "Sample responses").split("````text\n")[1:]

    assert len(blocks) == 10
    assert blocks[0].startswith("prompt: Q1 8 3=0?")
    assert all("reinforce (" in block and "grpo (" in block for block in blocks)
    assert "wrong, 96 tokens, cut by the budget" in blocks[0]


def test_page_stands_alone_and_escapes_responses(report: Report) -> None:
    html = report.html.read_text("utf-8")

    targets = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', html)
    assert len(targets) == 4
    assert all(target.startswith("data:image/png;base64,") for target in targets)
    assert "url(" not in html
    assert "@import" not in html
    assert "<script" not in html
    assert "&lt;script&gt;alert(0)" in html
    assert '<td class="good">supported</td>' in html


def test_same_store_gives_the_same_bytes(report: Report, runs: Path) -> None:
    folder = report.html.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    build(runs, FULL.name)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == [
        "behaviour.png",
        "curves_steps.png",
        "curves_tokens.png",
        "differences.png",
        "report.html",
        "report.md",
    ]
    assert not list((runs / "reports").glob(".report-*"))


def test_summary_has_result_and_verdicts(report: Report) -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(report.summary)
    text = capture.get()

    assert "0.880 [0.855, 0.905]" in text
    assert "+0.070 [+0.047, +0.093]" in text
    assert "supported: grpo − reinforce on eval/accuracy is greater than 0.020" in text


def test_one_variant_without_predictions(runs: Path) -> None:
    text = build(runs, SINGLE.name).markdown.read_text("utf-8")

    assert "there is no other variant to compare it with" in text
    assert "No predictions were written down before the run." in text
    assert section(text, "Failed or missing trials").strip() == "none"


def test_nothing_finished_still_makes_a_report(runs: Path) -> None:
    built = build(runs, DEAD.name)
    text = built.markdown.read_text("utf-8")

    assert built.empty == ["reinforce", "grpo"]
    assert main(["report", DEAD.name, "--runs", str(runs)]) == 1, "a planned arm is empty"
    assert "(no result, n = 0 and 0 seeds)" in text
    assert "KILLED" in section(text, "Failed or missing trials")
    assert "No evaluation table is stored." in text


def test_gates_of_a_sound_study(runs: Path) -> None:
    found = {gate.question: gate.level for gate in gates(read_study(runs, FULL.name))}

    bad = {question: level for question, level in found.items() if level is not Level.OK}
    assert bad == {
        "Enough seeds per variant": Level.WARN,
        "All planned trials finished": Level.FAIL,
        "Like numbers of sampled tokens": Level.WARN,
    }


def test_gates_of_a_doubtful_study(runs: Path) -> None:
    found = {gate.question: gate for gate in gates(read_study(runs, DOUBTFUL.name))}

    assert {question: gate.level for question, gate in found.items()} == {
        "Enough seeds per variant": Level.FAIL,
        "Same seeds in every variant": Level.OK,
        "All planned trials finished": Level.FAIL,
        "No runs outside the plan": Level.WARN,
        "Seeds make a difference": Level.WARN,
        "Code, weights and data are the plan's": Level.OK,
        "No trial collapsed": Level.OK,
        "One commit, clean tree": Level.WARN,
        "Only declared factors differ": Level.FAIL,
        "No deviations from the ablation file": Level.WARN,
        "Equal budget": Level.FAIL,
        "Like numbers of sampled tokens": Level.WARN,
        "Responses are the trained model's own": Level.WARN,
        "Same held-out prompts, same order": Level.OK,
        "Metric and checkpoint declared before the run": Level.WARN,
        "Predictions sealed before the runs": Level.OK,
    }
    own = found["Responses are the trained model's own"].detail
    assert "differ by at most 0.08 per token in the mean (reinforce__s1__abababab)" in own
    assert "trainer.lr" in found["Only declared factors differ"].detail
    assert "algorithm.normalize_std" not in found["Only declared factors differ"].detail


def test_gate_of_results_that_were_made_of_other_content(runs: Path) -> None:
    study = read_study(runs, FULL.name)
    question = "Code, weights and data are the plan's"

    def gate(**cells: str) -> Gate:
        columns = {name: pl.lit(value) for name, value in cells.items()}
        other = dataclasses.replace(study, trials=study.trials.with_columns(**columns))
        return next(gate for gate in gates(other) if gate.question == question)

    assert gate().level is Level.OK
    assert gate(identity="edited").level is Level.FAIL
    assert gate(identity="", planned="").level is Level.FAIL
    changed = {"identity": "edited", "planned": "b", "accepted": "code of mypkg.crash"}
    assert gate(**changed, accepted_as="a").level is Level.FAIL, "accepted, but as something else"
    kept = gate(**changed, accepted_as="a b")
    assert kept.level is Level.WARN
    assert "grpo__s0__abababab: code of mypkg.crash" in kept.detail
    assert "grpo__s0__abababab is full__s0" in gate(origin="full__s0").detail


def test_finished_without_an_evaluation_is_no_result(runs: Path) -> None:
    trials = read_study(runs, DOUBTFUL.name).trials

    assert trials.filter(trial="grpo__s2__abababab")["status"].to_list() == [NO_RESULT]


def test_history_keeps_the_latest_record_and_real_infinities(runs: Path) -> None:
    metrics = load.load_experiment(load.open_store(runs), DOUBTFUL.name, runs).metrics
    own = metrics.filter(pl.col("trial") == "old__s0__00000000").sort("metric", "step")

    assert own.select("metric", "step").rows() == [
        ("eval/entropy", 5),
        ("eval/entropy", 6),
        ("eval/kl", 5),
    ]
    nan, infinite, latest = own["value"]
    assert nan != nan
    assert infinite == float("-inf")
    assert latest == 2.0


def test_pages_of_runs_are_all_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = load.open_store(runs)
    whole = load.load_experiment(client, FULL.name, runs)
    monkeypatch.setattr(load, "PAGE", 2)

    assert load.load_experiment(client, FULL.name, runs).runs.equals(whole.runs)
    assert len(whole.runs) == 7


def test_unknown_names_say_what_is_valid(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="valid: all_failed, doubtful, one_variant, std"):
        build(runs, "nope")
    with pytest.raises(ConfigError, match=r"'nope' is not in the MLflow store; valid: .*doubtful"):
        load.load_experiment(load.open_store(runs), "nope", runs)
    with pytest.raises(ConfigError, match="no MLflow store at"):
        load.open_store(tmp_path)


def test_command_prints_the_path(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", SINGLE.name, "--runs", str(runs)]) == 0
    assert f"{runs}/reports/{SINGLE.name}/report.html" in capsys.readouterr().out


def test_command_fails_in_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nope", "--runs", str(runs)]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("analysis", "torch mlflow"),
        ("analysis.stats", "torch mlflow polars"),
        ("analysis.report", "torch"),
    ],
)
def test_import_stays_light(module: str, absent: str) -> None:
    code = f"import sys, {module}; print([m for m in {absent.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
