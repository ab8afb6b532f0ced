"""Where a trial's numbers come from, what its record says beside them, and which there are."""

import dataclasses
import json

import torch

from harness.config import TrialConfig, digest, resolved
from harness.identity import code_now
from harness.kl import KlController
from harness.machine import provenance
from harness.measure.evaluation import kinds
from harness.models.loading import Source
from harness.preflight import evaluation_sampling
from harness.rollout.reference import ReferenceScores
from harness.schema import METRICS, Metric
from harness.tasks import sets


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
