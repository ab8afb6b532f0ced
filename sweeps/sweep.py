"""One multirun: plan, preflight, manifest, trials, report."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from rich.console import Console

from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError, TrialsFailedError
from harness.learner import checkpoint
from harness.machine import shown, terminal
from harness.tracking.none import NoTracking
from harness.trial import clear, prepare, trial_folder
from sweeps.manifest import write_manifest
from sweeps.plan import Plan, plan
from sweeps.schedule import Failure, run_jobs


def sweep(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> None:
    """Run what a multirun asks for; the same command again continues where it stopped.

    Raises:
        ConfigError: the request is wrong; nothing was started.
        TrialsFailedError: some trials did not finish.
    """
    console = terminal.console()
    planned = plan(loader, master, arguments)
    if any(job.dry_run for job in planned.jobs):
        raise ConfigError("dry_run=true is for one trial, received -m; run it without -m")
    runs, planned = _prepared(planned, console)
    pending = [job for job in planned.jobs if not _finished(job, runs)]
    done = len(planned.jobs) - len(pending)
    console.print(
        f"{planned.ablation.name}: {len(planned.jobs)} trials "
        f"({len(planned.ablation.labels)} variants x {len(planned.ablation.seeds)} seeds), "
        f"{done} finished before"
    )
    failures: list[Failure] = []
    if pending:
        from sweeps.progress import Watch  # imports ray

        with Watch([trial_name(job) for job in pending], console) as watch:
            failures = run_jobs(pending, runs, planned.ablation.name, watch)
    _report(planned, runs, console)
    if failures:
        _show(failures, planned.jobs, console)
    missing = [job for job in planned.jobs if checkpoint.final_result(trial_folder(job)) is None]
    if missing:  # failed, or stopped by Ctrl-C
        raise TrialsFailedError(
            f"{len(missing)} of {len(planned.jobs)} trials did not finish; "
            f"the same command continues from their last checkpoints"
        )


def _prepared(planned: Plan, console: Console) -> tuple[Path, Plan]:
    """Base models, store and manifest, before any trial starts; output paths made absolute."""
    sources = {label: prepare(config) for label, config in planned.variants.items()}
    runs = sources[planned.ablation.baseline][0]
    jobs = [dataclasses.replace(job, runs=str(runs)) for job in planned.jobs]
    for job in jobs:
        if job.fresh:
            clear(job)
    jobs[0].tracking.prepare(jobs[0], runs)
    manifest = write_manifest(planned, runs, {label: s for label, (_, s) in sources.items()})
    for deviation in manifest.deviations:
        console.print(f"departs from the ablation file: {shown.line(deviation)}")
    return runs, dataclasses.replace(planned, jobs=jobs)


def _finished(job: TrialConfig, runs: Path) -> bool:
    """Whether a trial is done; its record may lack the last word of a killed process."""
    if checkpoint.final_result(trial_folder(job)) is None:
        return False
    job.tracking.settle(job, runs)
    return True


def _report(planned: Plan, runs: Path, console: Console) -> None:
    if isinstance(planned.jobs[0].tracking, NoTracking):
        console.print("tracking=none keeps no record, so there is no report")
        return
    from analysis.report import build

    report = build(runs, planned.ablation.name)
    console.print(report.summary)
    console.print(f"report: {report.html}")


def _show(failures: Sequence[Failure], jobs: Sequence[TrialConfig], console: Console) -> None:
    """Failed trials, each with the last line of its error and its log."""
    folders = {trial_name(job): trial_folder(job) for job in jobs}
    console.print("failed trials")
    for failure in failures:
        console.print(f"  {failure.trial}  {shown.line(failure.reason)}")
        console.print(f"    {folders[failure.trial] / 'trial.log'}")
