"""Seeds until decided: the plan, its looks in the manifest, and a real sweep that takes them."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.changes import Kind, changes
from analysis.manifest import Manifest
from analysis.revisions import read_revisions
from analysis.stats import Outcome
from analysis.until import Look, Spending, Stop, Until
from harness.config import Budget
from harness.errors import ConfigError
from harness.tracking.none import NoTracking
from sweeps import comparable, looks
from sweeps.__main__ import main as sweeps
from sweeps.manifest import write_looks
from sweeps.plan import Plan
from tests.conftest import SMALL, Here, command
from tests.processes import wait_for
from tests.sweeps.test_manifest import NAME, Folder
from tests.sweeps.test_plan import planned

SEEDS: dict[str, Any] = {"min": 3, "max": 12, "stop": "decided"}


def prediction(variant: str, margin: float) -> dict[str, Any]:
    return {
        "metric": "eval/accuracy",
        "relation": "equal",
        "baseline": "grpo",
        "variant": variant,
        "margin": margin,
        "because": "it is the same mathematics",
    }


def file(folder: Path, **changed: Any) -> str:
    """A user's ablation file of three variants and two predictions; its search path."""
    algorithms = ("grpo", "dr_grpo", "rloo")
    node = {
        "_target_": "analysis.ablation.Ablation",
        "name": NAME,
        "question": "Equal?",
        "hypothesis": "",
        "baseline": "grpo",
        "factors": ["algorithm"],
        "seeds": SEEDS,
        "variants": [{"label": a, "overrides": [f"algorithm={a}"]} for a in algorithms],
        "budget": {"unit": "updates", "amount": 2},
        "predictions": [prediction("dr_grpo", 0.9), prediction("rloo", 1e-9)],
        **changed,
    }
    (folder / "ablation").mkdir(exist_ok=True)
    (folder / "ablation" / f"{NAME}.yaml").write_text(yaml.safe_dump(node, sort_keys=False))
    return f"hydra.searchpath=[file://{folder}]"


def plan(folder: Path, *arguments: str, **changed: Any) -> Plan:
    return planned(f"+ablation={NAME}", file(folder, **changed), *arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan of the file as it is, composed once."""
    return plan(tmp_path_factory.mktemp("whole"))


def asking(whole: Plan, **changed: Any) -> Plan:
    """The same plan with another question."""
    ablation = dataclasses.replace(whole.ablation, **changed)
    jobs = [job for job in whole.jobs if job.seed in ablation.seeds]
    return dataclasses.replace(whole, ablation=ablation, jobs=jobs)


def until(**changed: Any) -> Until:
    return dataclasses.replace(Until(3, 12, Stop.DECIDED), **changed)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs")


def test_every_declared_seed_is_planned_and_the_looks_with_them(
    whole: Plan, folder: Folder
) -> None:
    """Two predictions, four looks. O'Brien-Fleming type: at the last, of .05 two-sided, z = 2.014
    (K = 4), so p below 2 sf(2.014) = .0440."""
    manifest = folder.write(whole)

    assert whole.ablation.until == until()
    assert whole.ablation.seeds == list(range(12))
    assert len(manifest.jobs) == len(whole.jobs) == 3 * 12
    assert [look.seeds for look in manifest.looks] == [3, 6, 9, 12]
    assert [look.fraction for look in manifest.looks] == [0.25, 0.5, 0.75, 1.0]
    assert manifest.looks[-1].levels[0] == pytest.approx(0.0440, abs=1e-4)
    assert manifest.looks[-1].spent == pytest.approx(0.05)
    assert all(len(look.levels) == 2 and not look.taken for look in manifest.looks)
    assert {(job.variant, job.seed) for job in manifest.called_jobs} == {
        (label, seed) for label in whole.ablation.labels for seed in range(3)
    }


def test_other_seeds_steps_and_spending(tmp_path: Path) -> None:
    seeds = {**SEEDS, "max": 8, "every": 2, "spending": "pocock"}
    shifted = plan(tmp_path, f"seed={','.join(map(str, range(20, 28)))}", seeds=seeds)

    assert shifted.ablation.seeds == list(range(20, 28))
    assert shifted.ablation.until == until(max=8, every=2, spending=Spending.POCOCK)
    assert until(max=8, every=2).at == [3, 5, 7, 8]
    assert shifted.departures(shifted.ablation.seeds)


def refused(made: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        made()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seeds": {**SEEDS, "min": 2}}, "3 <= min < max, received min 2 and max 12"),
        ({"seeds": {**SEEDS, "max": 3}}, "received min 3 and max 3"),
        ({"seeds": {**SEEDS, "every": 10}}, "seeds.every must be 1 to max - min"),
        ({"seeds": {**SEEDS, "stop": "soon"}}, "ablation.seeds.stop must be"),
        ({"seeds": {"min": 3, "max": 12}}, "ablation.seeds.stop"),
        ({"seeds": {**SEEDS, "most": 12}}, "ablation.seeds.most"),
        ({"predictions": []}, "until its predictions are decided, received none"),
        ({"seeds": [0, 1, 2], "until": SEEDS}, "unknown key 'until'"),
    ],
)
def test_a_wrong_design_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    assert words in refused(lambda: plan(tmp_path, **changed))


def test_a_command_names_all_seeds_or_none(tmp_path: Path) -> None:
    assert "name 12 seeds" in refused(lambda: plan(tmp_path, "seed=0,1,2"))


def test_looks_need_published_results(whole: Plan) -> None:
    jobs = [dataclasses.replace(job, tracking=NoTracking()) for job in whole.jobs[:1]]
    untracked = dataclasses.replace(whole, jobs=jobs)
    assert "received tracking=none" in refused(lambda: comparable.check(untracked))


def test_a_tuning_has_one_seed_and_no_looks(tmp_path: Path) -> None:
    rate = "trainer.optimizer.learning_rate=interval(1e-4,1e-2)"
    tuning = plan(tmp_path, "sweep.stage=tune", rate)
    assert (tuning.ablation.seeds, tuning.ablation.until) == ([0], None)


def taken(look: Look, decided: list[int], stopped: list[str]) -> Look:
    return dataclasses.replace(look, taken=True, decided=decided, stopped=stopped)


def seeds_of(manifest: Manifest) -> dict[str, list[int]]:
    return {label: manifest.called(label) for label in manifest.ablation.labels}


def test_a_look_is_a_revision_and_the_same_command_keeps_it(whole: Plan, folder: Folder) -> None:
    first = folder.write(whole)
    one = taken(first.looks[0], [1], ["dr_grpo"])
    second = write_looks(folder.runs, NAME, [one, *first.looks[1:]])

    assert second.previous == first.seal
    assert seeds_of(second) == {"grpo": [*range(6)], "dr_grpo": [0, 1, 2], "rloo": [*range(6)]}
    (change,) = changes(first, second)
    assert change.kind is Kind.LOOK
    assert change.text == "look 1 of 4 at 3 seeds: 1 of 2 predictions decided"
    assert write_looks(folder.runs, NAME, second.looks).seal == second.seal
    assert folder.write(whole).seal == second.seal
    assert [m.seal for m in folder.revisions] == [first.seal, second.seal]
    # Nothing says in which direction.
    assert not {"supported", "refuted"} & set(json.dumps([dataclasses.asdict(one)]).split('"'))


def test_the_last_looks_end_what_is_called_for(whole: Plan, folder: Folder) -> None:
    planned_looks = folder.write(whole).looks
    one = taken(planned_looks[0], [1], ["dr_grpo"])
    two = taken(planned_looks[1], [1, 2], ["grpo", "dr_grpo", "rloo"])
    ended = write_looks(folder.runs, NAME, [one, two, *planned_looks[2:]])

    assert (one.ends, two.ends) == (False, True)
    assert seeds_of(ended) == {"grpo": [*range(6)], "dr_grpo": [0, 1, 2], "rloo": [*range(6)]}
    rest = [taken(look, [1], ["dr_grpo"]) for look in planned_looks[1:]]
    full = write_looks(folder.runs, NAME, [one, *rest])
    assert full.looks[-1].ends
    assert len(full.called("rloo")) == 12


def test_another_question_is_looked_at_anew(whole: Plan, folder: Folder) -> None:
    first, claim = folder.write(whole), whole.ablation.predictions[0]
    looked = [taken(first.looks[0], [1], ["dr_grpo"]), *first.looks[1:]]
    longer = {
        label: dataclasses.replace(config, budget=Budget(amount=3))
        for label, config in whole.variants.items()
    }
    others = [
        asking(whole, predictions=[claim, dataclasses.replace(claim, margin=claim.margin + 0.1)]),
        asking(whole, until=until(spending=Spending.POCOCK)),
        dataclasses.replace(whole, variants=longer, jobs=list(longer.values())),
    ]
    for other in others:
        folder.write(whole)
        write_looks(folder.runs, NAME, looked)
        assert folder.revisions[-1].taken == 1
        assert folder.write(other).taken == 0
        made = [change.text for change in changes(*folder.revisions[-2:])]
        assert "look 1 of 4 taken back" in made


def test_trials_that_are_thrown_away_are_looked_at_anew(whole: Plan, folder: Folder) -> None:
    first = folder.write(whole)
    write_looks(folder.runs, NAME, [taken(first.looks[0], [1], ["dr_grpo"]), *first.looks[1:]])
    jobs = [dataclasses.replace(job, fresh=True) for job in whole.jobs]
    assert folder.write(dataclasses.replace(whole, jobs=jobs)).taken == 0


def test_seeds_that_are_planned_already_cannot_be_left_out(whole: Plan, folder: Folder) -> None:
    folder.write(whole)
    fewer = asking(whole, seeds=[*range(6)], until=until(max=6))
    assert f"python -m sweeps rm {NAME}" in refused(lambda: folder.write(fewer))


def test_how_seeds_end_is_part_of_the_claim(whole: Plan, folder: Folder) -> None:
    """Looks beside results that were to be fixed, or more of them, are another claim."""
    folder.write(asking(whole, until=None))
    folder.write(whole)
    folder.write(asking(whole, until=until(spending=Spending.POCOCK)))
    fixed, growing, pocock = folder.revisions

    claims = [[c.text for c in changes(*pair) if c.kind is Kind.CLAIM] for pair in (
        (fixed, growing), (growing, pocock))]  # fmt: skip
    assert claims[0] == ["seeds until unset -> 'decided, at [3, 6, 9, 12] seeds'"]
    assert claims[1] == ["seeds: spending obrien_fleming -> pocock"]


class Said:
    """A verdict of which only the outcome counts."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def test_what_stops_is_what_no_undecided_prediction_speaks_of(whole: Plan, folder: Folder) -> None:
    manifest = folder.write(whole)

    def stopped(*outcomes: Outcome) -> list[str]:
        return looks.decided(manifest, 0, [Said(each) for each in outcomes]).stopped  # type: ignore[misc]

    assert stopped(Outcome.REFUTED, Outcome.UNDECIDED) == ["dr_grpo"]
    assert stopped(Outcome.WITHHELD, Outcome.SUPPORTED) == ["rloo"]
    assert stopped(Outcome.SUPPORTED, Outcome.REFUTED) == ["grpo", "dr_grpo", "rloo"]


def test_a_preview_tells_looks_levels_and_trials_to_expect(whole: Plan) -> None:
    ablation = whole.ablation
    lines = list(looks.previewed(ablation))

    assert lines[0].startswith("seeds until decided: 4 looks, obrien_fleming spending")
    assert "look 2 at 6 seeds (50% of the information" in lines[2]
    assert "trials to be expected, of 36, by how many" in lines[-1]
    few = [int(word) for word in re.findall(r"(\d+) at \d", lines[-1])]
    assert few[0] > few[-1] >= 9
    assert few == sorted(few, reverse=True)
    assert not list(looks.previewed(dataclasses.replace(ablation, until=None)))


TINY = (
    *("evaluation.pass_k=0", "evaluation.every=1.0", "task.eval_size=24"),
    *("trainer.prompts_per_step=4", "rollout.max_new_tokens=32"),
)


@pytest.mark.commands
def test_an_arm_that_is_decided_gets_no_more_seeds_and_a_kill_loses_nothing(
    work: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    """`dr_grpo` is equal within .9 at once; `rloo` within 1e-9 never. The driver is killed on its
    way to the first look; the same command takes that and goes on to the second and last one."""
    seeds = {**SEEDS, "max": 4, "every": 1}
    small = [each for each in SMALL if not each.startswith(("budget", "evaluation"))]
    sweep = ("-m", f"+ablation={NAME}", file(work, seeds=seeds), *small, *TINY)
    log = (work / "driver.log").open("w")
    driver = subprocess.Popen(**command(*sweep), cwd=work, stdout=log, stderr=log)
    finals = work / "runs" / "checkpoints"

    def done() -> dict[str, int]:
        paths = finals.glob("*/final/result.json")
        return {path.parents[1].name: path.stat().st_mtime_ns for path in paths}

    wait_for(lambda: len(done()) >= 4 or driver.poll() is not None, 240)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(4)  # a killed driver's trials live on for about two seconds
    before = done()
    again = here(*sweep)

    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{NAME}: look 1 of 2 at 3 seeds: 1 of 2 predictions decided, goes on" in again.stdout
    assert f"{NAME}: look 2 of 2 at 4 seeds: 1 of 2 predictions decided, ends" in again.stdout
    shown = again.stdout.split("writing the report")[0]
    assert "supported" not in shown, "an interim difference is nobody's to see"
    assert "refuted" not in shown
    trials = done()
    counts = {
        a: sum(name.startswith(f"{a}__") for name in trials) for a in ("grpo", "dr_grpo", "rloo")
    }
    assert counts == {"grpo": 4, "dr_grpo": 3, "rloo": 4}
    assert {name: trials[name] for name in before} == before, "a finished trial ran again"

    manifest = read_revisions(work / "runs", NAME).revisions[-1]
    assert [look.decided for look in manifest.looks] == [[1], [1]]
    assert manifest.looks[0].stopped == ["dr_grpo"]
    report = work / "runs" / "reports" / NAME
    page = (report / "report.md").read_text()
    assert "## Looks" in page
    assert "1 of 12 trials were not needed" in page
    assert "| No look at the results before the last one | OK | looks as planned, at 3, 4" in page
    assert "| All planned trials finished | OK | 11 of 11" in page
    data = json.loads((report / "report.json").read_text())
    one, two = data["predictions"]
    assert (one["verdict"], one["look"], one["difference"]["n"]) == ("supported", 1, [3, 3])
    assert (two["verdict"], two["look"], two["difference"]["n"]) == ("undecided", 2, [4, 4])
    # Inside its margin: two one-sided tests at the level of one look, of two claims.
    assert one["difference"]["level"] > 0.95
    assert data["looks"]["seeds"] == counts
    capsys.readouterr()
    assert sweeps(["status", NAME, "--runs", str(work / "runs")]) == 0
    assert "look 2 of 2 at 4 seeds: 1 of 2 predictions decided, ends" in capsys.readouterr().out
