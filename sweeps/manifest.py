"""What a sweep planned, written down before its first trial starts, and only ever added to."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.changes import Change, changes
from analysis.deciding import design
from analysis.fixed import Leaf, plain
from analysis.manifest import Job, Manifest
from analysis.revisions import SHORT, History, line, manifest_path, read_history, sealed
from analysis.until import Look
from harness.config import TrialConfig, config_hash, digest, group_hash, trial_name
from harness.errors import ConfigError
from harness.identity import Identity, at_seed
from harness.machine import files, provenance
from harness.models.loading import Source
from harness.tracking.record import finished_identities, read
from sweeps.plan import Plan, differences

# Writing a line takes milliseconds; who waits longer waits for a dead disk.
LOCK_WAIT_S = 30.0


def write_manifest(
    plan: Plan,
    runs: Path,
    sources: Mapping[str, Source],
    contents: Mapping[str, Identity],
    homes: Mapping[str, Path],
    say: Callable[[str], None],
) -> Manifest:
    """The newest revision of the plan: a new line of its file, or the one that says the same.

    Args:
        sources: the base model of each variant.
        contents: what each variant is by content, at any seed.
        homes: trial -> folder of its record, where that is known.
        say: shows the user one line.

    Raises:
        ConfigError: the file is damaged, was edited, or belongs to another kind of question.
    """
    path = manifest_path(runs, plan.ablation.name)
    with files.locked(path.with_name("lock"), LOCK_WAIT_S):
        history = read_history(path)
        before = history.revisions[-1] if history.revisions else None
        _refuse(plan, path, history)
        jobs = [_job(plan, c, before, contents, homes) for c in whole_plan(plan, before)]
        manifest = _manifest(plan, before, jobs, sources, contents)
        made = changes(before, manifest) if before else []
        if before is not None and not made:
            manifest = before
        else:
            manifest = _sealed(manifest, before, _known(runs, history, manifest))
            _append(path, history.end, manifest)
            if history.cut:
                say(f"{path}: the last line was cut short while it was written; it is gone")
    if kept := sorted(set(manifest.ablation.seeds) - set(plan.ablation.seeds)):
        say(f"{plan.ablation.name}: seeds {kept} stay in the plan; this command leaves them out")
    if made:
        say(_change_line(manifest, made))
    say(_seal_line(manifest))
    return manifest


def looks_so_far(plan: Plan, before: Manifest | None, jobs: Sequence[Job]) -> list[Look]:
    """The looks of a plan, with what was decided at them while it was what it is now.

    Otherwise none is taken yet: the trials that are there are looked at again.

    Args:
        jobs: of the plan.
    """
    designed = design(plan.ablation)
    if before is None or any(job.fresh for job in plan.jobs) or len(before.looks) != len(designed):
        return designed
    groups = [{(job.variant, job.group_hash) for job in own} for own in (before.jobs, jobs)]
    keys = ("until", "predictions", "primary", "paired", "seeds")
    same = all(getattr(before.ablation, key) == getattr(plan.ablation, key) for key in keys)
    return before.looks if same and groups[0] == groups[1] else designed


def write_looks(runs: Path, name: str, looks: list[Look]) -> Manifest:
    """The newest revision of a plan with these looks; a new line where they were others.

    Raises:
        ConfigError: the file is damaged, or cannot be written.
    """
    path = manifest_path(runs, name)
    with files.locked(path.with_name("lock"), LOCK_WAIT_S):
        history = read_history(path)
        before = history.revisions[-1]
        if before.looks == looks:
            return before
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        manifest = dataclasses.replace(before, looks=looks, created=created)
        manifest = _sealed(manifest, before, _known(runs, history, manifest))
        _append(path, history.end, manifest)
    return manifest


def whole_plan(plan: Plan, before: Manifest | None) -> list[TrialConfig]:
    """Every trial of the plan, seed by seed: what the command names, and what was planned before.

    Seeds of the newest revision stay as long as some variant is what it was: a plan cannot lose
    the seeds that went badly. Otherwise none of their trials is one of this plan, and only the
    seeds that are named count.

    Args:
        before: the newest revision; None without one.

    Raises:
        ConfigError: seeds are added until decided, and others are planned than it declares.
    """
    named = {trial_name(job): job for job in plan.jobs}
    seeds = set(plan.ablation.seeds)
    if before is not None:
        groups = {(job.variant, job.group_hash) for job in before.jobs}
        if groups & {(label, group_hash(config)) for label, config in plan.variants.items()}:
            seeds |= set(before.ablation.seeds)
    _refuse_other_seeds(plan, seeds)
    configs = [
        dataclasses.replace(plan.variants[label], seed=seed)
        for seed in sorted(seeds)
        for label in plan.ablation.labels
    ]
    return [named.get(trial_name(config), config) for config in configs]


def _refuse(plan: Plan, path: Path, history: History) -> None:
    if history.problems:
        raise ConfigError(
            f"{path}: {history.problems[0]}; put back a copy of the file, or move it away: this "
            f"command then plans anew"
        )
    if history.revisions and history.revisions[-1].grid != plan.grid:
        name, kinds = plan.ablation.name, ["an ablation file", "a grid"]
        raise ConfigError(
            f"{path} holds the plan of {kinds[not plan.grid]} of that name, received "
            f"{kinds[plan.grid]}; give one of them another name than {name!r}"
        )


def _refuse_other_seeds(plan: Plan, seeds: set[int]) -> None:
    """Looks are planned for the declared seeds, so a plan of them can get no others."""
    ablation = plan.ablation
    if ablation.until is not None and seeds != set(ablation.seeds):
        raise ConfigError(
            f"{ablation.name}: seeds are added until decided, up to max {ablation.until.max}, but "
            f"{sorted(seeds - set(ablation.seeds))} are planned already; declare them all, or "
            f"begin anew: python -m sweeps rm {ablation.name}"
        )


def _job(
    plan: Plan,
    config: TrialConfig,
    before: Manifest | None,
    contents: Mapping[str, Identity],
    homes: Mapping[str, Path],
) -> Job:
    """A row of the manifest; where the record of a trial is stays as it was unless it is known."""
    trial = trial_name(config)
    old = next((job for job in before.jobs if job.trial == trial), None) if before else None
    found = differences(plan.variants[plan.ablation.baseline], config)
    return Job(
        trial=trial,
        variant=config.labels.variant,
        seed=config.seed,
        config_hash=config_hash(config),
        group_hash=group_hash(config),
        identity=at_seed(contents[config.labels.variant], config).hash,
        record=homes[trial].name if trial in homes else (old.record if old else trial),
        differs={key: [_leaf(value) for value in pair] for key, pair in found.items()},
    )


def _leaf(value: Any) -> Leaf:
    """An empty list or mapping is the only leaf of a config that is none of JSON."""
    return str(value) if isinstance(value, (list, dict)) else value


def command() -> str:
    """This process's command, as a shell reads it."""
    return shlex.join(["harness", *sys.argv[1:]])


def _manifest(
    plan: Plan,
    before: Manifest | None,
    jobs: list[Job],
    sources: Mapping[str, Source],
    contents: Mapping[str, Identity],
) -> Manifest:
    commit, dirty = provenance.git_state()
    seeds = sorted({job.seed for job in jobs})
    baseline = plan.ablation.baseline
    return Manifest(
        ablation=dataclasses.replace(plan.ablation, seeds=seeds),
        jobs=jobs,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        code_hash=digest(contents[baseline].code),
        git_commit=commit,
        git_dirty=dirty,
        model_hash=sources[baseline].hash,
        task_digest=plan.variants[baseline].task.digest,
        command=command(),
        grid=plan.grid,
        deviations=plan.departures(seeds),
        versions=provenance.versions(),
        tuned=plan.tuned,
        looks=looks_so_far(plan, before, jobs),
    )


def _known(runs: Path, history: History, manifest: Manifest) -> list[str]:
    """Trials of this and earlier revisions that have a result now."""
    planned = [job for revision in [*history.revisions, manifest] for job in revision.jobs]
    folders = {job.trial: runs / "checkpoints" / job.record for job in planned}
    records = {trial: read(folder) for trial, folder in folders.items()}
    done = {trial for trial, found in records.items() if found and found.finished}
    results = finished_identities(runs / "checkpoints")  # also under other names, in other plans
    return sorted(done | {job.trial for job in planned if job.identity in results})


def _sealed(manifest: Manifest, before: Manifest | None, known: list[str]) -> Manifest:
    chained = dataclasses.replace(
        manifest,
        known=known,
        revision=before.revision + 1 if before else 1,
        previous=before.seal if before else "",
    )
    return dataclasses.replace(chained, seal=sealed(plain(chained)))


def _append(path: Path, end: int, manifest: Manifest) -> None:
    """Add a line behind the first `end` bytes and see it to the disk."""
    try:
        before = path.read_bytes()[:end] if path.exists() else b""
        unended = bool(before) and not before.endswith(b"\n")
        files.append(path, b"\n" * unended + line(manifest), end)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); free the disk or set runs to a folder "
            f"that you may write to"
        ) from error


def _change_line(manifest: Manifest, made: Sequence[Change]) -> str:
    return (
        f"{manifest.ablation.name}: revision {manifest.revision} of the plan, the earlier ones are "
        f"kept; {'; '.join(change.text for change in made)}"
    )


def _seal_line(manifest: Manifest) -> str:
    """`sealed 3f2a91c0: 5 predictions, 2 variants x 3 seeds`."""
    ablation = manifest.ablation
    counts = {
        "prediction": len(ablation.predictions),
        "variant": len(ablation.variants),
        "seed": len(ablation.seeds),
    }
    claims, variants, seeds = (f"{n} {key}{'' if n == 1 else 's'}" for key, n in counts.items())
    return f"sealed {manifest.seal[:SHORT]}: {claims}, {variants} x {seeds}"
