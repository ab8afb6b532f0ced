"""A tuning without Ray: spaces, proposals, its record, its course, and what is taken from it."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from ray.tune.schedulers import TrialScheduler
from rich.console import Console

from harness.config import Budget, RayConfig, TrialConfig, resolved, trial_name
from harness.errors import ConfigError
from harness.identity import Identity
from harness.stages import Goal, Scheduler, Searcher, SweepConfig
from harness.tracking import record
from harness.tracking.none import NoTracking
from harness.tracking.writer import Writer
from sweeps import overview
from sweeps.comparable import check
from sweeps.journal import Ended, Journal, Opened, State, path_of
from sweeps.outcome import original, tuned, winner
from sweeps.plan import Plan
from sweeps.proposals import Known, proposal
from sweeps.search import Search
from sweeps.space import Dimension, dimension
from sweeps.tune import _close, _opened
from sweeps.tuner import Halving, Past
from tests.conftest import Here
from tests.sweeps.test_plan import edited, planned

RATE = "trainer.optimizer.learning_rate"
INTERVAL = "tag(log,interval(1e-4,1e-2))"
TUNED = ("+ablation=length_bias", "sweep.stage=tune", f"{RATE}={INTERVAL}")


def space(text: str) -> Dimension:
    return dimension(OverridesParser.create().parse_overrides([f"a.b={text}"])[0])


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as refusal:
        call()
    assert len(str(refusal.value).splitlines()) == 1
    return str(refusal.value)


def asked(*arguments: str) -> str:
    return refused(lambda: check(planned(*arguments)))


@pytest.mark.parametrize(
    ("text", "ends", "log"),
    [
        ("interval(1,8)", ("1.0", "8.0"), False),
        ("int(interval(1,8))", ("1", "8"), False),
        ("tag(log,int(interval(1,8)))", ("1", "8"), True),
        (INTERVAL, ("0.0001", "0.01"), True),
        ("a,'b c'", ("a", "'b c'"), False),
        ("range(1,4)", ("1", "3"), False),
    ],
)
def test_a_dimension_is_read_by_hydras_parser(text: str, ends: tuple[str, str], log: bool) -> None:
    found = space(text)
    assert (found.ends, found.log, found.text) == (ends, log, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("interval(5,1)", "two finite ends, the smaller one first"),
        ("interval(0,inf)", "two finite ends"),
        ("tag(log,interval(0,1))", "tag(log, ...) needs ends above 0"),
        ("tag(q,interval(0,1))", "tag 'q' means nothing; valid: log"),
    ],
)
def test_an_interval_that_is_none(text: str, words: str) -> None:
    assert words in refused(lambda: space(text))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*TUNED, "seed=0,1"), "tries every proposal on one seed, received [0, 1]"),
        ((*TUNED, "seed=interval(0,3)"), "seed=interval(0,3): an interval cannot be listed"),
        (("+ablation=length_bias", "sweep.stage=tune"), "nothing of grpo is searched"),
        ((*TUNED, f"+{RATE}=interval(0,1)"), f"{RATE} is searched twice"),
        ((*TUNED, "budget.amount=4,8"), "keys that decide what is learnt at one budget"),
        ((*TUNED, "sweep.stage=now"), "one of ablate, tune, confirm"),
        ((*TUNED, "algorithm.std_epsilon=interval(0.1,1)"), "dr_grpo has no such key"),
        ((f"{RATE}=interval(0,1)", "sweep.stage=tune"), "learning_rate"),
        (("name=x.tune", "seed=0"), "is that of single runs, of the reports or of a tuning"),
    ],
)
def test_what_cannot_be_tuned(arguments: tuple[str, ...], words: str) -> None:
    assert words in asked(*arguments)


def test_settings_of_a_tuning_have_a_range() -> None:
    assert "trials must be at least 1, received 0" in refused(lambda: SweepConfig(trials=0))
    assert "sweep.grace is a share" in refused(lambda: SweepConfig(grace=0.0))
    assert "sweep.reduction must be above 1" in refused(lambda: SweepConfig(reduction=1.0))
    assert "sweep.at_once must be at least 1" in refused(lambda: SweepConfig(at_once=0))


def test_a_variants_own_space_needs_a_stage(tmp_path: Path) -> None:
    new = f"overrides: [algorithm=dr_grpo, '{RATE}={INTERVAL}']"
    message = refused(lambda: edited(tmp_path, "overrides: [algorithm=dr_grpo]", new))
    assert f"dr_grpo: {RATE}={INTERVAL} is several values; search them" in message


def test_proposals_are_a_function_of_seed_number_and_what_is_known() -> None:
    dims = [Dimension("lr", "", 1e-4, 1e-2, True), Dimension("n", "", 1, 4), space("x,y")]
    random = partial(proposal, dims, Searcher.RANDOM, Goal.MAX)
    found = [random(0, number, []) for number in range(64)]
    assert found == [random(0, number, []) for number in range(64)]
    assert found != [random(1, number, []) for number in range(64)]
    assert {each["n"] for each in found} == {"1", "2", "3", "4"}
    assert {each["a.b"] for each in found} == {"x", "y"}
    rates = sorted(float(each["lr"]) for each in found)
    assert 1e-4 <= rates[0] < rates[-1] <= 1e-2
    # On a logarithmic scale the median is near sqrt(1e-4 * 1e-2) = 1e-3, not near 5e-3.
    assert 5e-4 < rates[32] < 2e-3


def test_tpe_learns_where_the_best_is() -> None:
    """The result is -|log10 lr + 3|, best at 1e-3; a proposal knows all before it."""
    dims = [Dimension("lr", "", 1e-5, 1e-1, True)]
    known: list[Known] = []
    for number in range(30):
        values = proposal(dims, Searcher.TPE, Goal.MAX, 0, number, known)
        distance = abs(math.log10(float(values["lr"])) + 3)
        known.append(Known(values, State.FINISHED, -distance, 1.0))
    results = [each.result or 0.0 for each in known]
    assert sum(results[20:]) / 10 > sum(results[:10]) / 10 + 0.3
    again = proposal(dims, Searcher.TPE, Goal.MAX, 0, 29, known[:29])
    assert again == known[29].values
    down = proposal(dims, Searcher.TPE, Goal.MIN, 0, 29, known[:29])
    assert down != again


def opened(**changed: object) -> Opened:
    made = Opened(
        name="length_bias",
        question="?",
        seed=0,
        trials=6,
        searcher=Searcher.TPE,
        goal=Goal.MAX,
        scheduler=Scheduler.FIFO,
        grace=0.2,
        reduction=2.0,
        at_once=2,
        budget=Budget(amount=10),
        metric="eval/accuracy",
        best=False,
        spaces={"grpo": {RATE: INTERVAL}, "dr_grpo": {RATE: INTERVAL}},
        identities={},
        code_hash="c" * 64,
        command="harness",
        created="2027-01-14T08:00:00+00:00",
    )
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]


BASE: list[Plan] = []


def compose(variant: str, values: Mapping[str, str]) -> TrialConfig:
    """The variant at a rate; Hydra, which takes 0.1 s each time, has done the rest once."""
    if not BASE:
        BASE.append(planned(*TUNED))
    config = BASE[0].variants[variant]
    optimizer = dataclasses.replace(config.trainer.optimizer, learning_rate=float(values[RATE]))
    trainer = dataclasses.replace(config.trainer, optimizer=optimizer)
    return dataclasses.replace(config, trainer=trainer, budget=Budget(amount=10))


def search(runs: Path, variant: str = "grpo") -> Search:
    journal = Journal(path_of(runs, "length_bias"))
    dims = [space(INTERVAL)]
    dims = [dataclasses.replace(dims[0], key=RATE)]
    return Search(journal, variant, dims, partial(compose, variant), runs, NoTracking())


def begun(runs: Path, **changed: object) -> Search:
    Journal(path_of(runs, "length_bias")).add(opened(**changed))
    return search(runs)


def trained(made: Search, number: int, curve: Mapping[int, float], ended: bool = True) -> None:
    """Write the record of a trial: step -> accuracy, of a budget of 10 updates."""
    folder = made.runs / "checkpoints" / trial_name(made.started[number])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / record.CONFIG).write_text(json.dumps(resolved(made.started[number])))
    writer = Writer(folder)
    writer.start({}, "")
    for step in range(max(curve) + 1):
        spent = {"budget/updates": step, "budget/tokens": 100 * step}
        seen = {"eval/accuracy": curve[step]} if step in curve else {}
        if seen:
            writer.table(step, {"item": [0]})
        writer.step(step, {**spent, **seen})
    if ended:
        writer.end(record.Status.FINISHED)


def finished(made: Search, number: int, accuracy: float) -> None:
    trained(made, number, {0: 0.1, 10: accuracy})
    made.end(number, failed=False)


def test_a_search_from_first_to_last_with_every_way_to_end(tmp_path: Path) -> None:
    """at_once=2: proposal n knows the trials up to n - 2."""
    made = begun(tmp_path)
    assert [made.next(), made.next(), made.next()] == [0, 1, None]
    finished(made, 1, 0.4)
    assert made.next() is None, "trial 2 has to know trial 0, whichever ended first"
    finished(made, 0, 0.5)
    assert [made.next(), made.next(), made.next()] == [2, 3, None]
    trained(made, 2, {0: 0.1, 2: 0.2}, ended=False)
    made.stop(2)
    made.end(2, failed=False)
    made.end(3, failed=True)
    assert [made.next(), made.next()] == [4, 5]
    finished(made, 4, 0.5)
    trained(made, 5, {0: 0.1, 4: 0.3}, ended=False)
    made.end(5, failed=False)
    attempt = made.attempt
    assert ("grpo", 5) not in attempt.ended, "interrupted, not ended"
    states = {number: ended.state.value for (_, number), ended in attempt.ended.items()}
    assert states == {1: "finished", 0: "finished", 2: "stopped", 3: "failed", 4: "finished"}
    two = attempt.ended["grpo", 2]
    assert (two.value, two.progress, two.updates, two.tokens) == (0.2, 0.2, 2, 200)
    assert winner(attempt, "grpo") == 0, "the first of equals"

    again = search(tmp_path)
    assert again.attempt == attempt
    assert again.left == [5]
    assert again.next() == 5
    assert trial_name(again.started[5]) == attempt.proposed["grpo", 5].trial


def test_proposals_do_not_depend_on_who_ends_first(tmp_path: Path) -> None:
    made = []
    for folder, order in (("a", (0, 1)), ("b", (1, 0))):
        own = begun(tmp_path / folder, trials=4)
        own.next()
        own.next()
        for number in order:
            finished(own, number, 0.5 + number / 10)
        own.next()
        made.append([each.values for each in own.attempt.proposed.values()])
    assert made[0] == made[1]
    other = begun(tmp_path / "c", trials=4, searcher=Searcher.RANDOM)
    assert [other.next() for _ in range(5)] == [0, 1, 2, 3, None]
    twin = search(tmp_path / "c", "dr_grpo")
    twin.next()
    proposed = twin.attempt.proposed
    assert proposed["grpo", 0].values == proposed["dr_grpo", 0].values


def test_values_that_were_tried_are_not_run_again(tmp_path: Path) -> None:
    made = begun(tmp_path, searcher=Searcher.RANDOM)
    made.space = [Dimension(RATE, "", choices=("0.001", "0.002"))]
    numbers = [made.next() for _ in range(3)]
    assert numbers[2] is None
    attempt = made.attempt
    assert [ended.state for ended in attempt.ended.values()] == [State.REPEATED] * 4
    finished(made, numbers[0] or 0, 0.7)
    repeated = next(key for key in attempt.ended if attempt.ended[key].state is State.REPEATED)
    first = attempt.first(attempt.proposed[repeated].trial)
    if first in attempt.ended:
        assert original(attempt, repeated) == attempt.ended[first]
    assert winner(attempt, "grpo") == numbers[0]


def test_values_that_no_trial_can_have_end_as_failed(tmp_path: Path) -> None:
    def never(values: Mapping[str, str]) -> TrialConfig:
        raise ConfigError("these two exclude each other")

    made = begun(tmp_path)
    made.compose = never
    assert made.next() is None
    assert made.left == []
    reasons = {ended.reason for ended in made.attempt.ended.values()}
    assert reasons == {"these two exclude each other"}
    with pytest.raises(Exception, match="there is nothing to confirm"):
        _close(made.attempt, made.journal)


def test_asha_stops_the_worse_half_and_knows_what_happened_before(tmp_path: Path) -> None:
    """Rungs at .2, .4, .8. With accuracies .5 and .3 at .2 the median is .4: .35 is stopped."""
    made = begun(tmp_path, scheduler=Scheduler.ASHA, searcher=Searcher.RANDOM)
    for number, accuracy in ((0, 0.5), (1, 0.3)):
        assert made.next() == number
        trained(made, number, {0: 0.9, 2: accuracy, 10: 0.1})
        made.end(number, failed=False)
    assert [made.next(), made.next(), made.next()] == [2, 3, 4]

    @dataclasses.dataclass(frozen=True)
    class Running(Past):
        config: dict[str, int]

    rungs = Halving(made)
    for number, accuracy, decision in ((2, 0.35, TrialScheduler.STOP), (3, 0.45, "CONTINUE")):
        trained(made, number, {0: 0.9, 2: accuracy}, ended=False)
        trial = Running(str(number), {"job": number})
        rungs.on_trial_add(None, trial)
        result = {"progress": 0.2, "objective": accuracy}
        assert rungs.on_trial_result(None, trial, result) == decision
    assert made.attempt.ended["grpo", 2].state is State.STOPPED
    assert ("grpo", 3) not in made.attempt.ended
    made.settle()
    told = record.read(tmp_path / "checkpoints" / made.attempt.proposed["grpo", 2].trial)
    assert told is not None
    assert told.status is record.Status.KILLED
    assert told.error == "Stopped: by the scheduler at 20% of the budget"


def complete(runs: Path, *variants: str, **changed: object) -> Journal:
    """A tuning of some variants that has ended: two trials each, the second better."""
    found = begun(runs, trials=2, **changed).journal
    for variant in variants:
        made = search(runs, variant)
        for number, accuracy in ((0, 0.4), (1, 0.6)):
            assert made.next() == number
            finished(made, number, accuracy)
    found = Journal(path_of(runs, "length_bias"))
    attempt = found.attempts[-1]
    attempt.opened = dataclasses.replace(
        attempt.opened, spaces={v: {RATE: INTERVAL} for v in variants}
    )
    _close(attempt, found)
    return found


def confirming(runs: Path, *more: str) -> Plan:
    arguments = ("+ablation=length_bias", "sweep.stage=confirm", f"runs={runs}", *more)
    made = planned(*arguments)
    check(made)
    return made


def test_a_confirmation_takes_the_winners_to_fresh_seeds(tmp_path: Path) -> None:
    journal = complete(tmp_path, "grpo", "dr_grpo")
    made = confirming(tmp_path, "seed=10,11")
    proposed = journal.attempts[-1].proposed
    for label, config in made.variants.items():
        rate = config.trainer.optimizer.learning_rate
        assert rate == float(proposed[label, 1].values[RATE])
    assert [job.seed for job in made.jobs] == [10, 10, 11, 11]
    assert made.departures(made.ablation.seeds) == []
    assert [each.variant for each in made.tuned] == ["grpo", "dr_grpo"]
    one = made.tuned[0]
    # Two trials of 10 updates and 1,000 tokens each.
    assert (one.trials, one.finished, one.updates, one.tokens) == (2, 2, 20, 2000)
    assert (one.result, one.winner, one.seeds, one.seal) == (0.6, 1, [0], journal.seal)
    assert one.ceiling == ["10 updates"]
    assert f"{RATE}={one.values[RATE]}" in made.ablation.variants[0].overrides
    assert RATE not in made.ablation.factors, "both have the same best value"
    assert "length_bias.tune" in overview.names(tmp_path)
    seen = overview.Look(tmp_path, "length_bias.tune")()
    assert [row.record is None for row in seen.rows] == [False] * 4


def test_tuned_values_that_differ_are_factors(tmp_path: Path) -> None:
    complete(tmp_path, "grpo", "dr_grpo")
    journal = Journal(path_of(tmp_path, "length_bias"))
    second = tmp_path / "second"
    own = begun(second, trials=2).journal
    for (label, number), made in journal.attempts[-1].proposed.items():
        values = {RATE: "0.002"} if label == "dr_grpo" else made.values
        own.add(dataclasses.replace(made, values=values))
        own.add(journal.attempts[-1].ended[label, number])
    _close(own.attempts[-1], own)
    made_plan = confirming(second, "seed=10")
    assert RATE in made_plan.ablation.factors
    assert made_plan.variants["dr_grpo"].trainer.optimizer.learning_rate == 0.002


def test_what_cannot_be_confirmed(tmp_path: Path) -> None:
    confirm = partial(confirming, tmp_path, "seed=10")
    assert "nothing of length_bias was tuned" in refused(confirm)
    complete(tmp_path / "one", "grpo")
    assert "dr_grpo was not tuned, tuned were grpo" in refused(
        lambda: confirming(tmp_path / "one", "seed=10")
    )
    complete(tmp_path, "grpo", "dr_grpo")
    used = "seed 0 was used in the tuning of length_bias"
    assert used in refused(lambda: confirming(tmp_path, "seed=0,7"))
    fresh = refused(lambda: confirming(tmp_path))  # the file's seeds are 0, 1, 2
    assert used in fresh
    assert fresh.endswith("seed=1,2,3")
    Journal(path_of(tmp_path, "length_bias")).add(opened(seed=10))
    assert "has not ended: 0 of 12 trials have" in refused(confirm)


def test_the_seeds_and_budgets_of_every_attempt_count(tmp_path: Path) -> None:
    complete(tmp_path, "grpo", "dr_grpo")
    journal = Journal(path_of(tmp_path, "length_bias"))
    first = journal.attempts[0]
    journal.add(opened(seed=7, trials=2, budget=Budget(amount=20)))
    for key, made in first.proposed.items():
        journal.add(made)
        journal.add(first.ended[key])
    _close(journal.attempts[-1], journal)
    one = tuned(journal)[0]
    assert (one.attempts, one.seeds, one.trials, one.updates) == (2, [0, 7], 4, 40)
    assert one.ceiling == ["10 updates", "20 updates"]
    assert "seed 0 was used" in refused(lambda: confirming(tmp_path, "seed=0"))
    assert "seed 7 was used" in refused(lambda: confirming(tmp_path, "seed=7"))


def test_a_record_that_was_edited_confirms_nothing(tmp_path: Path) -> None:
    path = complete(tmp_path, "grpo", "dr_grpo").path
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    edits = {
        whole.replace(b'"value":0.4', b'"value":0.9', 1): "line 3 was edited",
        b"".join(lines[:2] + lines[3:]): "line 3 was edited, or the line before it is gone",
        b"{}\n" + whole: "line 1 is no event of a tuning",
        b"[1]\n": "line 1 is no event of a tuning",
        b'{"event":"ended"}\n': "line 1 is no event of a tuning",
        b"".join(lines[1:]): "line 1 was edited",
    }
    for content, words in edits.items():
        path.write_bytes(content)
        message = refused(lambda: confirming(tmp_path, "seed=10"))
        assert words in message
        assert "python -m sweeps rm length_bias.tune" in message
    path.write_bytes(whole + b'{"event":"op')  # a kill in the middle of a line
    journal = Journal(path)
    journal.add(opened(seed=3))
    assert [a.opened.seed for a in Journal(path).attempts] == [0, 3]
    assert path.read_bytes().startswith(whole)


def test_a_value_that_was_not_measured_wins_nothing(tmp_path: Path) -> None:
    made = begun(tmp_path)
    assert winner(made.attempt, "grpo") is None
    made.attempt.add(Ended("grpo", 0, State.FINISHED, None, 1.0, 1, 1))
    assert winner(made.attempt, "grpo") is None


def test_the_same_tuning_goes_on_and_another_is_refused_or_begun_anew(tmp_path: Path) -> None:
    journal, console = Journal(path_of(tmp_path, "length_bias")), Console(quiet=True)
    content = {label: Identity("c", {}, {}, {}) for label in ("grpo", "dr_grpo")}
    base = planned(*TUNED)
    sweep = base.jobs[0].sweep

    def asked_for(**changed: object) -> Plan:
        jobs = [dataclasses.replace(job, **changed) for job in base.jobs]  # type: ignore[arg-type]
        return dataclasses.replace(base, jobs=jobs)

    _opened(base, journal, content, console)
    _opened(asked_for(ray=RayConfig(retries=3)), journal, content, console)
    assert len(journal.attempts) == 1
    others = {
        "trials": asked_for(sweep=dataclasses.replace(sweep, trials=21)),
        "seed": asked_for(seed=1),
        "budget": asked_for(budget=Budget(amount=9)),
        "scheduler": asked_for(sweep=dataclasses.replace(sweep, scheduler=Scheduler.FIFO)),
    }
    for key, other in others.items():
        message = refused(partial(_opened, other, journal, content, console))
        assert f"tuned otherwise before ({key} differ)" in message
    changed = {**content, "grpo": Identity("d", {}, {}, {})}
    message = refused(partial(_opened, base, journal, changed, console))
    assert "(identities differ)" in message
    _opened(asked_for(seed=1, fresh=True), journal, content, console)
    assert [attempt.opened.seed for attempt in journal.attempts] == [0, 1]


def test_a_preview_says_what_is_searched_and_writes_nothing(here: Here, tmp_path: Path) -> None:
    done = here("-m", *TUNED, "sweep.trials=24", "dry_run=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "24 trials of each of 2 variants, each of at most 50 updates" in " ".join(
        done.stdout.split()
    )
    assert f"dr_grpo: {RATE}={INTERVAL}" in done.stdout
    assert not list(tmp_path.iterdir())


def test_stages_are_for_many_trials_and_asha_for_trials_that_are_evaluated(here: Here) -> None:
    done = here("sweep.stage=tune")
    assert done.returncode == 2
    assert "is about many trials and needs -m" in done.stderr
    done = here("-m", *TUNED, "evaluation.every=1", "dry_run=true")
    assert done.returncode == 2
    assert "evaluation.every=1 leaves none before the end" in done.stderr
    done = here("-m", *TUNED, "task.eval_size=16,24", "task.train_size=64", "dry_run=true")
    assert done.returncode == 2
    assert "would be evaluated on other prompts" in done.stderr
