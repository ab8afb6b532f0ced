"""From a real MLflow store to the report."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_store as store
from mlflow.entities import Metric
from rich.console import Console
from synthetic_store import DEAD, FULL, SINGLE, SOUND, Plan, Trial

from analysis import checklist, estimates, load, looks, text
from analysis.__main__ import main
from analysis.ablation import Checkpoint, Primary
from analysis.findings import findings
from analysis.gates import Gate, Level, gates
from analysis.panels import panels
from analysis.report import Report, build, write
from analysis.stats import Difference
from analysis.study import NO_RESULT, read_study
from harness.errors import ConfigError
from harness.tracking.store import open_store

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


def head(report: Report) -> str:
    """The first screen."""
    return report.markdown.read_text("utf-8").split("\n## ")[0]


def test_answer_speaks_of_all_that_was_predicted(sound: Report) -> None:
    screen = head(sound)
    answer = screen.split("**Answer.**")[1].split("\n")[0]

    assert (
        "`grpo` against `reinforce`: held-out accuracy **+0.070 [+0.041, +0.099]** (97.5 %; "
        "greater than 0.020: supported) and **+0.070 [+0.047, +0.093]** (95 %; within ±0.050: "
        "undecided); length of wrong responses **+10.0 [+6.5, +13.5]** (98.75 %; less than 0.0: "
        "refuted); KL from the base model **+0.000 [-0.005, +0.005]** (96.67 %; within ±0.010: "
        "supported)."
    ) in answer
    assert "Of 4 predictions: 2 **supported**, 1 **refuted**, 1 **undecided**." in screen
    assert "`reinforce` is 0.810, of the base model before training 0.334; 3 seeds per" in screen
    # 4.52 standard deviations of .01 at .025 with 3 + 3 seeds, and 3.16 for equal at .05.
    assert "detected true differences smaller than 0.045 or shown equality" in screen
    assert "within margins below 0.032 (80 % power, Welch test" in screen
    assert "screening" in screen


def test_first_screen_has_gates_cost_and_the_forest(sound: Report) -> None:
    screen = head(sound)

    assert (
        "2 **WARN** (Enough seeds per variant; Like numbers of sampled tokens), 23 **OK**" in screen
    )
    # 6 trials of 30 steps of .5 s; 3 trials x 30 x (9000 + 10500) tokens.
    assert "6 of 6 trials have a result, 0.025 device-hours of training, 1,755,000" in screen
    images = re.findall(r"!\[(.*?)\]\((.*?)\)", screen)
    assert [file for _, file in images] == [
        "differences_eval_accuracy.svg",
        "differences_eval_response_length_wrong.svg",
        "differences_eval_kl.svg",
    ]
    assert "grpo +10.0 \\[+6.5, +13.5\\], less than 0.0: refuted." in images[1][0]


def test_every_prediction_gets_its_verdict(sound: Report) -> None:
    table = rows(section(sound.markdown.read_text("utf-8"), "Predictions"), "grpo −")

    assert [row[1] for row in table] == VERDICTS
    assert [row[2] for row in table] == INTERVALS
    assert [row[3] for row in table] == LEVELS
    assert [row[4] for row in table] == ["0.007", "0.001", "0.005", "0.070"]
    text = section(sound.markdown.read_text("utf-8"), "Predictions")
    assert text.count(", because: dividing by std | scales") == 4


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
    assert "Of 4 predictions: 4 **withheld**." in markdown
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
    assert "alone gives +0.200, 37 % of that" in text
    assert rows(text, "`eval/behaviour/give_up_rate`")[0][2:] == ["0.510", "0.040", "0.040"]


def test_unfinished_trials_are_listed_and_left_out(markdown: str) -> None:
    table = rows(section(markdown, "Failures"), "`")

    assert [(row[0], row[3]) for row in table] == [
        ("`reinforce__s3__abababab`", "FAILED"),
        ("`grpo__s3__abababab`", "MISSING"),
    ]


def test_samples_show_the_same_prompts_of_all_variants(markdown: str) -> None:
    prompts = section(markdown, "Sample responses").split("#### Prompt ")[1:]

    assert len(prompts) == 10
    assert prompts[0].startswith(
        "1 of 24\n\n```text\nprompt: Q1 8 3=0?\n```\n\n````text\nreinforce ("
    )
    assert all("\nreinforce (" in block and "\ngrpo (" in block for block in prompts)
    assert "wrong, 96 tokens, cut by the budget" in prompts[0]


def test_page_stands_alone_and_escapes_responses(report: Report) -> None:
    html = report.html.read_text("utf-8")

    targets = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', html)
    assert all(target.startswith("#") for target in targets)
    assert html.count("<svg ") == len(list(report.html.parent.glob("*.svg"))) > 15
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html
    assert "<script" not in html
    assert "&lt;script&gt;alert(0)" in html
    assert '<td class="fair" data-label="verdict">withheld</td>' in html


def test_same_store_gives_the_same_bytes(report: Report, runs: Path) -> None:
    folder = report.html.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for ending in ("svg", "png"):
        (folder / f"of_an_earlier_report.{ending}").touch()
    build(runs, FULL.name)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    others = [name for name in sorted(before) if not name.endswith(".svg")]
    assert others == ["report.html", "report.json", "report.md"]
    assert {
        *("eval_accuracy_steps.svg", "eval_accuracy_tokens.svg", "eval_accuracy_seconds.svg"),
        *("eval_response_length_wrong_steps.svg", "eval_accuracy_front.svg", "eval_kl_steps.svg"),
    } <= set(before)
    assert max(len(content) for name, content in before.items() if name != "report.html") < 60_000
    assert not list((runs / "reports").glob(".report-*"))
    assert len(looks.recorded(runs, FULL.name)) == 1, "two trials have no result: one look"


# Points 7, 8, 9, 12, 13 and 17 of the checklist for reports: asked of the page, not of the data.
SHOWN = {
    "interval method named": ["Welch interval", "95 % t interval"],
    "family and adjustment": ["Holm's procedure over the 4 predictions", "p (Holm)"],
    "effect size and what could be seen": ["Hedges", "detectable", "could show", "80 % power"],
    "every seed drawn": ["Dots: seeds", "Thin lines: one trial each"],
    "smoothing, alignment, no extrapolation": [
        *("not smoothed", "interpolated", "up to where the shortest trial ended"),
    ],
}


@pytest.mark.parametrize("point", SHOWN)
def test_page_says_what_a_reviewer_looks_for(sound: Report, point: str) -> None:
    words = " ".join(sound.markdown.read_text("utf-8").split())
    html = sound.html.read_text("utf-8").replace("&#x27;", "'").replace("&quot;", '"')
    page = " ".join(re.sub(r"<[^>]*>", "", html).split())
    assert [w for w in SHOWN[point] if w not in words or w not in page] == []


def test_both_p_values_and_all_sources_of_the_numbers_are_in_the_record(
    sound: Report, runs: Path
) -> None:
    data = json.loads((sound.html.parent / "report.json").read_text("utf-8"))
    assert all(p["alone"] <= p["p"] for p in data["predictions"])
    assert all(p["resolution"]["value"] > 0 for p in data["predictions"])
    gate = data["gates"][0]
    assert set(gate) == {"question", "level", "detail", "variants"}
    study, words = read_study(runs, SOUND.name), sound.markdown.read_text("utf-8")
    traced = [*study.finished["run_id"], study.manifest.code_hash, study.manifest.seal]
    assert [x for x in traced if x not in words] == []


def test_summary_has_result_and_verdicts(sound: Report) -> None:
    shown = printed(sound)

    assert "0.880 [0.853, 0.903]" in shown
    assert "+0.070 [+0.041, +0.099] 97.5 %" in shown
    assert "supported, undecided" in shown
    assert "supported: grpo − reinforce on eval/accuracy is greater than 0.020 (p 0.007)" in shown
    assert '<td class="good" data-label="verdict">supported</td>' in sound.html.read_text("utf-8")


def test_one_variant_without_predictions(runs: Path) -> None:
    text = build(runs, SINGLE.name).markdown.read_text("utf-8")

    assert "there is no other variant to compare it with" in text
    assert "No predictions were written down before the run." in text
    assert "without a result" not in section(text, "Failures")


def test_nothing_finished_still_makes_a_report(runs: Path) -> None:
    built = build(runs, DEAD.name)
    text = built.markdown.read_text("utf-8")

    assert built.empty == ["reinforce", "grpo"]
    assert main(["report", DEAD.name, "--runs", str(runs)]) == 1, "a planned arm is empty"
    assert "held-out accuracy no result." in text
    assert "0 of 2 trials have a result" in text
    assert "KILLED" in section(text, "Failures")
    assert "No evaluation table is stored." in text


def test_gates_of_a_sound_study(runs: Path) -> None:
    found = {gate.question: gate.level for gate in gates(read_study(runs, FULL.name))}

    bad = {question: level for question, level in found.items() if level is not Level.OK}
    assert bad == {
        "Enough seeds per variant": Level.WARN,
        "All planned trials finished": Level.FAIL,
        "Like numbers of sampled tokens": Level.WARN,
        "No look at the results before the last one": Level.WARN,
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
        "Results are those of the trials' records": Level.OK,
        "Seeds are compared as the test assumes": Level.WARN,
        "Each trial ran with its planned config": Level.OK,
        "Same code, base model and task but for the factors": Level.OK,
        "Evaluated alike in every variant": Level.OK,
        "Same libraries, threads and hardware": Level.OK,
        "Same truncation, format and grader errors in every variant": Level.OK,
        "No look at the results before the last one": Level.WARN,
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
    metrics = load(runs, DOUBTFUL.name).metrics
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


def test_unknown_names_say_what_is_valid(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="valid: all_failed, doubtful, one_variant, paired, sound, std"
    ):
        build(runs, "nope")
    with pytest.raises(ConfigError, match=r"'nope' is not in the MLflow store; valid: .*doubtful"):
        load(runs, "nope")
    with pytest.raises(ConfigError, match="no MLflow store at"):
        load(tmp_path)


def test_command_prints_the_path_and_lets_the_store_have_the_report(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", SINGLE.name, "--runs", str(runs)]) == 0
    assert f"{runs}/reports/{SINGLE.name}/report.html" in capsys.readouterr().out
    client = open_store(runs)
    experiment = client.get_experiment_by_name("reports").experiment_id
    (copy,) = client.search_runs([experiment], f"tags.report = '{SINGLE.name}'")
    told = {file.path for file in client.list_artifacts(copy.info.run_id)}
    assert told == {path.name for path in (runs / "reports" / SINGLE.name).iterdir()}
    # Seeds 0 and 1 of grpo were planted at .87 and .88.
    assert copy.data.metrics["result grpo"] == pytest.approx(0.875)


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


def test_terminal_names_every_gate_that_is_not_ok(report: Report) -> None:
    lines = printed(report).splitlines()

    assert [line.split(":")[1].strip() for line in lines if line.startswith("FAIL:")] == [
        "All planned trials finished"
    ]
    assert [line.split(":")[1].strip() for line in lines if line.startswith("WARN:")] == [
        "Enough seeds per variant",
        "Like numbers of sampled tokens",
        "No look at the results before the last one",
    ]


def test_write_up_has_the_tutorials_parts_and_the_authors_part_marked(sound: Report) -> None:
    page = section(sound.markdown.read_text("utf-8"), "Write-up")

    for part in ("Title.", "Hypothesis.", "Methods.", "Results.", "Discussion."):
        assert f"**{part}**" in page
    assert "reinforce, held-out accuracy: +0.070 [+0.041, +0.099] (97.5 %, p = 0.007)" in page
    assert "Refuted: grpo − reinforce on eval/response_length/wrong is less than 0.0." in page
    assert page.count("**To write:**") == 6


def test_every_seed_stands_in_the_report(sound: Report) -> None:
    table = section(sound.markdown.read_text("utf-8"), "Every seed").split("### ")[1]

    assert [row[1:] for row in rows(table, "")[2:]] == [
        ["0.800", "0.870"],
        ["0.810", "0.880"],
        ["0.820", "0.890"],
    ]


def test_checklist_is_filled_in_from_the_record(markdown: str, sound: Report) -> None:
    def answers(text: str) -> dict[str, str]:
        table = section(text, "Reproducibility checklist")
        return {row[0]: row[1] for row in rows(table, "")[2:]}

    good, bad = answers(sound.markdown.read_text("utf-8")), answers(markdown)
    assert good["Every planned trial has a result"] == "OK"
    assert bad["Every planned trial has a result"] == "MISSING"
    assert good["The code's commit is known"] == "OK"
    assert good["At least 5 seeds per variant"] == "MISSING"
    written = json.loads(sound.html.with_name("report.json").read_text("utf-8"))
    evidence = {item["question"]: item["evidence"] for item in written["checklist"]}
    assert "the trainer's own" in evidence["Whose log-probs the ratios are taken against"]
    told = {item["question"]: "OK" if item["there"] else "MISSING" for item in written["checklist"]}
    assert told == good


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"old_logprobs": "trainer"}, "the trainer's own before the first update"),
        ({"old_logprobs": "sampler"}, "the rollout engine's, without a pass of the trainer's"),
        ({}, "the trainer's own before the first update"),
    ],
)
def test_checklist_names_the_old_log_probs(runs: Path, trainer: dict[str, Any], words: str) -> None:
    study = dataclasses.replace(read_study(runs, SOUND.name), config={"trainer": trainer})
    (item,) = (item for item in checklist.items(study) if "ratios" in item.question)
    assert item.there
    assert item.evidence == words


def test_cost_is_the_same_in_the_page_and_in_report_json(sound: Report) -> None:
    """Three trials of 30 steps of half a second; 9,000 and 10,500 tokens a step."""
    written = json.loads(sound.html.with_name("report.json").read_text("utf-8"))["cost"]
    assert [v["variant"] for v in written["variants"]] == ["reinforce", "grpo"]
    assert [v["tokens"] for v in written["variants"]] == [810_000, 945_000]
    assert written["all"]["device_hours"] == pytest.approx(3 * 2 * 15 / 3600)
    assert written["all"]["price"] is None
    table = rows(section(sound.markdown.read_text("utf-8"), "Cost"), "")
    assert [row[3] for row in table[2:]] == ["810,000", "945,000", "1,755,000"]


def test_only_methods_that_were_used_are_cited(runs: Path, sound: Report) -> None:
    def cited(text: str) -> set[str]:
        return set(re.findall(r"^- (\w+)", section(text, "Methods cited"), re.MULTILINE))

    whole = cited(sound.markdown.read_text("utf-8"))
    alone = cited(build(runs, SINGLE.name).markdown.read_text("utf-8"))
    assert {"Welch", "Holm", "Hedges", "Schuirmann", "Student"} <= whole
    assert not {"Agarwal", "Armitage"} & whole
    assert not {"Welch", "Holm", "Hedges", "Schuirmann"} & alone


def test_metrics_of_parts_are_shown_and_bounds_stay_where_values_can_be(runs: Path) -> None:
    study = read_study(runs, SOUND.name)
    kinds = {"eval/accuracy": "eval/accuracy/difficulty_3", "eval/kl": "eval/response_length/wrong"}
    renamed = study.metrics.filter(pl.col("metric").is_in(list(kinds))).with_columns(
        pl.col("metric").replace(kinds), value=pl.col("value") * 100
    )
    both = pl.concat([study.metrics.filter(metric="eval/accuracy"), renamed])
    last = both.filter(pl.col("step") == store.STEPS)
    other = dataclasses.replace(study, metrics=both, results=last)
    found = findings(other)
    text = write(other, found, panels(other, found))

    assert "`eval/accuracy/difficulty_3`" in section(text, "Results")
    assert "eval_accuracy_difficulty_3_steps.svg" in section(text, "Parts and difficulties")
    # Lengths of 8.0, 8.2 and 8.4 stay; of 0.1, 0.2 and 3 the t interval would begin below 0.
    low = estimates.estimate(np.array([0.1, 0.2, 3.0]), "eval/response_length/wrong").low
    assert low == 0.0
    assert estimates.estimate(np.array([0.1, 0.2, 3.0]), "critic/score/mean").low < 0


def test_two_seeds_are_told_in_words_that_fit_their_intervals(runs: Path) -> None:
    study = read_study(runs, SOUND.name)
    two = study.results.filter(pl.col("seed") < 2)
    plan = dataclasses.replace(study.manifest.ablation, hypothesis=" ")
    manifest = dataclasses.replace(study.manifest, ablation=plan)
    history = dataclasses.replace(study.history, revisions=[manifest])
    other = dataclasses.replace(study, results=two, history=history)
    text = write(other, findings(other), [])

    assert "spread over seeds is unknown" not in text
    assert "With fewer than 3 seeds in a variant no verdict is given" in text
    assert "**Hypothesis.** None was written down." in text
