"""A trial's model in one process that learns nothing: what `harness.evaluate` measures with."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness.config import TrialConfig
from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout, Sharding, computed_in
from harness.learner.policy import Policy
from harness.measure.evaluation import Evaluator
from harness.rollout.grading import Grader
from harness.types import Prompt


def alone(config: TrialConfig) -> TrialConfig:
    """The config of a trial for one process: its device and numeric type, without its ranks."""
    sharding = Sharding(precision=config.trainer.sharding.precision)
    trainer = dataclasses.replace(config.trainer, ranks=1, sharding=sharding)
    return dataclasses.replace(config, rollout=config.rollout.alone(), trainer=trainer)


def evaluator_of(
    config: TrialConfig, prompts: Sequence[Prompt], samples: int | None = None
) -> Evaluator:
    """An evaluator of the model that a config names.

    The model is kept in the type that it computes in, which gives the bits of sharded weights that
    are cast for each pass. The engine comes first: vLLM wants to find its part of a GPU free.

    Args:
        prompts: all that it will sample for.
        samples: per prompt, of which pass@k is estimated; None: as many as k.
    """
    config.model.check(config.task)
    trainer, rollout = config.trainer, config.rollout
    source = config.model.prepare(config.task, config.runs)
    source = dataclasses.replace(source, dtype=computed_in(trainer.sharding, source.dtype))
    layout = Layout(trainer.token_budget, device=trainer.device)
    rollout.check(source, ALONE.count, layout.device.value)
    engine = rollout.engine(source, source.tokens, prompts, layout.device.value, ALONE)
    policy = Policy(source.model(), rollout.temperature, layout)
    grader = Grader(task=config.task, limits=config.grading, folder=Path(config.runs))
    return Evaluator.of(config, engine, grader, policy, policy, samples=samples)
