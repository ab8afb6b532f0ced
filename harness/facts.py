"""Where a trial's numbers come from, what its record says beside them, and which there are."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from harness.config import TrialConfig, digest, identity, resolved
from harness.distributed.ranks import Ranks
from harness.identity import CORE, code_now, code_of
from harness.kl import KlController
from harness.machine import provenance
from harness.measure.base import Kept
from harness.measure.evaluation import kinds
from harness.models.loading import Source
from harness.preflight import evaluation_sampling
from harness.rollout.reference import ReferenceScores
from harness.schema import METRICS, Metric
from harness.tasks import sets
from harness.tracking import Run

# What of a config comes after the base's evaluation, or is said better by content.
LEARNING = ("algorithm", "reward", "window", "curriculum", "budget", "model")
LEARNING_IN = {
    "evaluation": ("every",),
    "trainer": (
        *("optimizer", "prompts_per_step", "epochs", "mini_batches", "save_every"),
        *("keep_checkpoints", "check_sync_every", "reference_ahead", "old_logprobs", "mismatch"),
        "importance_cap",
    ),
}


def base_evaluation(config: TrialConfig, source: Source, code: Mapping[str, str]) -> str:
    """Digest of all that the numbers of the base's evaluation depend on.

    A key of the config counts unless it is known to come later: one that is new splits what could
    be shared, and never shares what differs.

    Args:
        config: the trial.
        source: its base model, prepared.
        code: of the trial's modules, as this process has imported them.
    """
    plain = {key: value for key, value in identity(config).items() if key not in LEARNING}
    for section, keys in LEARNING_IN.items():
        plain[section] = {k: v for k, v in plain[section].items() if k not in keys}
    modules = code_of([config.task, config.rollout], CORE)
    return digest(
        {
            "config": plain,
            "model": [dict(source.files), str(source.dtype), source.attention],
            "data": config.task.digest,
            "code": {module: code.get(module, "") for module in modules},
            "machine": [provenance.versions(), provenance.hardware()],
        }
    )


def shared_base(
    config: TrialConfig,
    source: Source,
    code: Mapping[str, str],
    folder: Path,
    run: Run,
    ranks: Ranks,
) -> Kept:
    """Where a trial finds, and leaves, its base's evaluation; all ranks call it.

    Args:
        code: see `base_evaluation`.
        folder: the trial's; run: its record.
    """
    return Kept(
        runs=folder.parents[1],
        key=base_evaluation(config, source, code),
        trial=folder.name,
        record=ranks.agreed(run.id),
        ranks=ranks,
        learn=run.learn,
    )


def facts(config: TrialConfig, source: Source) -> dict[str, str]:
    """What a record must say about where its numbers come from."""
    commit, dirty = provenance.git_state()
    return {
        "git_commit": commit,
        "git_dirty": str(dirty).lower(),
        "code_hash": digest(code_now(config)),
        "model_hash": source.hash,
        "task_digest": config.task.digest,
        "eval_digest": sets.digest(config.task.held_out()),
        "template_hash": digest(resolved(getattr(config.task, "template", None)))[:16],
        "decoding": json.dumps(dataclasses.asdict(evaluation_sampling(config))),
        "threads": str(config.trainer.threads),
        "torch": torch.__version__,
    }


def declared_metrics(config: TrialConfig) -> dict[str, Metric]:
    """The core's metrics and those that the plug-ins declare in `METRICS`."""
    plugins = (
        *(config.algorithm, config.reward, config.window, config.curriculum, config.task),
        *(KlController, ReferenceScores),
    )
    own = [getattr(plugin, "METRICS", {}) for plugin in plugins]
    own.append(kinds(config.task.held_out()))
    return {key: metric for metrics in (METRICS, *own) for key, metric in metrics.items()}
