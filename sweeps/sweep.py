"""One multirun: plan, preflight, manifest, trials, report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from rich.console import Console

from harness import standing
from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError, Interrupted, StoreError, TrialsFailedError
from harness.identity import Identity, at_seed, identity_of
from harness.launch import check_room
from harness.machine import shown, terminal
from harness.machine.cluster import check_address, nodes, set_environment
from harness.machine.progress import shown_on
from harness.stages import Only, Stage
from harness.tracking import record
from harness.tracking.none import NoTracking
from harness.tracking.record import Status
from harness.trial import check, clear, made, trial_folder
from sweeps import comparable, looks, overview
from sweeps.driver import driving
from sweeps.early import early
from sweeps.manifest import write_manifest
from sweeps.plan import Plan, plans
from sweeps.preview import preview
from sweeps.retries import Failure
from sweeps.tune import tune
from sweeps.words import counted


def sweep(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> None:
    """Run what a multirun asks for; the same command again continues where it stopped.

    Several ablations run one after the other, each with its own plan and report; all are checked,
    prepared and sealed before the first trial of any starts.

    Raises:
        ConfigError: the request is wrong; nothing was started.
        TrialsFailedError: some trials did not finish.
        Interrupted: Ctrl-C.
    """
    console = terminal.console()
    questions = plans(loader, master, arguments)
    for planned in questions:
        comparable.check(planned)
    _check_cluster(questions)
    if questions[0].jobs[0].sweep.stage is Stage.TUNE:
        for planned in questions:
            tune(loader, master, planned, console)
        return
    if questions[0].jobs[0].dry_run:
        before: set[str] = set()
        for planned in questions:
            preview(planned, console, before)
        return
    for planned in questions:
        for config in planned.variants.values():
            check(config)
    with _driven(questions, console) as ends:
        failed = _failed(questions, ends, console)
    if failed:
        raise TrialsFailedError("; ".join(failed))


def _check_cluster(questions: Sequence[Plan]) -> None:
    """Before a base is made: a cluster is there, and has room for a trial of each variant."""
    first = questions[0].jobs[0]
    check_address(first.ray.address)
    if not first.dry_run:  # which may be asked for on another machine
        variants = [config for planned in questions for config in planned.variants.values()]
        check_room(variants, nodes(first.ray.address))


def _failed(
    questions: Sequence[Plan], ends: Mapping[str, ExitStack], console: Console
) -> list[str]:
    """Run every question; what did not finish of each, in a line."""
    failed = []
    for runs, planned, homes in [_prepared(planned, console) for planned in questions]:
        name = planned.ablation.name
        try:
            _run(runs, planned, homes, console)
        except TrialsFailedError as error:
            failed.append(f"{name}: {error}" if len(questions) > 1 else str(error))
            if planned.jobs[0].sweep.fail_fast:
                break
        ends[name].close()
    return failed


@contextmanager
def _driven(questions: Sequence[Plan], console: Console) -> Iterator[dict[str, ExitStack]]:
    """This process drives every question, before anything of any is made; each may end earlier."""
    with ExitStack() as whole:
        ends = {}
        # In one order everywhere, so that no two processes wait for each other.
        for planned in sorted(questions, key=lambda each: each.ablation.name):
            runs = Path(planned.jobs[0].runs).expanduser().absolute()
            ends[planned.ablation.name] = whole.enter_context(ExitStack())
            drive = driving(runs, planned.ablation.name, console.print)
            ends[planned.ablation.name].enter_context(drive)
        yield ends


def _run(runs: Path, planned: Plan, homes: Mapping[str, Path], console: Console) -> None:
    """The trials of one plan that have no result yet, look by look if it has some; its report."""
    begun = [found for home in homes.values() if (found := record.read(home)) is not None]
    if warning := early(planned.ablation, runs, begun):
        console.print(warning)
    asked, failures = planned.jobs, list[Failure]()
    for part in looks.parts(runs, planned, homes, console):
        asked, failures = _trials(runs, part, homes, console)
    empty = _report(planned, runs, console)
    if failures:
        _show(failures, planned.jobs, console)
    _refuse_gaps(asked, homes, empty)


def _trials(
    runs: Path, planned: Plan, homes: Mapping[str, Path], console: Console
) -> tuple[list[TrialConfig], list[Failure]]:
    """Run the trials of a plan that have no result yet; which those were, and what failed."""
    missing = [job for job in planned.jobs if standing.result(homes[trial_name(job)]) is None]
    done = len(planned.jobs) - len(missing)
    pending = [job for job in missing if _asked_for(job, homes)]
    console.print(
        f"{planned.ablation.name}: {counted(len(planned.jobs), 'trial')} ({looks.size(planned)}), "
        f"{done} finished before"
    )
    if len(pending) < len(missing):
        console.print(
            f"{planned.ablation.name}: {len(pending)} failed trials run again, "
            f"{len(missing) - len(pending)} others without a result stay as they are"
        )
    failures: list[Failure] = []
    if pending:
        set_environment()
        from sweeps.progress import Watch  # both import ray
        from sweeps.schedule import run_jobs

        name = planned.ablation.name
        with Watch(runs, name, [trial_name(job) for job in pending], console) as watch:
            failures = run_jobs(pending, runs, name, watch, console.print)
        if watch.interrupted or pending[0].sweep.fail_fast:
            _end(pending, console)
        if watch.interrupted:
            _refuse_stopped(runs, name, homes, console)
    return pending, failures


def _asked_for(job: TrialConfig, homes: Mapping[str, Path]) -> bool:
    """Whether a trial without a result is one of those that the command runs (sweep.only)."""
    if job.sweep.only is Only.ALL:
        return True
    found = record.read(homes[trial_name(job)])
    return found is not None and found.status is Status.FAILED


def _end(jobs: Sequence[TrialConfig], console: Console) -> None:
    """No copy of a trial that was stopped says that it runs."""
    for job in jobs:
        try:
            standing.ended(job, trial_folder(job))
        except (ConfigError, StoreError) as error:  # the others' are made all the same
            console.print(f"{trial_name(job)}: {error}")


def _refuse_stopped(runs: Path, name: str, homes: Mapping[str, Path], console: Console) -> None:
    """End here after Ctrl-C, unless everything had ended before it."""
    stopped = [trial for trial, folder in homes.items() if standing.result(folder) is None]
    if stopped:
        seen = overview.Look(runs, name)()
        console.print(f"{name}: {seen.counts}")
        rows = [row for row in seen.rows if row.job.trial in stopped and row.record is not None]
        raise Interrupted(f"interrupted; {overview.cancelled(rows)}")


def _refuse_gaps(
    jobs: Sequence[TrialConfig], homes: Mapping[str, Path], empty: Sequence[str]
) -> None:
    """Say at the end what was to be run and is not there."""
    missing = [job for job in jobs if standing.result(homes[trial_name(job)]) is None]
    if missing:
        raise TrialsFailedError(
            f"{len(missing)} of {len(jobs)} trials did not finish"
            f"{' (sweep.fail_fast=true)' if jobs[0].sweep.fail_fast else ''}; "
            f"the same command continues from their last checkpoints"
        )
    if empty:
        raise TrialsFailedError(
            f"no result in {', '.join(empty)}: no trial recorded the primary metric; the report "
            f"says which that is, and evaluation.* what is measured"
        )


def _prepared(planned: Plan, console: Console) -> tuple[Path, Plan, dict[str, Path]]:
    """Base models, store and manifest, before any trial starts.

    Returns:
        The absolute output folder, the plan with it, and the folder of each trial's record.
    """
    with shown_on(console):
        sources = {label: made(config) for label, config in planned.variants.items()}
    runs = sources[planned.ablation.baseline][0]
    jobs = [dataclasses.replace(job, runs=str(runs)) for job in planned.jobs]
    models = {label: source for label, (_, source) in sources.items()}
    contents = {label: identity_of(c, models[label]) for label, c in planned.variants.items()}
    found = {trial_name(job): at_seed(contents[job.labels.variant], job) for job in jobs}
    homes = _homes(jobs, runs, found, console)
    jobs[0].tracking.prepare(runs, planned.ablation.name)
    manifest = write_manifest(planned, runs, models, contents, homes, console.print)
    told: dict[str, Any] = {"seal": manifest.seal, "differing": manifest.differing}
    jobs = [dataclasses.replace(j, labels=dataclasses.replace(j.labels, **told)) for j in jobs]
    for job in jobs:  # after the plan, which notes down what was known
        if job.fresh:
            clear(job)
    for deviation in manifest.deviations:
        console.print(f"departs from the ablation file: {shown.line(deviation)}")
    return runs, dataclasses.replace(planned, jobs=jobs), homes


def _homes(
    jobs: Sequence[TrialConfig], runs: Path, found: Mapping[str, Identity], console: Console
) -> dict[str, Path]:
    """The folder of each trial's record.

    Raises:
        ConfigError: some were made of other content than they would be now.
    """
    if any(job.fresh for job in jobs):
        return {trial: runs / "checkpoints" / trial for trial in found}
    hashes = {trial: identity.hash for trial, identity in found.items()}
    homes = {
        trial: folder
        if folder.name == trial or standing.result(folder) is not None
        else runs / "checkpoints" / trial
        for trial, folder in record.homes(runs / "checkpoints", hashes).items()
    }
    looks = {trial: standing.look(homes[trial], identity) for trial, identity in found.items()}
    accept = any(job.accept_stale for job in jobs)
    refused = {t: reason for t, look in looks.items() if (reason := look.objection(accept))}
    if refused:
        trial, reason = next(iter(refused.items()))
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise ConfigError(
            f"trial {trial}{more}: {reason}; either key holds for all {len(jobs)} trials"
        )
    for trial, look in looks.items():
        look.admitted(accept)
        if homes[trial].name != trial:
            console.print(f"{trial}: the record of {homes[trial].name}, the same trial by content")
    return homes


def _report(planned: Plan, runs: Path, console: Console) -> list[str]:
    """Write and show the report; returns the variants that have no result in it."""
    if isinstance(planned.jobs[0].tracking, NoTracking):
        console.print(
            f"tracking=none publishes nothing; the report can be had from the trials' folders: "
            f"python -m analysis report {planned.ablation.name}"
        )
        return []
    from analysis.publishing import published

    console.print(f"{planned.ablation.name}: writing the report")
    report = published(runs, planned.ablation.name)
    console.print(report.summary)
    console.print(f"report: {report.html}")
    return report.empty


def _show(failures: Sequence[Failure], jobs: Sequence[TrialConfig], console: Console) -> None:
    """Failed trials, each with the last line of its error and its log."""
    folders = {trial_name(job): trial_folder(job) for job in jobs}
    console.print("failed trials")
    for failure in failures:
        console.print(f"  {failure.trial}  {shown.line(failure.reason)}")
        console.print(f"    {folders[failure.trial] / 'trial.log'}")
