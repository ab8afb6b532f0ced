"""Was the question there before the answer? Seals, revisions, and what was known when."""

from collections.abc import Iterable

import polars as pl

from analysis import text
from analysis.changes import Kind, changes
from analysis.elsewhere import TRAINED
from analysis.judgement import Judgement
from analysis.manifest import Manifest
from analysis.revisions import SHORT
from analysis.study import Study

# A trial that was seen before the plan was first written down.
BEFORE = -1
# So many numbers, to the last bit, are alike in two trials only if the trials are one.
REPEATED = 2


def judged(study: Study) -> Judgement:
    """Whether what is claimed now was in force whenever a trial of the plan ran.

    More seeds, another budget or other variants after results were seen are slight: no result is
    left out and no claim is bent to its answer, but intervals assume that the amount of data was
    fixed beforehand. At a nominal 5 %, two looks err in 8.3 % and five in 14.2 % of studies without
    an effect (Armitage, McPherson and Rowe, 1969, table 2).
    """
    newest = study.manifest
    grave = [*study.history.problems, *_foreign(study), *(_moved(study) or _fitted(study))]
    grave += _repeated(study)
    slight = [*_decided_late(study, with_claims=not grave), *_early(study)]
    ran = len(_ran(study))
    noun = "prediction" if len(newest.ablation.predictions) == 1 else "predictions"
    if not newest.ablation.predictions:
        return Judgement(grave, slight, "no predictions: nothing here is confirmatory")
    fact = (
        f"seal {newest.seal[:SHORT]}, revision {newest.revision}: "
        f"{len(newest.ablation.predictions)} {noun}, as sealed before each of {ran} trials"
    )
    return Judgement(grave, slight, fact)


def known_at(study: Study, number: int) -> set[str]:
    """Trials of the plan that had ended when a revision was written.

    What the sweep found then is sealed in the revision; the store adds what it knows today.

    Args:
        number: index of the revision.
    """
    manifest = study.history.revisions[number]
    so_far = study.history.revisions[: number + 1]
    planned = {job.trial for revision in so_far for job in revision.jobs}
    ended = study.runs.filter(pl.col("ended_ms") < manifest.created_ms)["trial"]
    return (planned & set(ended)) | set(manifest.known)


def _ran(study: Study) -> list[tuple[str, str]]:
    """(trial, seal on its run) of every planned trial that has a run."""
    return list(study.trials.drop_nulls("run_id").select("trial", "seal").rows())


def _foreign(study: Study) -> list[str]:
    """Trials whose seal is of no revision here: another plan's, or this one was rewritten."""
    own = _own(study)
    found: dict[str, list[str]] = {}
    for trial, seal in _ran(study):
        elsewhere = study.seals.get(seal, "" if seal else "no plan")
        if seal in own or (elsewhere and not study.manifest.ablation.predictions):
            continue  # without predictions a plan may use what is there
        reason = f"ran under {elsewhere}, not under these predictions"
        if not elsewhere:
            reason = f"ran under seal {seal[:SHORT]}, which no revision has: rewritten or lost"
        found.setdefault(reason, []).append(trial)
    return [f"{_counted(trials)} {reason}" for reason, trials in found.items()]


def _seen_under(study: Study) -> dict[int, set[str]]:
    """Index of a revision -> planned trials that ran under it, or ended before the next one.

    BEFORE stands for no revision. The tag tells of the run that is there; what a revision knew
    tells of runs that were thrown away since.
    """
    revisions = study.history.revisions
    index = {manifest.seal: number for number, manifest in enumerate(revisions)}
    found: dict[int, set[str]] = {}
    for trial, seal in _ran(study):
        if seal in index:
            found.setdefault(index[seal], set()).add(trial)
    rest = set(study.trials["trial"])
    for number in range(len(revisions)):
        known = rest & known_at(study, number)
        found.setdefault(number - 1, set()).update(known)
        rest -= known
    return {number: trials for number, trials in sorted(found.items()) if trials}


def _moved(study: Study) -> list[str]:
    """Claims that are not those under which a trial of today's plan has been seen."""
    foreign = {trial for trial, seal in _ran(study) if seal not in _own(study)}
    found = []
    for number, trials in _seen_under(study).items():
        if number == BEFORE:
            unsealed = trials - foreign  # those are named already
            if unsealed and study.manifest.ablation.predictions:
                found.append(f"{_counted(unsealed)} had ended before the first revision")
            continue
        moved = _texts(study.history.revisions[number], study.manifest, {Kind.CLAIM})
        if moved:
            found.append(
                f"{_counted(trials)} ran under revision {number + 1}; changed since then: "
                f"{'; '.join(moved)}"
            )
    return found


def _fitted(study: Study) -> list[str]:
    """Claims that were changed when trials at today's seeds had ended, whatever they are called.

    Other trials at a seed draw the same random numbers: with a key more that changes nothing they
    give the same results. Seeds that nobody has seen are the remedy.
    """
    seeds = {job.trial: job.seed for m in study.history.revisions for job in m.jobs}
    rest = {job.seed for job in study.manifest.jobs}
    found = []
    revisions = study.history.revisions
    for number in range(1, len(revisions)):
        seen = sorted({seeds[trial] for trial in known_at(study, number)} & rest)
        rest -= set(seen)
        changed = _texts(revisions[number - 1], study.manifest, {Kind.CLAIM})
        if seen and changed and study.manifest.ablation.predictions:
            found.append(
                f"results at seeds {seen} were there when revision {number + 1} was written; "
                f"changed since then: {'; '.join(changed)}"
            )
    return found


def _repeated(study: Study) -> list[str]:
    """Results that a trial of another plan had given before these claims were written.

    A key that changes no number makes another trial of the same one: other config, other identity,
    same results. So the numbers themselves are compared, to the bit: all that training logged at
    its end, at the same seed. Whole numbers are alike by chance and do not count.
    """
    if not study.manifest.ablation.predictions or study.elsewhere.is_empty():
        return []
    trained = [pl.col("metric").str.starts_with(name) for name in TRAINED]
    ours = study.metrics.filter(pl.any_horizontal(trained))
    ours = ours.sort("step").unique(["trial", "metric"], keep="last")
    # One record under two plans is one trial, of which its seal tells when it ran.
    own = set(study.runs["record"]) - {""}
    theirs = study.elsewhere.filter(
        (pl.col("ended_ms") < _claimed_ms(study)) & ~pl.col("record").is_in(own)
    )
    both = ours.join(theirs, on=["seed", "metric"], suffix="_there")
    fraction = pl.col("value") != pl.col("value").round()
    found = (
        both.group_by("trial", "experiment", "trial_there")
        .agg(
            same=(pl.col("value") == pl.col("value_there")).all(),
            numbers=fraction.sum(),
        )
        .filter(pl.col("same") & (pl.col("numbers") >= REPEATED))
        .sort("experiment", "trial")
    )
    return [
        f"{_counted(own['trial'].unique())} gave to the bit what {name!r} had given before these "
        f"predictions were written"
        for (name,), own in found.group_by("experiment", maintain_order=True)
    ]


def _claimed_ms(study: Study) -> float:
    """When the claims that are made now were first written."""
    same = (m for m in study.history.revisions if not _texts(m, study.manifest, {Kind.CLAIM}))
    return next(same).created_ms


def _own(study: Study) -> set[str]:
    return {manifest.seal for manifest in study.history.revisions}


def _decided_late(study: Study, with_claims: bool) -> list[str]:
    """What a revision changed in the plan when results of it were there."""
    kinds = {Kind.PLAN, Kind.CLAIM} if with_claims else {Kind.PLAN}
    found = []
    revisions = study.history.revisions
    for number in range(1, len(revisions)):
        known = known_at(study, number)
        made = _texts(revisions[number - 1], revisions[number], kinds)
        if made and known:
            count = f"{len(known)} trial" if len(known) == 1 else f"{len(known)} trials"
            found.append(f"revision {number + 1}, when {count} had ended: {'; '.join(made)}")
    return found


def _early(study: Study) -> list[str]:
    """Runs that are older than the revision whose seal they carry."""
    created = {manifest.seal: manifest.created_ms for manifest in study.history.revisions}
    rows = study.trials.drop_nulls("run_id").select("trial", "seal", "started_ms").rows()
    early = [trial for trial, seal, ms in rows if seal in created and ms < created[seal]]
    return [f"{_counted(early)} started before the plan was written"] if early else []


def _texts(before: Manifest, after: Manifest, kinds: set[Kind]) -> list[str]:
    return [change.text for change in changes(before, after) if change.kind in kinds]


def _counted(trials: Iterable[str]) -> str:
    """`2 trials (a, b)`."""
    names = sorted(trials)
    noun = "trial" if len(names) == 1 else "trials"
    return f"{len(names)} {noun} ({', '.join(names)})"


def section(study: Study) -> str:
    """The plan's revisions, oldest first: what each changed and what was known by then."""
    newest = study.manifest
    facts = (
        f"Seal {text.code(newest.seal)}: a hash over question, predictions, variants, seeds, "
        f"budget, trials and the content they run on. A run carries the seal of the plan that it "
        f"started under; each revision holds the seal of the one before."
    )
    header = ["revision", "seal", "written", "changed", "trials that had ended by then"]
    rows = [_row(study, number) for number in range(len(study.history.revisions))]
    doubts = [f"- Does not verify: {text.prose(p)}." for p in study.history.problems]
    parts = ["## Plan and seal", facts, text.table(header, rows), "\n".join(doubts)]
    return "\n\n".join(part for part in [*parts, _earlier(study)] if part)


def _row(study: Study, number: int) -> list[str]:
    revisions = study.history.revisions
    manifest = revisions[number]
    made = "first written"
    if number:
        made = "; ".join(_texts(revisions[number - 1], manifest, set(Kind))) or "nothing"
    known = known_at(study, number)
    return [
        str(number + 1),
        text.code(manifest.seal[:SHORT]),
        text.prose(manifest.created),
        text.prose(made),
        text.prose(_counted(known)) if known else "none",
    ]


def _earlier(study: Study) -> str:
    """Trials that only earlier revisions plan, with what the store has of them."""
    today = set(study.trials["trial"])
    status = dict(study.runs.select("trial", "status").rows())
    last = {
        job.trial: manifest.revision
        for manifest in study.history.revisions
        for job in manifest.jobs
        if job.trial not in today
    }
    if not last:
        return ""
    rows = [
        [text.code(trial), str(revision), status.get(trial, "MISSING")]
        for trial, revision in last.items()
    ]
    note = "Trials of earlier revisions; they are in no number above:"
    return f"{note}\n\n{text.table(['trial', 'revision', 'status'], rows)}"
