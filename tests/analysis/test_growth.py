"""A study whose seeds were added until decided: verdicts, gates and the page's section."""

import dataclasses
from functools import cache
from io import StringIO
from pathlib import Path

import in_memory
import pytest
import synthetic_store as store
from rich.console import Console
from synthetic_store import Plan, Trial

from analysis import deciding, growth, looks, stats
from analysis.ablation import Prediction, Relation
from analysis.findings import Finding, Findings, findings
from analysis.gates import Gate, Level
from analysis.handling import Handling, handled
from analysis.selftest import selftest
from analysis.stats import Outcome
from analysis.study import Study
from analysis.until import Look, Spending, Stop, Until
from sweeps import looks as sweeps_looks

BASE = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50]
BETTER = [0.90, 0.91, 0.89]
ALIKE = [0.50, 0.53, 0.47, 0.52, 0.48, 0.51]
ASIDE = [0.60, 0.61, 0.62]  # a variant of which nothing is predicted: the first look's seeds
UNTIL = Until(3, 6, Stop.DECIDED)


def predicted(variant: str) -> Prediction:
    return Prediction("eval/accuracy", variant, Relation.GREATER, "reinforce", "it may", 0.02)


def planned(taken: list[Look]) -> Plan:
    arms = {"reinforce": BASE, "grpo": BETTER, "rloo": ALIKE, "remax": ASIDE}
    trials = [
        Trial(label, seed, values[seed])
        if seed < len(values) and (seed < 3 or taken)
        else Trial(label, seed, 0.5, status=None)
        for seed in range(6)
        for label, values in arms.items()
    ]
    return Plan("grown", trials, [predicted("grpo"), predicted("rloo")], until=UNTIL, looks=taken)


def took(*decided: list[int]) -> list[Look]:
    """The first looks, with what they decided."""
    designed = store.manifest(planned([])).looks
    stopped = {(): ["remax"], (1,): ["grpo", "remax"], (1, 2): ["reinforce", "grpo", "rloo"]}
    return [
        dataclasses.replace(look, taken=True, decided=own, stopped=stopped[tuple(own)])
        for look, own in zip(designed, decided, strict=False)
    ]


@cache
def grown() -> Study:
    """Both looks are taken: the first decided `grpo`, the second nothing more."""
    return in_memory.study(planned(took([1], [1])))


@cache
def found() -> Findings:
    return findings(grown())


def verdict(own: list[Finding], variant: str) -> Finding:
    (one,) = [f for f in own if f.variant == variant]
    return one


def gate(study: Study, question: str) -> Gate:
    return next(g for g in findings(study).gates if g.question.startswith(question))


def test_a_verdict_is_that_of_the_look_that_took_it() -> None:
    """Two predictions, so .0125 a side of the first; half of the information. z(.00625) = 2.4977,
    over sqrt(.5) 3.5323, and 2 - 2 Phi of it is 4.12e-4 a side: an interval of 99.918 %. The second
    alone then: .025 a side, at the end a p below 2 sf(1.9686) = .0490."""
    one, two = found().predicted

    assert (one.verdict.outcome, one.verdict.look) == (Outcome.SUPPORTED, 1)
    assert one.verdict.difference.n == (3, 3)
    assert one.verdict.difference.level == pytest.approx(0.99918, abs=1e-5)
    assert one.verdict.difference.value == pytest.approx(0.4)
    assert (two.verdict.outcome, two.verdict.look) == (Outcome.UNDECIDED, 2)
    assert two.verdict.difference.n == (6, 6)
    assert two.verdict.difference.level == pytest.approx(1 - 0.0490, abs=1e-4)


def test_a_variant_of_which_nothing_was_predicted_is_compared_at_the_first_look() -> None:
    """.61 - .50 with s = .01 and .02: 8.52 standard errors of .01291, p = .0037 with 2.94 df. Three
    seeds of it were planned whatever comes, so it is tested at the whole .05; the baseline's later
    seeds do not count. At the first look's own .0031 it would not be decided."""
    own = verdict(found().compared, "remax").verdict

    assert (own.outcome, own.look, own.difference.n) == (Outcome.SUPPORTED, 0, (3, 3))
    assert own.difference.level == pytest.approx(0.95)
    assert own.p is not None
    assert 0.0031 < own.p < 0.01


def test_the_driver_decides_what_the_report_says() -> None:
    for taken, decided in ((1, [1]), (2, [1])):
        outcomes = enumerate(deciding.verdicts(grown(), taken), start=1)
        assert [i for i, v in outcomes if v.outcome in stats.DECIDED] == decided


def test_other_ways_to_count_trials_and_analyses_agree_where_they_are_the_plans() -> None:
    planned_cells = [next(iter(strip.cells.values())) for strip in found().strips]
    counted = [
        next(h.verdict for h in own if h.handling is Handling.PLANNED)
        for f, own in handled(grown(), found())
        if f.prediction
    ]

    for f, cell, count in zip(found().predicted, planned_cells, counted, strict=True):
        assert count is not None
        for other in (cell, count):
            assert (other.outcome, other.p, other.look) == (
                f.verdict.outcome,
                f.verdict.p,
                f.verdict.look,
            )


def test_gates_know_the_looks_and_the_trials_that_were_spared() -> None:
    for question, detail in {
        "No look at the results": "looks as planned, at 3, 6 seeds",
        "All planned trials finished": "18 of 18 planned trials have a result",
        "Same seeds in every variant": "grpo: [0, 1, 2]; rloo: [0, 1, 2, 3, 4, 5]",
    }.items():
        own = gate(grown(), question)
        assert own.level is Level.OK, own.detail
        assert detail in own.detail


def test_a_look_that_the_results_now_would_take_otherwise_is_a_warning() -> None:
    own = gate(in_memory.study(planned(took([], []))), "No look at the results")

    assert own.level is Level.WARN
    assert (
        "look 1 decided predictions none, by the results that are there now it would [1]"
    ) in own.detail


def test_only_a_report_that_no_look_planned_is_one() -> None:
    study = grown()
    started = dict(study.trials["trial", "started_ms"].rows())
    first = {t: ms for t, ms in started.items() if any(f"__s{s}__" in t for s in range(3))}

    def after(results: dict[str, int]) -> Gate:
        seal = study.manifest.seal
        look = looks.Look("2026-01-01T00:00:00+00:00", seal, len(started), results)
        return gate(dataclasses.replace(study, looks=[look]), "No look at the results")

    assert len(first) == 12
    assert after(first).level is Level.OK
    unplanned = after(dict(list(first.items())[:5]))
    assert unplanned.level is Level.WARN
    assert "1 report was built or plan extended at 5 results" in unplanned.detail


def test_the_section_names_every_look_and_what_it_decided() -> None:
    text = growth.section(grown(), found())

    assert "Look 2 of 2 at 6 seeds: 1 of 2 predictions decided, ends; 6 of 24 trials" in text
    assert "| 1 | 3 | 50 % | 0.0031 | 0.00082 to 0.0031 | grpo − reinforce on eval" in text
    assert "greater than 0.020: supported at look 1." in text
    assert growth.data(grown())["seeds"] == {
        "reinforce": 6,
        "grpo": 3,
        "rloo": 6,
        "remax": 3,
    }
    fixed = in_memory.study(store.SOUND)
    assert growth.section(fixed, found()) == ""
    assert growth.data(fixed) == {}


def test_while_a_look_is_to_come_nothing_is_said_of_it() -> None:
    text = growth.section(in_memory.study(planned([])), found())

    assert "Look 1 of 2 comes at 3 seeds" in text
    assert "not taken" in text


def test_the_self_test_simulates_the_looks() -> None:
    """As if all seeds were planned, decided look by look: less is supported wrongly than .05."""
    chances = selftest(grown()).chances
    pocock = dataclasses.replace(UNTIL, spending=Spending.POCOCK)
    ablation = dataclasses.replace(grown().manifest.ablation, until=pocock)
    manifest = dataclasses.replace(grown().manifest, ablation=ablation)
    history = dataclasses.replace(grown().history, revisions=[manifest])
    other = selftest(dataclasses.replace(grown(), history=history)).chances

    assert all(chance.false[0] < 0.05 for chance in chances)
    # The two spend differently, so that they find differently.
    assert chances[0].found[0] > other[0].found[0] > 0.3


def test_a_look_is_taken_from_the_store_once_and_tells_no_direction(tmp_path: Path) -> None:
    """A real store with the first look's results; the second time nothing new is written."""
    runs = tmp_path / "runs"
    store.write(runs, [planned([])])
    said = StringIO()
    console = Console(file=said, width=160, soft_wrap=True)
    manifest = sweeps_looks.take(runs, "grown", 0, console, shows=False)
    again = sweeps_looks.take(runs, "grown", 0, console, shows=False)

    assert manifest.looks == took([1]) + store.manifest(planned([])).looks[1:]
    assert (manifest.revision, again.seal) == (2, manifest.seal)
    line = "grown: look 1 of 2 at 3 seeds: 1 of 2 predictions decided, goes on"
    assert said.getvalue().splitlines() == [line, line]
    assert {label: len(manifest.called(label)) for label in manifest.ablation.labels} == {
        "reinforce": 6,
        "rloo": 6,
        "grpo": 3,
        "remax": 3,
    }
    sweeps_looks.take(runs, "grown", 0, console, shows=True)
    assert "grpo - reinforce on eval/accuracy: +0.400 [+0." in said.getvalue()
