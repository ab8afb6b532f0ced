"""Failed and collapsed trials in the verdicts, rates of failure, and seeds that are odd."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_store as store

from analysis import failures, oddities, stats
from analysis.ablation import Ablation, Primary, Relation
from analysis.changes import Kind, changes
from analysis.findings import findings
from analysis.fixed import plain, read
from analysis.handling import handled
from analysis.stats import Claim, Outcome, Rule
from analysis.study import Study
from harness.errors import ConfigError

Asked = Callable[..., Study]
TRUNCATED = store.prediction(Relation.LESS, "eval/truncated", 0.0)


def differences(study: Study, row: int) -> list[tuple[str, float | None]]:
    """(word, difference) of one finding under every handling."""
    _, columns = handled(study, findings(study))[row]
    return [(c.word, c.verdict and c.verdict.difference.value) for c in columns]


@pytest.mark.parametrize(
    ("lost", "n", "expected"),
    [
        (0, 3, 1 - 0.025 ** (1 / 3)),  # .7076: nothing seen with chance (1 - p)^3 = .025
        (0, 5, 1 - 0.025 ** (1 / 5)),  # .5218
        (0, 10, 1 - 0.025 ** (1 / 10)),  # .3085
        (3, 3, 1.0),
        (1, 1, 1.0),
        (1, 4, 0.8059),  # Clopper and Pearson: beta(.975; 2, 3)
    ],
)
def test_upper_bound_of_a_rate(lost: int, n: int, expected: float) -> None:
    assert failures.bound(lost, n) == pytest.approx(expected, abs=1e-4)
    assert np.isnan(failures.bound(0, 0))


def test_the_three_handlings_of_a_failed_seed(full: Study) -> None:
    """reinforce .80 .81 .82, grpo .87 .88 .89, one more of each without a result.

    Planned, 0 each: (2.64 - 2.43) / 4 = .0525. Completed: .07. Worst of greater, grpo 0 and
    reinforce 1: (2.64 - 3.43) / 4 = -.1975. Of equal also grpo 1 and reinforce 0: (3.64 - 2.43) / 4
    = .3025, which is farther.
    """
    greater, equal = differences(full, 0), differences(full, 3)
    assert [d for _, d in greater] == pytest.approx([0.0525, 0.07, -0.1975])
    assert [word for word, _ in greater] == ["undecided", "supported", "undecided"]
    assert [d for _, d in equal] == pytest.approx([0.0525, 0.07, 0.3025])


def test_verdicts_are_those_of_the_family(full: Study) -> None:
    claims = [
        Claim(p.relation, p.margin, *full.arms(p.metric, p.variant, p.baseline))
        for p in full.manifest.ablation.predictions
    ]
    rows = handled(full, findings(full))
    for verdict, (finding, columns) in zip(stats.decide(claims), rows, strict=True):
        completed = columns[1].verdict
        assert completed is not None
        assert completed.outcome is verdict.outcome
        assert completed.p == verdict.p
        assert finding.verdict.outcome is Outcome.WITHHELD, "a gate bars the page's own verdict"


def test_an_unbounded_metric_has_no_worst_value_of_its_own(full: Study, asked: Asked) -> None:
    length = differences(full, 1)
    assert [word for word, _ in length] == [
        "not computed: no worst value declared",
        "refuted",
        "not computed: no worst value declared",
    ]
    declared = Primary("eval/response_length/wrong", worst=200.0)
    # Wrong lengths end at 70, 71, 72 and 80, 81, 82; with 200 each: (443 - 413) / 4 = 7.5.
    again = differences(asked(full, primary=declared), 1)
    assert again[0] == (again[0][0], pytest.approx(7.5))
    assert again[2][0] == "not computed: no best value of eval/response_length/wrong is known"


def test_a_declared_worst_value_counts_instead_of_the_bound(full: Study, asked: Asked) -> None:
    # One arm is complete without its failed trial: the other gets .334 for it.
    kept = full.trials.filter(pl.col("trial") != "reinforce__s3__abababab")
    study = dataclasses.replace(asked(full, primary=Primary(worst=0.334)), trials=kept)
    # (2.64 + .334) / 4 - .81 = -.0665; with 0 it would be -.15.
    assert differences(study, 0)[0][1] == pytest.approx(-0.0665)


def test_the_worst_of_what_nobody_wants_is_one(full: Study, asked: Asked) -> None:
    study = asked(full, predictions=[TRUNCATED])
    planned, completed, worst = differences(study, 0)
    # .06 at every seed: (3 * .06 + 1) / 4 in both arms. Against "less": grpo 1, reinforce 0.
    assert planned[1] == completed[1] == pytest.approx(0.0)
    assert worst[1] == pytest.approx(0.25)


def test_paired_claims_stay_paired(full: Study, asked: Asked) -> None:
    study = asked(full, paired=True)
    _, columns = handled(study, findings(study))[0]
    found = [c.verdict.difference for c in columns if c.verdict]
    assert [d.n for d in found] == [(4, 4), (3, 3), (4, 4)]
    assert all(d.paired for d in found)
    # Pairs .07, .07, .07 and 0 - 0 = 0: mean .0525, s = .035, se = .0175.
    assert found[0].error == pytest.approx(0.0175)


def collapsed(study: Study, trial: str) -> Study:
    """The study with one trial that stopped learning although rewards differed."""
    run_id = study.metrics.filter(pl.col("trial") == trial)["run_id"][0]
    variant, seed = study.trials.filter(pl.col("trial") == trial).select("variant", "seed").row(0)
    signs = {"actor/grad_norm": 0.0, "reward/no_signal_groups": 0.5}
    rows = [
        (run_id, trial, variant, seed, key, step, value)
        for step in range(1, 31)
        for key, value in signs.items()
    ]
    more = pl.DataFrame(rows, schema=study.metrics.schema, orient="row")
    others = study.metrics.filter((pl.col("trial") != trial) | ~pl.col("metric").is_in([*signs]))
    return dataclasses.replace(study, metrics=pl.concat([others, more]))


def test_collapsed_trials_count_as_lost_and_keep_their_result(sound: Study) -> None:
    study = collapsed(sound, "grpo__s0__abababab")
    losses = {loss.variant: loss for loss in failures.losses(study)}
    assert losses["grpo"].collapsed == ["grpo__s0__abababab"]
    assert losses["grpo"].bound == pytest.approx(0.9057, abs=1e-4)  # 1 of 3
    assert losses["reinforce"].lost == 0
    # .87 is left out only where completed trials are compared: (.88 + .89) / 2 - .81 = .075.
    assert [d for _, d in differences(study, 0)] == pytest.approx([0.07, 0.075, 0.07])
    page = failures.section(study, findings(study))
    assert "**Warning: seeds failed or collapsed.**" in page
    assert "`grpo__s0__abababab` collapsed" in page


def test_without_a_failure_only_the_rates_are_said(sound: Study) -> None:
    page = failures.section(sound, findings(sound))
    assert page.startswith("## Failures\n\n- `reinforce`: 0 of 3 seeds failed or collapsed;")
    assert page.count("the rate may be up to 71 %") == 2
    assert "as planned" not in page
    assert "Warning" not in page
    assert failures.data(sound, findings(sound))["handled"] == []


def test_every_number_of_the_page_is_data(full: Study) -> None:
    data = failures.data(full, findings(full))
    assert [v["failed"] for v in data["variants"]] == [
        ["reinforce__s3__abababab"],
        ["grpo__s3__abababab"],
    ]
    first = [row for row in data["handled"] if row["expected"] == "greater than 0.020"]
    assert [row["handling"] for row in first] == ["as planned", "completed only", "worst case"]
    assert [row["difference"] for row in first] == pytest.approx([0.0525, 0.07, -0.1975])
    assert first[1]["n"] == [3, 3]


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ({"worst": float("nan")}, "primary.worst must be a finite number, received nan"),
        ({"worst": -0.5}, "primary.worst is a share and must be in [0, 1], received -0.5"),
    ],
)
def test_a_worst_value_that_cannot_be_is_refused(primary: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Primary(**primary)
    assert str(error.value) == message


def test_a_worst_value_is_part_of_the_claim(sound: Study, asked: Asked) -> None:
    after = asked(sound, primary=Primary(worst=0.25)).manifest
    found = changes(sound.manifest, after)
    assert [(c.kind, c.text) for c in found] == [(Kind.CLAIM, "primary: worst unset -> 0.25")]
    data = json.loads(json.dumps(plain(after.ablation)))
    assert read(Ablation, data) == after.ablation
    del data["primary"]["worst"]  # as an older sweep wrote it
    assert read(Ablation, data).primary.worst is None


# --- odd seeds ------------------------------------------------------------------------------------

# Deviations of five seeds of a clean arm.
CLEAN = np.array([-0.012, -0.004, 0.001, 0.005, 0.010])


def test_an_outlier_is_told_by_the_spread_of_all_others() -> None:
    # Arm 1 without its last value: mean .88, deviations -.01, 0, .01. The last is .4 below it.
    arms = [0.8 + CLEAN, np.array([0.87, 0.88, 0.89, 0.48])]
    (sign,) = [s for s in stats.unusual(arms) if s.rule is Rule.OUTLIER]
    assert (sign.arm, sign.seed) == (1, 3)
    # Sums of squares: .000286 (arm 0), .0002 (arm 1 without it); df = 4 + 3 - 1 = 6; the error of
    # a difference from the mean of three: sqrt(.000486 / 6 * 4 / 3) = .010392; -.4 / .010392.
    assert sign.size == pytest.approx(-0.4 / np.sqrt(0.000286 / 6 * 4 / 3 + 0.0002 / 6 * 4 / 3))
    assert sign.p < 1e-6


def test_unequal_spread_is_told() -> None:
    # Variances 1 : 100 at 4 and 4 degrees of freedom: F tail .00029, two-sided .00059; Holm 3 x.
    found = stats.unusual([CLEAN, 10 * CLEAN])
    sign = next(s for s in found if s.rule is Rule.SPREAD)
    assert (sign.arm, sign.size) == (1, pytest.approx(10.0))
    assert sign.p == pytest.approx(3 * 0.00057, abs=2e-4)


def test_skew_is_told_where_every_arm_leans_one_way() -> None:
    arm = np.array([1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.4, 3.6])
    found = [stats.unusual([arm + i, arm - i, arm]) for i in (0.0, 5.0)]
    assert [Rule.SKEW in {s.rule for s in signs} for signs in found] == [True, True]


@pytest.mark.parametrize("arms", [[], [np.array([1.0, 2.0])], [np.array([1.0, 1.0, 1.0])] * 2])
def test_too_little_says_nothing(arms: list[Any]) -> None:
    assert stats.unusual(arms) == []


@pytest.mark.parametrize(("n", "count"), [(3, 2), (5, 3), (10, 2)])
def test_clean_seeds_raise_an_alarm_in_one_of_twenty(n: int, count: int) -> None:
    """600 studies: .05 and three standard errors of .0089; the calibration has 5,000."""
    rng = np.random.default_rng(n)
    alarms = [bool(stats.unusual(list(rng.normal(size=(count, n))))) for _ in range(600)]
    assert 0.01 < np.mean(alarms) <= 0.05 + 3 * 0.0089


def test_a_warning_shows_every_seed(sound: Study) -> None:
    fallen = pl.when(
        (pl.col("trial") == "grpo__s2__abababab") & (pl.col("metric") == "eval/accuracy")
    ).then(0.05)
    study = dataclasses.replace(
        sound, results=sound.results.with_columns(value=fallen.otherwise(pl.col("value")))
    )
    page = "\n".join(oddities.shown(study))
    assert "**Warning**, `eval/accuracy`: one seed of `grpo` at 0.05 lies" in page
    assert "- `eval/accuracy`, `grpo`: 0.87, 0.88, 0.05" in page
    first = oddities.data(study)[0]
    assert (first["metric"], first["rule"]) == ("eval/accuracy", "outlier")
