"""From the training pool to the rollout of a step."""

from collections.abc import Sequence

from harness import streams
from harness.rollout.engine import Engine, Request, RolloutConfig, Stream
from harness.types import Prompt, Rollout, RolloutPlan


def next_prompts(pool: Sequence[Prompt], seed: int, cursor: int, count: int) -> list[Prompt]:
    """`count` prompts from position `cursor` of an endless sequence of shuffled passes."""
    orders = {
        p: streams.permutation(seed, "order", p, len(pool))
        for p in range(cursor // len(pool), (cursor + count - 1) // len(pool) + 1)
    }
    positions = range(cursor, cursor + count)
    return [pool[orders[i // len(pool)][i % len(pool)]] for i in positions]


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
