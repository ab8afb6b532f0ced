"""Predictions sealed before the runs: what the report says of a plan and of what became of it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as store
from mlflow.tracking import MlflowClient
from synthetic_store import GRPO, PREDICTIONS, REINFORCE, Plan, Trial

from analysis import seal
from analysis.__main__ import main
from analysis.ablation import Checkpoint, Primary, Variant
from analysis.gates import Level, gates
from analysis.manifest import Manifest
from analysis.report import build
from analysis.revisions import line, manifest_path, sealed
from analysis.study import Study, read_study
from harness.config import Budget
from harness.tracking.store import open_store

NAME = "sealed"
TRIALS = [
    Trial(variant, seed, accuracy[seed], steps=10)
    for seed in (0, 1)
    for variant, accuracy in (("reinforce", REINFORCE), ("grpo", GRPO))
]
PLAN = Plan(NAME, TRIALS, PREDICTIONS)
BARE = Plan("bare", TRIALS[:2])
# The trials run from STARTED_MS = 2027-01-15T08:00:00 to a second later.
BEFORE, AFTER = "2027-01-14T09:00:00+00:00", "2027-01-16T09:00:00+00:00"
FIRST = store.manifest(PLAN)
QUESTION = "Predictions sealed before the runs"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seal") / "runs"
    store.write(folder, [PLAN, BARE])
    return folder


def study(runs: Path, revisions: list[Manifest], tag: str | None = None) -> Study:
    """The study when this is the manifest and all runs carry this seal (the first one's)."""
    store.save(runs, revisions)
    name = revisions[0].ablation.name
    client = open_store(runs)
    _tag(client, name, FIRST.seal if tag is None else tag)
    return read_study(runs, name)


def _tag(client: MlflowClient, name: str, value: str) -> None:
    experiment = client.get_experiment_by_name(name)
    for run in client.search_runs([experiment.experiment_id]):
        client.set_tag(run.info.run_id, "seal", value)


def gate(found: Study) -> tuple[Level, str]:
    (own,) = [gate for gate in gates(found) if gate.question == QUESTION]
    return own.level, own.detail


def second(created: str = AFTER, known: list[str] | None = None, **changed: Any) -> Manifest:
    """A second revision whose question differs from the first's."""
    ablation = dataclasses.replace(FIRST.ablation, **changed)
    return store.seal(FIRST, FIRST, ablation=ablation, created=created, known=known or [])


def eased(number: int = 0, margin: float = 0.05) -> dict[str, Any]:
    """The predictions with another margin in one of them."""
    changed = list(PREDICTIONS)
    changed[number] = dataclasses.replace(changed[number], margin=margin)
    return {"predictions": changed}


def test_a_plan_that_was_kept_is_ok(runs: Path) -> None:
    level, detail = gate(study(runs, [FIRST]))
    assert level is Level.OK
    assert f"seal {FIRST.seal[:8]}" in detail
    assert "4 predictions, as sealed before each of 4 trials" in detail


def test_a_manifest_that_was_edited_by_hand_fails(runs: Path) -> None:
    """Supported verdicts by editing the file: every other gate is as before."""
    before = {g.question: g.level for g in gates(study(runs, [FIRST]))}
    path = manifest_path(runs, NAME)
    path.write_text(path.read_text().replace('"margin":0.02', '"margin":0.001'))
    found = read_study(runs, NAME)
    level, detail = gate(found)
    assert level is Level.FAIL
    assert "revision 1 was edited after it was written" in detail
    after = {g.question: g.level for g in gates(found)}
    assert {q for q in before if before[q] != after[q]} == {QUESTION}
    assert "Does not verify: revision 1 was edited" in seal.section(found)


def test_a_chain_that_was_rewritten_with_new_hashes_is_caught_by_the_runs(runs: Path) -> None:
    ablation = dataclasses.replace(FIRST.ablation, **eased())
    level, detail = gate(study(runs, [store.seal(FIRST, ablation=ablation)]))
    assert level is Level.FAIL
    assert "4 trials (grpo__s0__abababab, grpo__s1__abababab, reinforce__s0__abababab" in detail
    assert f"ran under seal {FIRST.seal[:8]}, which no revision has" in detail


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (eased(), "prediction 1 (grpo − reinforce on eval/accuracy): margin 0.02 -> 0.05"),
        (eased(2, 0.1), "prediction 3 (grpo − reinforce on eval/kl): margin 0.01 -> 0.1"),
        ({"predictions": PREDICTIONS[:1]}, "prediction 2 removed"),
        ({"primary": Primary("eval/kl")}, "primary: metric eval/accuracy -> eval/kl"),
        ({"primary": Primary(checkpoint=Checkpoint.BEST)}, "primary: checkpoint last -> best"),
        ({"hypothesis": "As it turned out."}, "-> 'As it turned out.'"),
        ({"question": "Does it hurt?"}, "-> 'Does it hurt?'"),
        ({"paired": True}, "paired False -> True"),
        ({"baseline": "grpo"}, "baseline reinforce -> grpo"),
    ],
)
def test_claims_that_changed_after_trials_ran_fail_and_are_named(
    runs: Path, changed: dict[str, Any], words: str
) -> None:
    level, detail = gate(study(runs, [FIRST, second(**changed)]))
    assert level is Level.FAIL
    assert "ran under revision 1; changed since then: " in detail
    assert words in detail


def test_predictions_that_changed_before_any_trial_are_ok(runs: Path) -> None:
    newest = second(BEFORE, **eased())
    assert gate(study(runs, [FIRST, newest], newest.seal))[0] is Level.OK


def test_a_run_again_from_the_start_does_not_make_its_result_unknown(runs: Path) -> None:
    """fresh=true under new predictions: the runs carry the new seal, the revision knew better."""
    known = [job.trial for job in FIRST.jobs]
    newest = second(BEFORE, known, **eased())
    level, detail = gate(study(runs, [FIRST, newest], newest.seal))
    assert level is Level.FAIL
    assert "margin 0.02 -> 0.05" in detail


def test_claims_fitted_to_seeds_that_were_seen_fail_whatever_the_trials_are_called(
    runs: Path,
) -> None:
    """A key more that changes no number makes other trials of the same results."""
    others = [dataclasses.replace(job, trial=f"{job.trial}x", record="") for job in FIRST.jobs]
    known = [job.trial for job in others]
    first = store.seal(FIRST, jobs=others)
    ablation = dataclasses.replace(FIRST.ablation, **eased())
    newest = store.seal(FIRST, first, ablation=ablation, created=BEFORE, known=known)
    level, detail = gate(study(runs, [first, newest], newest.seal))
    assert level is Level.FAIL
    assert "results at seeds [0, 1] were there when revision 2 was written" in detail
    unseen = [dataclasses.replace(job, seed=job.seed + 7) for job in others]
    first = store.seal(FIRST, jobs=unseen)
    newest = store.seal(FIRST, first, ablation=ablation, created=BEFORE, known=known)
    assert gate(study(runs, [first, newest], newest.seal))[0] is Level.WARN


def test_predictions_changed_there_and_back_are_those_of_the_runs(runs: Path) -> None:
    middle = second(**eased())
    back = store.seal(FIRST, middle, created=AFTER)
    level, detail = gate(study(runs, [FIRST, middle, back]))
    assert level is Level.WARN
    assert "revision 2, when 4 trials had ended: prediction 1" in detail


def test_the_order_of_predictions_says_nothing(runs: Path) -> None:
    newest = second(predictions=PREDICTIONS[::-1])
    assert gate(study(runs, [FIRST, newest]))[0] is Level.OK


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seeds": [0, 1, 2, 3]}, "seeds added: 2, 3"),
        ({"budget": Budget(amount=60)}, "budget 10 updates -> 60 updates"),
        (
            {"variants": [*FIRST.ablation.variants, Variant("rloo", ["algorithm=rloo"])]},
            "variants added: rloo",
        ),
    ],
)
def test_a_plan_that_grew_after_results_were_seen_is_a_warning(
    runs: Path, changed: dict[str, Any], words: str
) -> None:
    level, detail = gate(study(runs, [FIRST, second(**changed)]))
    assert level is Level.WARN
    assert detail == f"revision 2, when 4 trials had ended: {words}"


def test_seeds_that_were_added_before_any_trial_ended_are_ok(runs: Path) -> None:
    newest = second(BEFORE, seeds=[0, 1, 2])
    assert gate(study(runs, [FIRST, newest]))[0] is Level.OK


def test_a_run_that_is_older_than_its_plan_is_a_warning(runs: Path) -> None:
    late = store.seal(FIRST, created="2027-01-15T08:00:00.500+00:00")
    level, detail = gate(study(runs, [late], late.seal))
    assert level is Level.WARN
    assert "started before the plan was written" in detail


def test_a_plan_that_is_written_after_its_trials_ended_fails(runs: Path) -> None:
    late = store.seal(FIRST, created=AFTER)
    level, detail = gate(study(runs, [late], late.seal))
    assert level is Level.FAIL
    assert "had ended before the first revision" in detail


def test_trials_of_another_plan_do_not_confirm_predictions(runs: Path) -> None:
    other = store.manifest(BARE)
    level, detail = gate(study(runs, [FIRST], other.seal))
    assert level is Level.FAIL
    assert "ran under bare, not under these predictions" in detail
    level, detail = gate(study(runs, [FIRST], ""))
    assert level is Level.FAIL
    assert "ran under no plan, not under these predictions" in detail


def test_without_predictions_a_plan_may_use_what_is_there(runs: Path) -> None:
    store.save(runs, [FIRST])
    for tag in ("", FIRST.seal):
        assert gate(study(runs, [store.manifest(BARE)], tag))[0] is Level.OK
    level, detail = gate(study(runs, [store.manifest(BARE)], "9" * 64))
    assert level is Level.FAIL
    assert "seal 99999999, which no revision has" in detail


@pytest.mark.parametrize("lost", [0, 1])
def test_a_revision_that_was_taken_out_fails(runs: Path, lost: int) -> None:
    middle = second(BEFORE, seeds=[0, 1, 2])
    newest = store.seal(middle, middle, created=BEFORE)
    kept = [m for i, m in enumerate([FIRST, middle, newest]) if i != lost]
    level, detail = gate(study(runs, kept, newest.seal))
    assert level is Level.FAIL
    assert "does not follow the one before" in detail


def test_the_report_shows_revisions_and_what_was_known_when(runs: Path) -> None:
    newest = second(seeds=[0, 1, 2], **eased())
    study(runs, [FIRST, newest])
    text = build(runs, NAME).markdown.read_text("utf-8")
    plan = text.split("## Plan and seal")[1].split("\n## ")[0]
    assert newest.seal in plan
    rows = [row for row in plan.splitlines() if row.startswith(("| 1 ", "| 2 "))]
    assert FIRST.created in rows[0]
    assert rows[0].endswith("first written | none |")
    assert AFTER in rows[1]
    assert "margin 0.02 -> 0.05; seeds added: 2" in rows[1]
    assert "4 trials (grpo__s0__abababab, grpo__s1__abababab, reinforce" in rows[1]
    assert f"| {QUESTION} | FAIL |" in text


def test_trials_of_an_earlier_revision_are_named_and_no_strangers(runs: Path) -> None:
    jobs = [
        dataclasses.replace(job, trial=job.trial.replace("abababab", "cdcdcdcd"), record="")
        for job in FIRST.jobs
    ]
    ablation = dataclasses.replace(FIRST.ablation, budget=Budget(amount=60))
    newest = store.seal(FIRST, FIRST, jobs=jobs, ablation=ablation, created=AFTER)
    found = study(runs, [FIRST, newest])
    assert found.strangers == []
    assert set(found.trials["status"]) == {"MISSING"}
    assert "| `grpo__s0__abababab` | 1 | FINISHED |" in seal.section(found)


# --- a manifest from somebody else ---------------------------------------------------------------


def edited(**changed: Any) -> bytes:
    """The first revision with other JSON in it, sealed as if it were whole."""
    data = {**json.loads(line(FIRST)), **changed}
    data["seal"] = sealed(data)
    return json.dumps(data).encode() + b"\n"


def canary(folder: Path) -> dict[str, Any]:
    """A `_target_` whose import would leave a file behind."""
    (folder / "canary_of_a_manifest.py").write_text(
        f"from pathlib import Path\nPath({str(folder / 'sung')!r}).touch()\n"
    )
    return {"_target_": "canary_of_a_manifest.Song"}


ABLATION = json.loads(line(FIRST))["ablation"]
JOB = json.loads(line(FIRST))["jobs"][0]
DAMAGED = {
    "empty": b"",
    "cut": line(FIRST)[:200],
    "null": b"null\n",
    "list": b"[]\n",
    "text": b'"manifest"\n',
    "no object": b"not json\n",
    "binary": bytes(range(256)),
    "nested": b"[" * 200_000 + b"\n",
    "large number": b'{"revision": ' + b"9" * 5000 + b"}\n",
    "blank line": line(FIRST) + b"\n",
    "bad date": edited(created="yesterday"),
    "no time zone": edited(created="2027-01-14T08:00:00"),
    "no date": edited(created=None),
    "unknown key": edited(surprise=1),
    "missing key": b'{"revision":1}\n',
    "wrong type": edited(revision="1"),
    "bool for int": edited(revision=True),
    "no jobs": edited(jobs=[]),
    "jobs no list": edited(jobs={}),
    "a job no object": edited(jobs=[None]),
    "a job twice": edited(jobs=[JOB, JOB]),
    "a job of no variant": edited(jobs=[{**JOB, "variant": "x"}]),
    "a job elsewhere": edited(jobs=[{**JOB, "record": "../../x"}]),
    "a job above": edited(jobs=[{**JOB, "trial": ".."}]),
    "a seed too large": edited(jobs=[{**JOB, "seed": 2**70}]),
    "half a difference": edited(jobs=[{**JOB, "differs": {"a": [1]}}]),
    "a node for a value": edited(jobs=[{**JOB, "differs": {"a": [{"_target_": "os.x"}, 1]}}]),
    "a seal that is no hash": edited(previous="<b>"),
    "known trials that are links": edited(known=["![](/etc/hostname)"]),
    "half a character": edited(command="\ud800"),
    "an unknown relation": edited(
        ablation={**ABLATION, "predictions": [{**ABLATION["predictions"][0], "relation": "?"}]}
    ),
    "no budget": edited(ablation={**ABLATION, "budget": {"unit": "updates", "amount": 0}}),
    "a name that is a path": edited(ablation={**ABLATION, "name": "../../x"}),
    "a missing value": edited(ablation={**ABLATION, "budget": "???"}),
}


@pytest.mark.parametrize("damage", list(DAMAGED))
def test_a_damaged_manifest_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = manifest_path(tmp_path, NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(DAMAGED[damage])
    assert main(["report", NAME, "--runs", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 1000
    assert str(path) in captured.err
    assert "the sweep's command then plans anew" in captured.err or "holds no whole" in captured.err


@pytest.mark.parametrize("where", ["top", "ablation", "variant", "job", "budget", "primary"])
def test_nothing_that_a_manifest_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    bird = canary(tmp_path)
    content = {
        "top": edited(**bird),
        "ablation": edited(ablation={**ABLATION, **bird}),
        "variant": edited(ablation={**ABLATION, "variants": [{"label": "grpo", **bird}]}),
        "job": edited(jobs=[{**JOB, **bird}]),
        "budget": edited(ablation={**ABLATION, "budget": {"unit": "updates", **bird}}),
        "primary": edited(ablation={**ABLATION, "primary": bird}),
    }[where]
    path = manifest_path(tmp_path, NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert main(["report", NAME, "--runs", str(tmp_path)]) == 2
    assert not (tmp_path / "sung").exists()


def test_the_canary_would_sing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: importing it does leave the file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    canary(tmp_path)
    __import__("canary_of_a_manifest")
    assert (tmp_path / "sung").exists()


def test_text_that_looks_like_a_reference_stays_text(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "open sesame")
    ablation = dataclasses.replace(FIRST.ablation, question="${oc.env:A_SECRET} or ???")
    study(runs, [store.seal(FIRST, ablation=ablation)])
    text = build(runs, NAME).markdown.read_text("utf-8")
    assert "open sesame" not in text
    assert "oc.env:A" in text


@pytest.mark.parametrize("name", ["../../x", "/tmp", "a/b", "..", ".", "", "-x", "a\nb", "x" * 300])
def test_a_report_of_a_path_is_refused(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["report", f"--runs={runs}", "--", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the name of an ablation or grid names a folder")
    assert error.count("\n") == 1


def test_a_damaged_manifest_of_another_question_disturbs_nobody(runs: Path) -> None:
    path = manifest_path(runs, "other")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"null\n")
    assert gate(study(runs, [FIRST]))[0] is Level.OK
