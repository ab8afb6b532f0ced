"""Where a trial's numbers come from: what its record says beside them."""

import dataclasses
import json

import torch

from harness.config import TrialConfig, digest, resolved
from harness.identity import code_now
from harness.machine import provenance
from harness.models.loading import Source
from harness.preflight import evaluation_sampling
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
