"""Trials' folders -> the store: what a report reads is made complete first."""

from pathlib import Path

from analysis.revisions import History
from harness.tracking import Names
from harness.tracking.mlflow import MlflowTracking


def publish(runs: Path, history: History) -> None:
    """Make the store's copy of the record of every trial complete that some revision plans.

    Trials without a record are left as they are.
    """
    runs = runs.expanduser().absolute()
    tracking = MlflowTracking()
    jobs = {job.trial: job for manifest in history.revisions for job in manifest.jobs}
    newest = history.revisions[-1]
    name, differing = newest.ablation.name, tuple(newest.differing)
    for job in jobs.values():
        folder = runs / "checkpoints" / job.record
        if folder.is_dir():
            tracking.publish(folder, runs, Names(job.trial, job.variant, name, differing))
