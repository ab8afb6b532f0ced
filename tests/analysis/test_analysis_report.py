"""From a real MLflow store to the report."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import synthetic_store as store
from mlflow.entities import Metric
from rich.console import Console
from synthetic_store import DEAD, FULL, SINGLE, SOUND, Plan, Trial

from analysis import load, text
from analysis.__main__ import main
from analysis.ablation import Checkpoint, Primary
from analysis.findings import findings
from analysis.gates import Gate, Level, gates
from analysis.report import Report, build
from analysis.stats import Difference
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


# A comparison that no prediction speaks of, and predictions of another metric; pairs declared.
PAIRED = dataclasses.replace(SOUND, name="paired", predictions=SOUND.predictions[1:2], paired=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "runs"
    client = store.write(folder, [FULL, SOUND, SINGLE, DEAD, DOUBTFUL, PAIRED])
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


@pytest.fixture(scope="module")
def sound(runs: Path) -> Report:
    """A study without a failed gate."""
    return build(runs, SOUND.name)


def printed(report: Report) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(report.summary)
    return capture.get()


def section(markdown: str, title: str) -> str:
    """Text of one second-level section."""
    return re.split(r"^## ", markdown.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def rows(text: str, start: str) -> list[list[str]]:
    """Cells of the table rows whose first cell starts so."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


# .880 - .810 = .070; s = .01 each: se = .01 * sqrt(2/3) = .0081650, df = 4. p of the four
# predictions alone: .05 above the margin is 6.124 se, .0036; 10 tokens, se .8165, on the wrong
# side of 0, 12.25 se, .00025; kl, s = .002, inside .01 by 6.124 se of .001633, one-sided .0018;
# .02 outside of .05, 2.449 se, .0705. Holm: .0036 * 2, .00025 * 4, .0018 * 3, .0705. Tested at
# .05 / 2, / 4, / 3, / 1, and equal inside at twice that: t(4) = 3.4954, 4.3147, 3.1863, 2.7764.
LEVELS = ["97.5 %", "98.75 %", "96.67 %", "95 %"]
INTERVALS = [
    "+0.070 [+0.041, +0.099]",
    "+10.0 [+6.5, +13.5]",
    "+0.000 [-0.005, +0.005]",
    "+0.070 [+0.047, +0.093]",
]
VERDICTS = ["supported", "refuted", "supported", "undecided"]


def test_answer_recovers_the_planted_difference(sound: Report) -> None:
    answer = sound.markdown.read_text("utf-8").split("**Answer.**")[1].split("\n")[0]

    assert (
        "**+0.070 [+0.041, +0.099]** (97.5 %; greater than 0.020: supported) and "
        "**+0.070 [+0.047, +0.093]** (95 %; within ±0.050: undecided), n = 3 and 3 seeds"
    ) in answer
    assert "(0.810; base model before training 0.334)" in answer
    # 4.52 standard deviations of .01 at .025 with 3 + 3 seeds, and 3.16 for equal at .05.
    assert "detected true differences smaller than 0.045 or shown equality" in answer
    assert "within margins below 0.032 (80 % power, Welch test" in answer
    assert "2 supported, 1 refuted, 1 undecided" in answer
    assert "screening" in answer


def test_every_prediction_gets_its_verdict(sound: Report) -> None:
    table = rows(section(sound.markdown.read_text("utf-8"), "Predictions"), "grpo −")

    assert [row[1] for row in table] == VERDICTS
    assert [row[2] for row in table] == INTERVALS
    assert [row[3] for row in table] == LEVELS
    assert [row[4] for row in table] == ["0.007", "0.001", "0.005", "0.070"]
    assert all(row[7] == r"dividing by std \| scales" for row in table)


def test_page_terminal_and_json_say_the_same(sound: Report) -> None:
    data = json.loads((sound.html.parent / "report.json").read_text("utf-8"))
    found = data["predictions"]

    assert [p["verdict"] for p in found] == VERDICTS
    assert [p["p"] for p in found] == pytest.approx([0.0072, 0.0010, 0.0054, 0.0705], abs=5e-5)
    for p, interval, level in zip(found, INTERVALS, LEVELS, strict=True):
        d = Difference(**p["difference"])
        assert text.difference(d, p["metric"]) == interval
        assert text.percent(d.level) == level
    lines = [line for line in printed(sound).splitlines() if "grpo −" in line]
    assert [line.split(":")[0] for line in lines] == VERDICTS
    assert "(p 0.007)" in lines[0]
    assert data["comparisons"] == []
    assert data["withheld"] == ""


def test_a_failed_gate_withholds_every_verdict_everywhere(report: Report, markdown: str) -> None:
    """Two of eight trials are missing."""
    reason = "trust gate FAIL: All planned trials finished"
    data = json.loads((report.html.parent / "report.json").read_text("utf-8"))

    assert data["withheld"] == reason
    assert {(p["verdict"], p["reason"], p["p"]) for p in data["predictions"]} == {
        ("withheld", reason, None)
    }
    table = rows(section(markdown, "Predictions"), "grpo −")
    assert {row[1] for row in table} == {"withheld"}
    assert f"No verdict is given: {reason}." in markdown.split("\n## ")[0]
    assert "Of 4 predictions: 4 withheld." in markdown
    lines = [line for line in printed(report).splitlines() if "grpo −" in line]
    assert all(line.startswith("withheld: ") and reason in line for line in lines)
    assert len(lines) == 4
    assert not re.search(r"supported\b|\((higher|lower)", markdown.split("Holm's procedure")[0])


def test_pairing_is_reported_either_way_and_used_where_declared(runs: Path, sound: Report) -> None:
    """Wrong responses are longer by the seed's number in both arms: correlation 1."""
    apart = section(sound.markdown.read_text("utf-8"), "Results")
    together = build(runs, PAIRED.name).markdown.read_text("utf-8")

    row = rows(apart.split("### Pairing by seed")[1], "`eval/response_length/wrong`")[0]
    assert row[1:] == ["grpo − reinforce", "3", "+1.00", "2.3", "–"]
    assert "as groups of seeds (Welch t test)" in sound.markdown.read_text("utf-8")
    assert "seed by seed (paired t test)" in together
    assert "the difference is the same at every seed" in together
    # All three seeds differ by .07 in accuracy as well.
    data = json.loads((runs / "reports" / PAIRED.name / "report.json").read_text("utf-8"))
    assert data["test"] == "paired t"
    assert [c["verdict"] for c in data["comparisons"]] == ["withheld"]


def test_an_arm_that_no_prediction_speaks_of_is_compared(runs: Path) -> None:
    study = read_study(runs, SOUND.name)
    silent = dataclasses.replace(study.manifest.ablation, predictions=[])
    manifest = dataclasses.replace(study.manifest, ablation=silent)
    history = dataclasses.replace(study.history, revisions=[manifest])
    found = findings(dataclasses.replace(study, history=history))

    assert found.predicted == []
    assert [(f.variant, f.reading) for f in found.compared] == [("grpo", "higher")]
    assert findings(study).compared == [], "a prediction on the primary metric speaks of it"


def test_result_table_shows_mean_effect_and_detectable(markdown: str) -> None:
    # g = J * .07 / .01 with J = 1 - 3 / 15 = .8. Detectable: 3.507 standard deviations. Interval
    # of a share: logit(.88) = 1.99243 ± 4.30265 * .01 / sqrt(3) / (.88 * .12) = .23524.
    row = rows(section(markdown, "Results"), "`eval/accuracy` | grpo")[0]

    assert row[2:] == ["0.880 [0.853, 0.903]", "3", "+0.070 [+0.047, +0.093]", "+5.60", "0.035"]


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
    assert '<td class="fair">withheld</td>' in html


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
        "report.json",
        "report.md",
    ]
    assert not list((runs / "reports").glob(".report-*"))


def test_summary_has_result_and_verdicts(sound: Report) -> None:
    shown = printed(sound)

    assert "0.880 [0.853, 0.903]" in shown
    assert "+0.070 [+0.041, +0.099] 97.5 %" in shown
    assert "supported, undecided" in shown
    assert "supported: grpo − reinforce on eval/accuracy is greater than 0.020 (p 0.007)" in shown
    assert '<td class="good">supported</td>' in sound.html.read_text("utf-8")


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
    assert "no result), n = 0 and 0 seeds" in text
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
        "Equal tuning budget per arm, fresh seeds": Level.OK,
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
    with pytest.raises(
        ConfigError, match="valid: all_failed, doubtful, one_variant, paired, sound, std"
    ):
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
