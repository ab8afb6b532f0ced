"""Each trust gate sees the defect that is planted for it, and a clean store has none."""

import dataclasses
import json
from collections.abc import Callable

import polars as pl
import pytest
import synthetic_store as store
from synthetic_store import COMMIT, FACTS, PREDICTIONS, VERSIONS, Plan, Trial

from analysis import frame
from analysis.ablation import Checkpoint, Primary
from analysis.findings import findings
from analysis.gates import Gate, Level, gates
from analysis.stats import Outcome
from analysis.study import Study, read_study

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
SHORT = 10  # steps
# Differences from seed to seed.
ACCURACY = [0.80, 0.82, 0.81, 0.83, 0.815]
RANDOM = {"reward._target_": ["harness.rewards.binary.Binary", "harness.rewards.random.Random"]}
AFTER = "2027-01-16T08:00:00+00:00"  # when all trials have ended


def arm(label: str, gain: float = 0.0, seeds: int = 3, **given: object) -> list[Trial]:
    """One variant at seeds 0, 1, 2 and so on."""
    plain = Trial(label, 0, 0.0, steps=SHORT)
    values = [a + gain for a in ACCURACY[:seeds]]
    return [
        dataclasses.replace(plain, seed=s, accuracy=a, **given)  # type: ignore[arg-type]
        for s, a in enumerate(values)
    ]


def but(trials: list[Trial], seed: int, **given: object) -> list[Trial]:
    """An arm in which one seed is otherwise."""
    return [dataclasses.replace(t, **given) if t.seed == seed else t for t in trials]  # type: ignore[arg-type]


def coin(gain: float, seeds: int = 3) -> list[Trial]:
    """The control arm; the base model's accuracy is .334."""
    ends = [0.334 + gain + x for x in (0.01, -0.01, 0.02, -0.02, 0.001)]
    return [Trial("coin", s, a, steps=SHORT) for s, a in enumerate(ends[:seeds])]


# Everything that can be there, and nothing wrong with it: a control arm and an A/A among it.
CLEAN = Plan(
    "clean",
    [*arm("base", seeds=5), *arm("grpo", 0.05, 5), *arm("again", seeds=5), *coin(0.0, 5)],
    factors=["algorithm", "reward"],
    own={"again": {}, "coin": RANDOM},
)
NEW = json.dumps({**VERSIONS, "torch": "2.14.0"})
MACHINES = Plan(
    "machines",
    [
        *but(
            arm("reinforce", commit="none"), 1,
            facts={"threads": "2", "task_digest": "0" * 64, "config_hash": "0" * 64},
        ),
        *arm("grpo", 0.05, facts={"libraries": NEW, "hardware": "Xeon"}),
        *but(
            arm("rloo", 0.01), 2,
            facts={"decoding": '{"temperature": 0.7, "top_p": 1.0}'}, on_disk=False,
        ),
    ],
)  # fmt: skip
EXTERNAL = Plan(
    "external",
    [
        *but(arm("base", shifts={"budget/updates": 4.0}), 0, shifts={}),
        *arm(
            "grpo",
            0.05,
            tokens_per_step=10_500,
            shifts={"eval/truncated": 0.3, "eval/error_rate": 0.02},
        ),
        *arm("again", -0.06),
        *coin(0.45),
        *but(arm("noisy", without="rollout/mismatch/mean"), 0, status="FAILED"),
    ],
    factors=["algorithm", "reward"],
    own={"again": {}, "coin": RANDOM, "noisy": {"algorithm.x": [1, 2], "trainer.lr": [1, 2]}},
    primary=Primary(checkpoint=Checkpoint.BEST),
    deviations=["trainer.lr=1 given on the command line"],
)
UNRECORDED = Plan(
    "unrecorded",
    [
        *arm("reinforce", facts=dict.fromkeys([*FACTS, "config_hash", "git_commit"], "")),
        *arm("grpo", 0.01, without="actor/grad_norm"),
    ],
)
# The trials of MACHINES once more, with another config hash, predicted after those had ended.
FITTED = Plan(
    "fitted", [*arm("reinforce"), *arm("grpo", 0.05)], PREDICTIONS[:1], created=AFTER,
)  # fmt: skip


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    runs = tmp_path_factory.mktemp("gates") / "runs"
    plans = [CLEAN, MACHINES, EXTERNAL, UNRECORDED, FITTED]
    store.write(runs, plans)
    return {plan.name: read_study(runs, plan.name) for plan in plans}


def found(study: Study, question: str) -> Gate:
    (own,) = [gate for gate in gates(study) if gate.question == question]
    return own


def test_a_clean_store_raises_no_alarm(studies: dict[str, Study]) -> None:
    every = gates(studies["clean"])
    assert {gate.question: gate.detail for gate in every if gate.level is not OK} == {}
    assert len(every) == 27
    assert all("\n" not in gate.detail for gate in every)


def test_every_gate_is_seen_to_react(studies: dict[str, Study]) -> None:
    """DEFECTS are planted in a store, CHANGED in a study that was read from it."""
    reacted = {question for _, question, *_ in DEFECTS} | {question for question, *_ in CHANGED}
    assert {gate.question for gate in gates(studies["clean"])} == reacted


DEFECTS = [
    ("machines", "One commit, clean tree", WARN, "without a commit: reinforce__s0", ()),
    (
        "machines", "Same libraries, threads and hardware", FAIL,
        "goes with the arm: libraries of grpo: torch 2.14.0 where 2.13.0, hardware of grpo: Xeon "
        "where EPYC; threads differ within arms: reinforce: 1, 2;", ("grpo",),
    ),
    (
        "machines", "Same libraries, threads and hardware", FAIL,
        "torch 2.14.0 where the plan has 2.13.0", ("grpo",),
    ),
    (
        "machines", "Evaluated alike in every variant", FAIL,
        "decoding of rloo__s2__abababab: temperature 0.7 where 1.0", ("rloo",),
    ),
    (
        "machines", "Same code, base model and task but for the factors", FAIL,
        "task of reinforce__s1__abababab: 000000000000 where dddddddddddd", ("reinforce",),
    ),
    (
        "machines", "Each trial ran with its planned config", FAIL,
        "another config than planned: reinforce__s1__abababab", ("reinforce",),
    ),
    (
        "machines", "Results are those of the trials' records", WARN,
        "the folder is gone: rloo__s2__abababab", ("rloo",),
    ),
    ("machines", "Enough seeds per variant", WARN, "a screening", ()),
    (
        "external", "Same truncation, format and grader errors in every variant", WARN,
        "held-out responses cut by the budget: 0.360 in grpo, 0.060 in base; grader errors on "
        "held-out responses: 0.020 in grpo", ("grpo",),
    ),
    (
        "external", "A random reward teaches nothing", FAIL,
        "coin +0.457 in eval/accuracy, a gain; the best other arm +0.526", (),
    ),
    (
        "external", "One variant twice gives one result", FAIL,
        "base and again: largest difference at a seed 0.06; not chance", (),
    ),
    (
        "external", "Equal budget", FAIL,
        "10 to 14 updates per trial, 10 planned; base__s1__abababab 14, base__s2__abababab 14",
        ("base",),
    ),
    (
        "external", "All planned trials finished", FAIL,
        "14 of 15 planned trials have a result; noisy__s0__abababab FAILED", ("noisy",),
    ),
    ("external", "Same seeds in every variant", WARN, "noisy: [1, 2]", ("noisy",)),
    ("external", "Only declared factors differ", FAIL, "differences: trainer.lr", ("noisy",)),
    ("external", "No deviations from the ablation file", WARN, "trainer.lr=1 given on the", ()),
    ("external", "Metric and checkpoint declared before the run", WARN, "biased upwards", ()),
    (
        "external", "Responses are the trained model's own", WARN,
        "were not compared, or are no numbers: noisy__s1__abababab, noisy__s2", ("noisy",),
    ),
    ("external", "Like numbers of sampled tokens", WARN, "read the comparison at equal", ()),
    (
        "external", "No look at the results before the last one", WARN,
        "14 of 15 results so far: this report is a look itself", (),
    ),
    (
        "fitted", "Predictions sealed before the runs", FAIL,
        "6 trials (grpo__s0__abababab, grpo__s1__abababab, grpo__s2__abababab, "
        "reinforce__s0__abababab, reinforce__s1__abababab, reinforce__s2__abababab) gave to the "
        "bit what 'machines' had given before these predictions were written", (),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "question", "level", "words", "concerns"), DEFECTS)
def test_a_planted_defect_is_caught(
    studies: dict[str, Study],
    plan: str,
    question: str,
    level: Level,
    words: str,
    concerns: tuple[str, ...],
) -> None:
    gate = found(studies[plan], question)
    assert (gate.level, gate.variants) == (level, concerns), gate.detail
    assert words in gate.detail


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("One commit, clean tree", f"{COMMIT[:12]}, and without a commit: reinforce__s0"),
        ("Evaluated alike in every variant", "decoding not recorded: reinforce__s0__abababab, "),
        ("Same code, base model and task but for the factors", "code not recorded: reinforce__s0"),
        ("Same libraries, threads and hardware", "hardware not recorded: reinforce__s0"),
        ("Each trial ran with its planned config", "no config is recorded: reinforce__s0"),
        ("No trial collapsed", "no gradient is recorded: grpo__s0"),
    ],
)
def test_evidence_that_is_missing_is_no_ok(
    studies: dict[str, Study], question: str, words: str
) -> None:
    gate = found(studies["unrecorded"], question)
    assert gate.level is WARN
    assert words in gate.detail


def shifted(study: Study, metric: str, change: pl.Expr, *trials: str) -> Study:
    """The study with other values of a metric, of some trials."""
    rows = (pl.col("metric") == metric) & (pl.col("step") > 0)
    if trials:
        rows &= pl.col("trial").is_in(list(trials))
    metrics = study.metrics.with_columns(
        value=pl.when(rows).then(change).otherwise(pl.col("value"))
    )
    results = frame.results(metrics, study.manifest.ablation.primary)
    return dataclasses.replace(study, metrics=metrics, results=results)


def dead(study: Study, *trials: str) -> Study:
    """The study with trials that end without a gradient, a reward and any accuracy."""
    for metric, value in (
        ("actor/grad_norm", pl.lit(0.0)),
        ("critic/score/mean", pl.lit(0.0)),
        ("eval/accuracy", pl.col("seed") * 1e-3),
    ):
        study = shifted(study, metric, value, *trials)
    return study


def against(study: Study) -> Study:
    """Seeds of grpo that are high where those of the baseline are low."""
    own = [f"grpo__s{seed}__abababab" for seed in range(5)]
    return shifted(study, "eval/accuracy", 1.7 - pl.col("value"), *own)


def other_prompts(study: Study) -> Study:
    tables = dict(study.tables)
    tables["grpo__s1__abababab"] = tables["grpo__s1__abababab"].reverse()
    return dataclasses.replace(study, tables=tables)


def of_trials(study: Study, label: str, **cells: object) -> Study:
    own = pl.col("variant") == label
    columns = [
        pl.when(own).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in cells.items()
    ]
    return dataclasses.replace(study, trials=study.trials.with_columns(columns))


def name(seed: int, label: str = "grpo") -> str:
    return f"{label}__s{seed}__abababab"


def coins() -> list[str]:
    return [name(seed, "coin") for seed in range(5)]


def tuned_alone(study: Study) -> Study:
    """Values were searched for grpo and for nobody else."""
    (*before, last) = study.history.revisions
    revisions = [*before, dataclasses.replace(last, tuned=[store.GRPO_TUNED])]
    return dataclasses.replace(
        study, history=dataclasses.replace(study.history, revisions=revisions)
    )


def of_results(study: Study, *which: pl.Expr) -> Study:
    return dataclasses.replace(study, results=study.results.filter(*which))


CHANGED = [
    (
        "No trial collapsed", lambda study: dead(study, name(0)), WARN,
        "grpo__s0__abababab: the gradient is exactly 0", ("grpo",),
    ),
    (
        "No trial collapsed", lambda study: dead(study, *map(name, range(5))), FAIL,
        "every trial of grpo did; grpo__s0__abababab: the gradient is exactly 0", ("grpo",),
    ),
    (
        "No runs outside the plan", lambda study: dataclasses.replace(study, strangers=["old"]),
        WARN, "the manifest does not plan them: old", (),
    ),
    (
        "Seeds make a difference",
        lambda study: shifted(study, "eval/accuracy", pl.lit(0.5), *map(name, range(5))),
        WARN, "all seeds give the same result in grpo", ("grpo",),
    ),
    (
        "Seeds are compared as the test assumes", against, WARN,
        "seeds go against each other (grpo -1.00, again +1.00", ("grpo",),
    ),
    (
        "Same held-out prompts, same order", other_prompts, FAIL,
        "not the baseline's prompts: grpo__s1__abababab", ("grpo",),
    ),
    (
        "Code, weights and data are the plan's",
        lambda study: of_trials(study, "grpo", identity="edited"), FAIL,
        "made of other content: grpo__s0__abababab, grpo__s1", ("grpo",),
    ),
    (
        "Enough seeds per variant",
        lambda study: of_results(study, pl.col("trial") != name(0), pl.col("seed") < 3), FAIL,
        "grpo: 2, again: 3, coin: 3; fewer than 3 gives no verdict", ("grpo",),
    ),
    (
        "A random reward teaches nothing",
        lambda study: shifted(study, "eval/accuracy", pl.col("value") + 0.1, *coins()), WARN,
        "coin +0.100 in eval/accuracy, a gain; the best other arm +0.531", ("coin",),
    ),
    (
        "Equal tuning budget per arm, fresh seeds", tuned_alone, FAIL,
        "again was not tuned", (),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("question", "change", "level", "words", "concerns"), CHANGED)
def test_a_defect_of_the_data_is_caught(
    studies: dict[str, Study],
    question: str,
    change: Callable[[Study], Study],
    level: Level,
    words: str,
    concerns: tuple[str, ...],
) -> None:
    gate = found(change(studies["clean"]), question)
    assert (gate.level, gate.variants) == (level, concerns), gate.detail
    assert words in gate.detail


def test_one_record_under_two_plans_is_one_trial(studies: dict[str, Study]) -> None:
    """Its seal tells when it ran; another record with the same numbers was fitted to."""
    fitted, question = studies["fitted"], "Predictions sealed before the runs"
    shared = dataclasses.replace(
        fitted,
        runs=fitted.runs.with_columns(record=pl.lit("one")),
        elsewhere=fitted.elsewhere.with_columns(record=pl.lit("one")),
    )
    assert "gave to the bit" in found(fitted, question).detail
    assert "gave to the bit" not in found(shared, question).detail


def test_a_factor_explains_what_it_changes(studies: dict[str, Study]) -> None:
    """Other code where another class is the factor, other decoding where the rollout is."""
    clean = studies["clean"]
    other = of_trials(clean, "coin", code_hash="1" * 64)
    question = "Same code, base model and task but for the factors"
    assert found(other, question).level is OK
    within = pl.when(pl.col("seed") == 1).then(pl.lit("2" * 64)).otherwise(pl.col("code_hash"))
    mixed = dataclasses.replace(other, trials=other.trials.with_columns(code_hash=within))
    assert "code of coin__s1__abababab: 222222222222 where 111111111111" in (
        found(mixed, question).detail
    )
    assert found(of_trials(clean, "grpo", code_hash="1" * 64), question).variants == ("grpo",)


def test_the_manifest_is_compared_as_well(studies: dict[str, Study]) -> None:
    clean = studies["clean"]
    trials = clean.trials.with_columns(model_hash=pl.lit("0" * 64))
    gate = found(
        dataclasses.replace(clean, trials=trials),
        "Same code, base model and task but for the factors",
    )
    assert gate.level is FAIL
    assert "base model of base__s0__abababab: 000000000000 where ffffffffffff" in gate.detail


def test_a_result_that_was_accepted_is_named_once(studies: dict[str, Study]) -> None:
    """accept_stale=true: other code, which the gate on the plan's content tells of."""
    clean = studies["clean"]
    kept = of_trials(
        clean, "grpo", code_hash="1" * 64, identity="old", planned="new", accepted_as="new",
        accepted="code of mypkg.crash",
    )  # fmt: skip
    assert found(kept, "Same code, base model and task but for the factors").level is OK
    gate = found(kept, "Code, weights and data are the plan's")
    assert (gate.level, gate.variants) == (WARN, ("grpo",))


def test_one_record_for_both_is_no_a_a(studies: dict[str, Study]) -> None:
    clean = studies["clean"]
    jobs = [
        dataclasses.replace(job, record=job.trial.replace("again", "base"))
        for job in clean.manifest.jobs
    ]
    manifest = dataclasses.replace(clean.manifest, jobs=jobs)
    history = dataclasses.replace(clean.history, revisions=[manifest])
    gate = found(dataclasses.replace(clean, history=history), "One variant twice gives one result")
    assert gate.level is WARN
    assert "nothing was compared: base__s0__abababab" in gate.detail


def test_without_control_arms_there_are_no_gates_on_them(studies: dict[str, Study]) -> None:
    questions = {gate.question for gate in gates(studies["machines"])}
    assert "A random reward teaches nothing" not in questions
    assert "One variant twice gives one result" not in questions


def test_an_arm_that_collapsed_withholds_its_own_verdicts_only(studies: dict[str, Study]) -> None:
    decided = findings(dead(studies["clean"], *coins()))
    assert decided.barred == ""
    outcomes = {f.variant: f.verdict.outcome for f in decided.compared}
    assert outcomes == {
        "grpo": Outcome.SUPPORTED,
        "again": Outcome.UNDECIDED,
        "coin": Outcome.WITHHELD,
    }
    reasons = {f.variant: f.verdict.reason for f in decided.compared}
    assert reasons["coin"] == "trust gate FAIL: No trial collapsed"
    assert reasons["again"] == ""


def test_a_collapsed_baseline_withholds_all_that_is_compared_with_it(
    studies: dict[str, Study],
) -> None:
    decided = findings(dead(studies["clean"], *(name(seed, "base") for seed in range(5))))
    assert {f.verdict.outcome for f in decided.compared} == {Outcome.WITHHELD}
    assert decided.barred == "trust gate FAIL: One variant twice gives one result"


def test_arms_that_lack_something_are_named_in_the_files_order(studies: dict[str, Study]) -> None:
    """Not in that of a set, which differs from process to process."""
    clean = studies["clean"]
    config = {"reward": {"_target_": "harness.rewards.random.Random"}}
    jobs = [dataclasses.replace(job, differs={}) for job in clean.manifest.jobs]
    history = dataclasses.replace(
        clean.history, revisions=[dataclasses.replace(clean.manifest, jobs=jobs)]
    )
    gone = clean.metrics.filter(pl.col("step") > 0)
    study = dataclasses.replace(clean, history=history, metrics=gone, config=config)
    gate = found(study, "A random reward teaches nothing")
    assert gate.detail == (f"no accuracy before and after of two seeds: {', '.join(clean.labels)}")
