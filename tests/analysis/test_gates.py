"""Each trust gate sees the defect that is planted for it, and a clean store has none."""

import dataclasses
import json
from pathlib import Path

import pytest
import synthetic_store as store
from synthetic_store import COMMIT, FACTS, PREDICTIONS, VERSIONS, Plan, Trial

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
        *but(arm("grpo", 0.05, facts={"libraries": NEW, "hardware": "Xeon"}), 0, on_disk=False),
        *but(arm("rloo", 0.01), 2, facts={"decoding": '{"temperature": 0.7, "top_p": 1.0}'}),
    ],
)  # fmt: skip
EXTERNAL = Plan(
    "external",
    [
        *but(arm("base", shifts={"budget/updates": 4.0}), 0, shifts={}),
        *arm("grpo", 0.05, shifts={"eval/truncated": 0.3, "eval/error_rate": 0.02}),
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
    assert len(every) == 26
    assert all("\n" not in gate.detail for gate in every)


def test_every_gate_is_seen_to_react(studies: dict[str, Study]) -> None:
    """The two lists below and the tests of seal, looks and collapse cover all that there are."""
    elsewhere = {"No trial collapsed", "No runs outside the plan", "Seeds make a difference"}
    elsewhere |= {"Seeds are compared as the test assumes", "Same held-out prompts, same order"}
    elsewhere |= {"Code, weights and data are the plan's"}
    reacted = {question for _, question, *_ in DEFECTS}
    assert {gate.question for gate in gates(studies["clean"])} == reacted | elsewhere


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
        "the folder is gone: grpo__s0__abababab", ("grpo",),
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
    ("external", "Only declared factors differ", FAIL, "undeclared differences: trainer.lr", ("noisy",)),
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
