"""One multirun: plan, preflight, manifest, trials, report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from rich.console import Console

from harness import standing
from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError, Interrupted, TrialsFailedError
from harness.identity import Identity, at_seed, identity_of
from harness.machine import shown, terminal
from harness.machine.cluster import check_address, set_environment
from harness.machine.progress import shown_on
from harness.stages import Stage
from harness.tracking import record
from harness.tracking.none import NoTracking
from harness.trial import check, clear, made, trial_folder
from sweeps import comparable, looks, overview
from sweeps.driver import driving
from sweeps.manifest import write_manifest
from sweeps.plan import Plan, plans
from sweeps.preview import preview
from sweeps.schedule import Failure, run_jobs
from sweeps.tune import tune


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
    check_address(questions[0].jobs[0].ray.address)
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
        failed = []
        for runs, planned, homes in [_prepared(planned, console) for planned in questions]:
            try:
                _run(runs, planned, homes, console)
            except TrialsFailedError as error:
                name = planned.ablation.name
                failed.append(f"{name}: {error}" if len(questions) > 1 else str(error))
            ends[planned.ablation.name].close()
    if failed:
        raise TrialsFailedError("; ".join(failed))


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
    jobs, failures = planned.jobs, list[Failure]()
    for part in looks.parts(runs, planned, homes, console):
        jobs, failures = part.jobs, _trials(runs, part, homes, console)
    empty = _report(planned, runs, console)
    if failures:
        _show(failures, jobs, console)
    _refuse_gaps(jobs, homes, empty)


def _trials(
    runs: Path, planned: Plan, homes: Mapping[str, Path], console: Console
) -> list[Failure]:
    """Run the trials of a plan that have no result yet; those that did not finish."""
    pending = [job for job in planned.jobs if standing.result(homes[trial_name(job)]) is None]
    done = len(planned.jobs) - len(pending)
    console.print(
        f"{planned.ablation.name}: {len(planned.jobs)} trials ({looks.size(planned)}), "
        f"{done} finished before"
    )
    failures: list[Failure] = []
    if pending:
        set_environment()
        from sweeps.progress import Watch  # imports ray

        name = planned.ablation.name
        with Watch(runs, name, [trial_name(job) for job in pending], console) as watch:
            failures = run_jobs(pending, runs, name, watch)
        if watch.interrupted:
            _refuse_stopped(runs, name, homes, console)
    return failures


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
    """Say at the end what was planned and is not there."""
    missing = [job for job in jobs if standing.result(homes[trial_name(job)]) is None]
    if missing:
        raise TrialsFailedError(
            f"{len(missing)} of {len(jobs)} trials did not finish; "
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
    seal = manifest.seal
    jobs = [dataclasses.replace(j, labels=dataclasses.replace(j.labels, seal=seal)) for j in jobs]
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
    from analysis.report import build

    console.print(f"{planned.ablation.name}: writing the report")
    report = build(runs, planned.ablation.name)
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
