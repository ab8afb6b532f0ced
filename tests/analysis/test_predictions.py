"""Predictions on parts and on what is read off curves: written, sealed, read, decided, varied."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from analysis import claims, exploratory, frame, multiverse, names, stats
from analysis.ablation import Prediction, Primary, Relation
from analysis.changes import changes
from analysis.deciding import predicted
from analysis.findings import Findings, expected
from analysis.fixed import plain, read
from analysis.multiverse import Missing, Rule
from analysis.quantity import RESULT, Kind, Quantity, quantity
from analysis.reading import columns
from analysis.report import build
from analysis.revisions import History
from analysis.stats import Claim, Outcome, Verdict
from analysis.study import FINISHED, Study
from analysis.units import is_share, ordered
from harness.config import Budget, BudgetUnit
from harness.errors import ConfigError
from harness.typed import typed
from tests.analysis import synthetic_store as store
from tests.analysis.synthetic_store import Plan, Trial

GREATER, LESS, EQUAL = Relation


def claimed(relation: Relation, quantity: str, metric: str = "eval/accuracy", **size: float) -> Any:
    return Prediction(metric, "b", relation, "a", "because", quantity=quantity, **size)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("result", RESULT),
        ("at_equal_seconds", Quantity(Kind.AT_EQUAL, "seconds")),
        ("area_over_steps", Quantity(Kind.AREA, "steps")),
        ("tokens_to(0.6)", Quantity(Kind.TIME, "tokens", 0.6)),
        ("steps_to(-2)", Quantity(Kind.TIME, "steps", -2.0)),
    ],
)
def test_a_quantity_is_read(written: str, meant: Quantity) -> None:
    assert quantity(written) == meant


@pytest.mark.parametrize("written", ["", "tokens_to", "tokens_to(x)", "epochs_to(1)", "area"])
def test_an_unknown_quantity_is_refused_with_the_valid_ones(written: str) -> None:
    with pytest.raises(ConfigError, match=r"valid: result, at_equal_tokens, .*tokens_to\(0.6\)"):
        quantity(written)


@pytest.mark.parametrize(
    ("relation", "of", "size", "said"),
    [
        (LESS, "tokens_to(0.6)", {}, r"needs a ratio in \(0, 1\], received none"),
        (LESS, "tokens_to(0.6)", {"ratio": 1.5}, r"needs a ratio in \(0, 1\], received 1.5"),
        (GREATER, "tokens_to(0.6)", {"ratio": 0.5}, "needs a ratio at least 1"),
        (EQUAL, "tokens_to(0.6)", {"ratio": 1.0}, "needs a ratio above 1"),
        (LESS, "tokens_to(0.6)", {"ratio": 0.5, "margin": 0.1}, "leave margin out"),
        (LESS, "area_over_tokens", {"ratio": 0.5}, "has no ratio"),
        (LESS, "result", {}, "margin is not set"),
        (EQUAL, "result", {"margin": 0.0}, "`equal` needs a margin above 0"),
        (LESS, "result", {"margin": -1.0}, "margin must be at least 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    relation: Relation, of: str, size: dict[str, float], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        claimed(relation, of, **size)


def test_a_variant_is_not_compared_with_itself() -> None:
    """It is within any margin of itself: `equal` would be supported by nothing."""
    with pytest.raises(ConfigError, match="received 'grpo' for variant and baseline; name two"):
        Prediction("eval/kl", "grpo", EQUAL, "grpo", "a reason", 0.01)


def test_a_claim_is_written_once() -> None:
    """Twice it would count twice in Holm's family; two bars for one difference are two claims."""
    first = claimed(GREATER, "result", margin=0.05)
    other = dataclasses.replace(first, because="for another reason")
    with pytest.raises(ConfigError, match=r"b - a on eval/accuracy \(greater\) repeats"):
        store.manifest(planned([first, other]))
    store.manifest(planned([first, dataclasses.replace(first, margin=0.1)]))
    store.manifest(planned([first, claimed(GREATER, "tokens_to(0.6)", ratio=1.05)]))


def test_a_ratio_is_tested_as_a_logarithm() -> None:
    assert claimed(LESS, "tokens_to(0.6)", ratio=0.33).margin == pytest.approx(1.10866, abs=1e-5)
    said = [
        expected(claimed(relation, "steps_to(1)", ratio=ratio))
        for relation, ratio in ((LESS, 0.33), (GREATER, 1.5), (EQUAL, 1.25))
    ]
    assert said == ["below ×0.33", "above ×1.5", "within ×0.8 and ×1.25"]


def test_an_ablation_file_may_predict_on_a_part_and_on_a_ratio() -> None:
    node = {
        "_target_": "analysis.ablation.Ablation",
        "name": "mine",
        "question": "?",
        "hypothesis": "!",
        "baseline": "a",
        "factors": [],
        "variants": [{"label": "a"}, {"label": "b"}],
        "seeds": [0],
        "budget": {"unit": "tokens", "amount": 10},
        "predictions": [
            {
                "metric": "eval/accuracy/part_sums",
                "variant": "b",
                "relation": "less",
                "baseline": "a",
                "quantity": "tokens_to(0.6)",
                "ratio": 0.33,
                "because": "x",
            }
        ],
    }
    (p,) = typed(node).predictions
    assert (p.reads.threshold, p.ratio) == (0.6, 0.33)
    assert read(Prediction, json.loads(json.dumps(plain(p)))) == p


@pytest.mark.parametrize("metric", ["eval/accuracy/parts_x", "eval/accuracy/part_", "eval/x"])
def test_a_metric_that_is_none_is_refused(metric: str) -> None:
    one = store.manifest(store.SOUND).ablation
    with pytest.raises(ConfigError, match=r"is not declared; valid: eval/accuracy, .*part_\.\.\."):
        dataclasses.replace(one, primary=Primary(metric=metric))


def test_what_says_nothing_new_keeps_its_seal() -> None:
    """Of the same JSON as before there were quantities, worst values and tunings."""
    seal = "cc0fc0237657dba2acd05ba6302228f5c032187f5789885690fceabadba635e3"
    assert store.manifest(store.SOUND).seal == seal


def test_a_changed_ratio_or_quantity_is_a_changed_claim() -> None:
    before = store.manifest(planned([claimed(LESS, "tokens_to(0.6)", ratio=0.5)]))
    for now, said in (
        (claimed(LESS, "tokens_to(0.6)", ratio=0.4), "ratio 0.5 -> 0.4"),
        (claimed(LESS, "steps_to(0.6)", ratio=0.5), "quantity 'tokens_to(0.6)' -> "),
        (claimed(LESS, "result", margin=0.1), "quantity 'tokens_to(0.6)' -> unset"),
    ):
        made = store.manifest(planned([now]))
        assert made.seal != before.seal
        assert said in " ".join(change.text for change in changes(before, made))


# Arms of four seeds. At steps 0, 10, 20, 30 a trial has .334 plus .0, .75014, .94788, 1 of the way
# to its accuracy: (1 - exp(-4 x)) / (1 - exp(-4)). Tokens per step: 9,000.
SLOW, FAST = (0.80, 0.81, 0.82, 0.83), (0.90, 0.91, 0.92, 0.93)


def planned(predictions: Sequence[Prediction], slow: Sequence[float] = SLOW) -> Plan:
    trials = [Trial("a", seed, x) for seed, x in enumerate(slow)]
    trials += [Trial("b", seed, x) for seed, x in enumerate(FAST)]
    return Plan("curves", trials, list(predictions))


def study(plan: Plan, gone: Sequence[str] = (), **ablation: Any) -> Study:
    """What the store would hold, without the store."""
    manifest = store.manifest(plan)
    manifest = dataclasses.replace(
        manifest, ablation=dataclasses.replace(manifest.ablation, **ablation)
    )
    kept = [t for t in plan.trials if t.name not in gone]
    rows = [
        (t.name, t.name, t.variant, t.seed, *row)
        for number, t in enumerate(kept)
        for row in store.metric_rows(t, number)
    ]
    metrics = pl.DataFrame(rows, schema=columns.METRICS, orient="row")
    trials = [(t.name, t.variant, t.seed, FINISHED if t in kept else "FAILED") for t in plan.trials]
    return Study(
        history=History([manifest], []),
        trials=pl.DataFrame(trials, schema=["trial", "variant", "seed", "status"], orient="row"),
        metrics=metrics,
        results=frame.results(metrics, manifest.ablation.primary),
        tables={},
        config={},
        strangers=[],
        runs=pl.DataFrame(),
        seals={},
    )


def only(verdicts: list[Verdict]) -> Verdict:
    (verdict,) = verdicts
    return verdict


def test_values_at_equal_tokens_and_areas_by_hand() -> None:
    """One trial samples 10,500 tokens a step: all are read at 270,000, where the others end."""
    made = planned([])
    made.trials[-1] = dataclasses.replace(made.trials[-1], tokens_per_step=10_500)
    seen = study(made)
    rows = claims.read(seen, "eval/accuracy", quantity("at_equal_tokens"))
    # 270,000 / 10,500 = 25.714 steps: .57140 of the way from step 20 (.334 + .596 * .94788 =
    # .89894) to step 30 (.93).
    assert rows["value"].to_list()[-1] == pytest.approx(0.91669, abs=1e-4)
    assert rows["value"].to_list()[0] == pytest.approx(0.80)
    # Trapezoids at steps 0, 10, 20, 30: (0 / 2 + .75014 + .94788 + 1 / 2) / 3 = .73267 of the way.
    # The grid has 60 points and not those four, which cuts corners.
    area = claims.read(seen, "eval/accuracy", quantity("area_over_steps"))
    assert area["value"].to_list()[0] == pytest.approx(0.334 + 0.466 * 0.73267, abs=1e-3)


def test_tokens_to_a_threshold_by_hand() -> None:
    # .9: at step 10 .334 + .566 * .75014 = .75858, at 20 .87050: .8 at 13.701 steps, 123,308
    # tokens. .80: never .8 before step 30, where it is .8 by rounding; .805 is never reached.
    p = claimed(LESS, "tokens_to(0.805)", ratio=0.9)
    rows = claims.read(study(planned([p])), p.metric, p.reads)
    slow, fast = (rows.filter(variant=label) for label in "ab")
    assert slow["reached"].to_list() == [False, True, True, True]
    assert slow["value"].to_list()[0] == slow["end"].to_list()[0] == 270_000
    # .9: .805 at 10 + (.805 - .75858) / .11192 * 10 = 14.148 steps.
    assert fast["value"].to_list()[0] == pytest.approx(9000 * 14.148, rel=1e-4)


def asked(seen: Study) -> list[Claim]:
    """The family of the predictions on all seeds."""
    return predicted(seen)(None)


def test_a_ratio_of_complete_times_is_decided_on_logarithms() -> None:
    p = claimed(LESS, "tokens_to(0.75)", ratio=0.9)
    verdict = only(stats.decide(asked(study(planned([p])))))
    assert verdict.outcome is Outcome.SUPPORTED
    assert verdict.difference.of_logs
    assert verdict.difference.high < math.log(0.9)


def test_a_ratio_with_a_censored_trial_is_decided_by_rank() -> None:
    """Four before four: 2 of 70. Half of the time would need what nobody has seen."""
    claim, bold = (claimed(LESS, "tokens_to(0.805)", ratio=r) for r in (0.9, 0.4))
    assert only(stats.decide(asked(study(planned([claim]))))).p == pytest.approx(2 / 70)
    assert only(stats.decide(asked(study(planned([bold]))))).outcome is not Outcome.SUPPORTED


def test_a_threshold_that_the_base_model_has_is_withheld() -> None:
    p = claimed(LESS, "steps_to(0.2)", ratio=1.0)
    verdict = only(stats.decide(asked(study(planned([p])))))
    assert verdict.reason == "a trial is at the threshold before it is trained"


def test_the_planned_analysis_comes_first_and_is_the_verdict() -> None:
    family = [claimed(GREATER, "result", margin=0.05), claimed(LESS, "tokens_to(0.75)", ratio=0.9)]
    seen = study(planned(family))
    strips = multiverse.multiverse(seen)
    for strip, verdict in zip(strips, stats.decide(asked(seen)), strict=True):
        assert next(iter(strip.cells)) == multiverse.plan(seen)
        assert next(iter(strip.cells.values())) == verdict
    # Budget in updates: read to the trials' own end, or to equal tokens or seconds; three rules,
    # two tests. A time has no checkpoint, and steps and seconds beside its tokens.
    assert [len(strip.cells) for strip in strips] == [3 * 3 * 2, 3 * 2]


def test_each_choice_by_hand() -> None:
    line = (np.array([10.0, 20, 30, 40]), np.array([0.5, 0.9, 0.6, 0.7]))
    kl = (line[0], np.array([1.0, 2, 3, 4]))
    infinite = math.inf
    assert multiverse._value(line, line, Rule.LAST, infinite) == 0.7
    assert multiverse._value(line, line, Rule.LAST, 35) == pytest.approx(0.65)
    assert multiverse._value(line, line, Rule.BEST, infinite) == 0.9
    assert multiverse._value(line, line, Rule.BEST, 15) == 0.5
    assert multiverse._value(kl, line, Rule.BEST, infinite) == 2
    assert multiverse._value(line, line, Rule.MEAN, infinite) == pytest.approx(2.2 / 3)
    assert math.isnan(multiverse._value(line, line, Rule.LAST, 5))


@pytest.mark.parametrize(
    ("relation", "arm", "worst"),
    [(GREATER, "b", 0.80), (GREATER, "a", 0.93), (LESS, "b", 0.93), (EQUAL, "a", 0.80)],
)
def test_a_missing_trial_takes_what_speaks_most_against(
    relation: Relation, arm: str, worst: float
) -> None:
    """Values .80 to .83 and .90 to .93; the mean of b is nearer to .93 than to .80."""
    p = claimed(relation, "result", margin=0.05)
    seen = study(planned([p]))
    assert multiverse._worst(p, claims.read(seen, p.metric, RESULT), arm) == pytest.approx(worst)


def test_missing_trials_are_left_out_or_taken_at_their_worst() -> None:
    p = claimed(GREATER, "result", margin=0.02)
    made = planned([p])
    seen = study(made, gone=[made.trials[-1].name])
    (strip,) = multiverse.multiverse(seen)
    assert len(strip.cells) == 36
    plan = multiverse.plan(seen)
    dropped = strip.cells[plan]
    worst = strip.cells[dataclasses.replace(plan, missing=Missing.WORST)]
    assert (dropped.difference.n, worst.difference.n) == ((3, 4), (4, 4))
    # (.90 + .91 + .92 + .80) / 4 - .815 = .0675.
    assert worst.difference.value == pytest.approx(0.0675)
    assert (dropped.outcome, worst.outcome) == (Outcome.SUPPORTED, Outcome.UNDECIDED)


def test_a_missing_trial_never_arrives() -> None:
    made = planned([claimed(LESS, "tokens_to(0.75)", ratio=0.9)])
    seen = study(made, gone=[made.trials[-1].name])
    (strip,) = multiverse.multiverse(seen)
    worst = strip.cells[dataclasses.replace(multiverse.plan(seen), missing=Missing.WORST)]
    assert worst.difference.n == (4, 4)
    assert math.isnan(worst.difference.low)  # the log-rank test's: it is censored
    assert worst.outcome is not Outcome.SUPPORTED


def test_the_budgets_own_axis_is_no_second_analysis() -> None:
    made = planned([claimed(GREATER, "result", margin=0.02)])
    axes = {
        unit: {a.axis for a in multiverse.multiverse(study(made, budget=budget))[0].cells}
        for unit in (BudgetUnit.TOKENS, BudgetUnit.SECONDS, BudgetUnit.UPDATES)
        for budget in [Budget(unit, 100)]
    }
    assert axes[BudgetUnit.TOKENS] == {"", "steps", "seconds"}
    assert axes[BudgetUnit.SECONDS] == {"", "steps", "tokens"}
    assert axes[BudgetUnit.UPDATES] == {"", "tokens", "seconds"}


def test_parts_are_shares_in_the_order_of_their_numbers() -> None:
    keys = [f"eval/accuracy/difficulty_{i}" for i in (10, 2)] + ["eval/accuracy/part_x", "eval/kl"]
    assert ordered(keys) == ["eval/kl", keys[1], keys[0], keys[2]]
    assert is_share("eval/accuracy/part_x")
    assert not is_share("eval/kl")


def with_parts(seen: Study) -> Study:
    """Two parts: .1 above and below a trial's accuracy."""
    own = seen.results.filter(metric="eval/accuracy")
    parts = [
        own.with_columns(metric=pl.lit(f"eval/accuracy/part_{name}"), value=pl.col("value") + by)
        for name, by in (("easy", 0.05), ("hard", -0.05))
    ]
    return dataclasses.replace(seen, results=pl.concat([seen.results, *parts]))


def test_all_parts_together_by_hand() -> None:
    """a: .75 to .78 and .85 to .88, middle half .77, .78, .85, .86; b is .1 higher on each."""
    slow, fast = exploratory.wholes(with_parts(study(planned([]))))
    assert slow.iqm.mean == pytest.approx(0.815)
    assert slow.gap == pytest.approx(1 - 0.815)
    assert (math.isnan(slow.improvement), fast.improvement) == (True, 1.0)
    assert exploratory.wholes(study(planned([]))) == []


def test_every_pair_of_three_variants() -> None:
    third = [
        Trial("c", seed, 0.5 * (x + y)) for seed, (x, y) in enumerate(zip(SLOW, FAST, strict=True))
    ]
    made = planned([])
    seen = study(dataclasses.replace(made, trials=[*made.trials, *third]))

    found = exploratory.pairs(seen)

    names = [(p.variant, p.baseline, p.against_baseline is None) for p in found]
    assert names == [("b", "a", False), ("c", "a", False), ("c", "b", True)]
    assert [p.among_all and p.among_all.value for p in found] == pytest.approx([0.1, 0.05, -0.05])
    assert exploratory.pairs(study(made)) == []
    text = exploratory.section(seen, Findings([], [], "", [], []))
    assert "| c − b | -0.050 [" in text
    assert "All parts together" not in text
    assert exploratory.section(seen, Findings([], [], "trust gate FAIL: x", [], [])) == ""
    many = [dataclasses.replace(t, variant=f"{t.variant}{i}") for i in range(6) for t in third]
    beyond = exploratory.pairs(study(dataclasses.replace(made, trials=[*made.trials, *many])))
    assert [(p.baseline, p.among_all) for p in beyond] == [("a", None)] * 7


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report; a trial of the baseline of a predicted ratio never got there."""
    runs = tmp_path_factory.mktemp("runs")
    family = [
        claimed(LESS, "tokens_to(0.805)", ratio=0.9),
        claimed(LESS, "steps_to(0.75)", ratio=0.9),
        claimed(GREATER, "area_over_steps", margin=0.02),
    ]
    store.write(runs, [planned(family)])
    return build(runs, "curves").markdown.parent


def test_the_report_shows_ratios_and_who_got_there(page: Path) -> None:
    text = (page / "report.md").read_text("utf-8")
    row = next(line for line in text.splitlines() if "tokens to 0.805) is below ×0.9" in line)
    assert "| ×0." in row
    curves = text.split("## Read off the curves")[1].split("\n## ")[0]
    assert "3 of 4 got there" in curves
    assert "4 of 4 got there" in curves
    assert "mean height over steps) is greater than 0.020" in curves
    # Nothing was predicted on the result, so the answer says higher or lower of itself.
    head = text.split("\n## ")[0]
    assert "`b` against `a`: held-out accuracy tokens to 0.805 **×0." in head
    assert "; held-out accuracy **+0.100 [" in head
    figure = (page / "differences_eval_accuracy_steps_to_0_75.svg").read_text("utf-8")
    assert "ratio of times" in figure
    assert re.search(r"<text[^>]*>×0\.\d+</text>", figure)


def test_the_record_has_quantities_curves_and_the_multiverse(page: Path) -> None:
    data = json.loads((page / "report.json").read_text("utf-8"))
    first = data["predictions"][0]
    assert (first["quantity"], first["ratio"]) == ("tokens_to(0.805)", 0.9)
    assert first["difference"]["of_logs"]
    assert data["curves"][0]["baseline"]["reached"] == 3
    assert data["curves"][2]["variant"]["n"] == 4
    assert [strip["of"] for strip in data["multiverse"]] == [6, 6, 6]
    planned_one = data["multiverse"][0]["analyses"][0]
    assert planned_one["verdict"] == first["verdict"]
    assert data["exploratory"]["pairs"] == []
    assert data["exploratory"]["by_prompt"]["b"]["value"] == 0


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("eval/accuracy/part_multiplication", "held-out accuracy, part multiplication"),
        ("eval/accuracy/difficulty_3", "held-out accuracy, difficulty 3"),
        ("eval/accuracy/part_a/b_50%", "held-out accuracy, part a/b_50%"),
        ("own/metric_%", "own/metric_%"),
    ],
)
def test_any_metric_has_a_name(metric: str, words: str) -> None:
    assert names.name(metric) == words
