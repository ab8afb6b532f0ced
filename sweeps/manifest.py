"""What a sweep planned, written down before its first trial starts."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from analysis.ablation import Job, Manifest
from harness.config import config_hash, group_hash, resolved, trial_name
from harness.machine import provenance
from harness.models.loading import Source
from harness.typed import typed
from sweeps.plan import Plan, differences


def manifest_path(runs: Path, name: str) -> Path:
    """Where a sweep's manifest is."""
    return runs / "sweeps" / name / "manifest.json"


def write_manifest(plan: Plan, runs: Path, sources: dict[str, Source]) -> Manifest:
    """Write the manifest; a resumed sweep keeps the one that was written before its first trial.

    Args:
        sources: the base model of each variant.
    """
    manifest = _manifest(plan, sources)
    path = manifest_path(runs, plan.ablation.name)
    if path.exists():
        before: Manifest = typed(json.loads(path.read_text()))
        same = (before.ablation, before.jobs, before.code_hash, before.model_hash)
        if same == (manifest.ablation, manifest.jobs, manifest.code_hash, manifest.model_hash):
            return before
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(resolved(manifest), indent=1))
    temporary.replace(path)
    return manifest


def _manifest(plan: Plan, sources: dict[str, Source]) -> Manifest:
    baseline = plan.variants[plan.ablation.baseline]
    commit, dirty = provenance.git_state()
    jobs = [
        Job(
            trial=trial_name(config),
            variant=config.labels.variant,
            seed=config.seed,
            config_hash=config_hash(config),
            group_hash=group_hash(config),
            differs=differences(baseline, config),
        )
        for config in plan.jobs
    ]
    return Manifest(
        ablation=plan.ablation,
        jobs=jobs,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_hash=provenance.code_hash(),
        git_commit=commit,
        git_dirty=dirty,
        model_hash=sources[plan.ablation.baseline].hash,
        task_digest=baseline.task.digest,
        command=" ".join(["harness", *sys.argv[1:]]),
        deviations=plan.deviations,
        versions=provenance.versions(),
    )
