"""From the training pool to the rollout of a step."""

from collections.abc import Sequence

from harness.rollout.engine import Engine, Request, RolloutConfig, Stream
from harness.types import Prompt, Rollout, RolloutPlan


def collect(
    engine: Engine,
    rollout: RolloutConfig,
    prompts: Sequence[Prompt],
    plan: RolloutPlan,
    window: int,
    stream: Stream,
) -> Rollout:
    """The responses that the algorithm's plan asks for, within the step's window."""
    size = plan.group_size
    requests = [
        Request(prompt=prompt, items=tuple(range(i * size, (i + 1) * size)))
        for i, prompt in enumerate(prompts)
    ]
    return engine.generate(requests, rollout.sampling(window, plan.temperature), stream)
